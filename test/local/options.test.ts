import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readOptions, readStandaloneOptions, UsageError } from "../../local/options.ts";
import { UserError } from "../../local/project.ts";

const read = (...args: string[]) => readOptions(args, {});

describe("options of npm start", () => {
  it("have defaults", () => {
    expect(read()).toEqual({ port: 8787, origin: null, vars: {}, keep: false, help: false });
  });

  it("are read", () => {
    const args = [
      "--origin",
      "https://postiz.example.com/api",
      "--keep",
      "--var",
      "API_LIMIT:b",
      "--var=ORIGIN_URL:http://x:1/",
    ];
    expect(readOptions(args, { PORT: "1" })).toEqual({
      port: 1,
      origin: "https://postiz.example.com/api",
      vars: { API_LIMIT: "b", ORIGIN_URL: "http://x:1/" },
      keep: true,
      help: false,
    });
  });

  it("are refused, before anything is deleted, where npm has taken them for its own", () => {
    expect(() => readOptions([], { npm_config_keep: "true" })).toThrow("npm start -- --keep");
  });

  it("take an empty value, and the last of two", () => {
    expect(read("--var", "API_LIMIT:1", "--var", "API_LIMIT:").vars).toEqual({ API_LIMIT: "" });
  });

  it.each([
    [["--port", "1"], "Unknown option '--port'"],
    [["extra"], "Unexpected argument 'extra'"],
    [["--origin"], "'--origin <value>' argument missing"],
    [["--keep=yes"], "'--keep' does not take an argument"],
    [["--origin", "postiz.example.com"], '--origin is "postiz.example.com"'],
    [["--origin", "ftp://postiz.example.com"], '--origin is "ftp://postiz.example.com"'],
    [["--var", "SUBSCRIPTIONS=off"], "--var has an argument without a colon"],
    [["--var", "api_limit:1"], '--var has the name "api_limit"'],
    [["--var", ":1"], '--var has the name ""'],
  ])("that are wrong, %j, are named", (args, message) => {
    expect(() => read(...args)).toThrow(UsageError);
    expect(() => read(...args)).toThrow(message);
  });

  it.each(["0", "65536", "-1", "80.5", "http", "1e3", " 80"])("refuse PORT=%j", (port) => {
    expect(() => readOptions([], { PORT: port })).toThrow(/PORT is .* from 1 to 65535/);
  });

  it("never show the value of a variable that was refused", () => {
    expect(() => read("--var", "my-secret:s3cret")).toThrow(/^(?!.*s3cret)/);
    expect(() => read("--var", "s3cret")).toThrow(/^(?!.*s3cret)/);
  });
});

describe("the gateway's own address as the origin", () => {
  it.each([
    "http://127.0.0.1:8787",
    "http://localhost:8787/api",
    "http://LOCALHOST.:8787",
    "http://api.localhost:8787",
    "http://127.1:8787",
    "http://[::1]:8787",
    "http://[::ffff:127.0.0.1]:8787",
    "http://0.0.0.0:8787",
    "https://127.0.0.1:8787",
  ])("is refused: %s", (origin) => {
    expect(() => read("--origin", origin)).toThrow("the gateway's own address");
    expect(() => read("--var", `ORIGIN_URL:${origin}`)).toThrow(UserError);
  });

  it("is refused at a scheme's default port", () => {
    expect(() => readOptions(["--origin", "http://localhost"], { PORT: "80" })).toThrow("own address");
    expect(() => readOptions(["--origin", "https://localhost"], { PORT: "443" })).toThrow("own address");
  });

  it.each([
    "http://127.0.0.1:8788",
    "http://localhost",
    "http://postiz.local:8787",
    "http://10.127.0.0.1.example:8787",
  ])("is not %s", (origin) => {
    expect(read("--origin", origin).origin).toBe(origin);
  });
});

describe("options of npm run standalone", () => {
  it("are refused where two of them say the same thing", () => {
    const args = ["--origin", "http://postiz.example.com", "--var", "ORIGIN_URL:http://other.example.com"];
    expect(() => readStandaloneOptions(args, "/")).toThrow("give one of them");
  });

  it("take variables from a file, where the command line shows them to nobody", () => {
    const folder = mkdtempSync(join(tmpdir(), "options-"));
    const args = ["--origin", "http://x/api", "--vars", "secrets.env"];
    const write = (text: string) => writeFileSync(join(folder, "secrets.env"), text);
    try {
      write("# of the gateway\nADMIN_TOKEN=a=b\nexport SEALING_KEY='s'\n\nAPI_LIMIT=1\n");
      const { vars } = readStandaloneOptions([...args, "--var", "API_LIMIT:2"], folder);
      expect(vars).toEqual({
        ORIGIN_URL: "http://x/api",
        ADMIN_TOKEN: "a=b",
        SEALING_KEY: "s",
        API_LIMIT: "2",
      });
      write("ADMIN_TOKN=s3cret\n");
      expect(() => readStandaloneOptions(args, folder)).toThrow(
        /^--vars has the name "ADMIN_TOKN": (?!.*s3cret)/,
      );
      expect(() => readStandaloneOptions([...args, "--vars", "none.env"], folder)).toThrow(
        /^--vars can't be read: ENOENT.*none\.env/,
      );
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
