/** `postiz-gateway` as its users run it, against the gateway as it is deployed. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { freePort } from "../../local/ports.ts";
import { ROOT } from "../../local/project.ts";
import { importLine } from "../../src/admin/schemas.ts";
import { BRING_AGAIN } from "../../src/authority/import-rules.ts";
import { type Between, startBetween } from "../support/between.ts";
import { BUNDLE, digest, importLines, type Ran, type RunOptions, startCli } from "../support/cli.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { until } from "../support/poll.ts";
import { recordSecret } from "../support/record.ts";

const ADMIN_TOKEN = digest("admin token of the program's tests");
const POSTIZ_KEY = digest("a Postiz key of the program's tests");
const SECRETS = {
  ADMIN_TOKEN,
  KEY_MAC_SECRET: digest("MAC secret of the program's tests"),
  SEALING_KEY: Buffer.alloc(32, 9).toString("base64"),
};
for (const secret of [POSTIZ_KEY, ...Object.values(SECRETS)]) recordSecret(secret);

let gateway: TestGateway;
let between: Between;
let folder: string;

beforeAll(async () => {
  execFileSync("npm", ["run", "-s", "build:cli"], { cwd: ROOT });
  gateway = await startGateway({ vars: SECRETS });
  between = await startBetween(gateway.url);
  folder = mkdtempSync(join(tmpdir(), "cli-"));
});
beforeEach(() => {
  between.meddle = () => false;
});
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true });
  await between.stop();
  await gateway.stop();
});

const environment = (url = gateway.url) => ({ GATEWAY_URL: url, GATEWAY_ADMIN_TOKEN: ADMIN_TOKEN });
const run = (args: readonly string[], options: RunOptions = {}): Promise<Ran> =>
  startCli(args, { ...options, env: { ...environment(), ...options.env } }).ended;

/** What must work, works: its standard output. */
async function done(args: readonly string[], options: RunOptions = {}): Promise<string> {
  const ran = await run(args, options);
  expect([args, ran.code, ran.stderr]).toEqual([args, 0, expect.any(String)]);
  return ran.stdout;
}

async function values(args: readonly string[], options: RunOptions = {}) {
  const lines = (await done([...args, "--json"], options)).split("\n").filter(Boolean);
  // biome-ignore lint/suspicious/noExplicitAny: whatever it prints.
  return lines.map((line) => JSON.parse(line) as any);
}

/** What no command does. */
async function change(path: string, body: object): Promise<void> {
  const headers = { Authorization: `Bearer ${ADMIN_TOKEN}`, "Content-Type": "application/json" };
  const init = { method: "PATCH", headers, body: JSON.stringify(body) };
  expect((await fetch(`${gateway.url}/_gateway/v1${path}`, init)).status).toBe(200);
}

async function newKey(...args: string[]): Promise<string> {
  const key = (await done(["keys", ...args], { showsKey: true })).trim();
  recordSecret(key);
  return key;
}

function fileOf(name: string, lines: Iterable<string>): string {
  const path = join(folder, name);
  writeFileSync(path, [...lines].map((line) => `${line}\n`).join(""));
  return path;
}

const exportOf = async (prefix: string): Promise<string[]> =>
  (await done(["export"])).split("\n").filter((line) => line.includes(`"${prefix}`));

describe("an operator's day", () => {
  it("a tenant is made, gets its Postiz key and its subscription, and is shown", async () => {
    expect(await done(["tenants", "create", "day", "Example Ltd"])).toMatch(/^id +day\nname +Example Ltd\n/);
    expect(await done(["origin-key", "set", "day"], { input: `${POSTIZ_KEY}\n` })).toMatch(
      /hasOriginKey +true/,
    );
    const paid = [
      "subscription",
      "set",
      "day",
      "canceled",
      "--tier",
      "PRO",
      "--until",
      "2027-01-31T00:00:00Z",
    ];
    expect(await done(paid)).toMatch(/subscription.status +canceled\nsubscription.tier +PRO\n/);
    const [shown] = await values(["tenants", "show", "day"]);
    expect(shown).toMatchObject({ id: "day", hasOriginKey: true, subscription: { status: "canceled" } });
    expect(await done(["tenants", "list"])).toMatch(/^ID +NAME +STATUS\nday +Example Ltd +active\n/);
  });

  it("a key is made, and is alone on the standard output; rotated, the old one works through its grace", async () => {
    const key = await newKey("create", "day", "--name", "n8n", "--scope", "read", "posts:write");
    expect(key).toMatch(/^pgw_live_\w+$/);
    const [{ id, scopes }] = await values(["keys", "list", "day"]);
    expect(scopes).toEqual(["read", "posts:write"]);
    const rotated = await newKey("rotate", "day", id, "--grace", "3600");
    for (const each of [key, rotated]) {
      expect(await done(["verify"], { input: each })).toMatch(/^valid +true\n/);
    }
    expect(await done(["keys", "rename", "day", id, "new name"])).toMatch(/name +new name\n/);
    expect(await done(["keys", "list", "day"])).toMatch(
      /^ID +NAME +STATE +SCOPES +EXPIRES +LAST USED\n.*new name +active +read posts +- +-\n$/,
    );
    expect(await done(["usage", "day"])).toMatch(
      /^New posts left: 30 of 30 in 3600 s\nKEY +NAME +LEFT +LAST USED\n.*new name +600 of 600 in 60 s/,
    );
    const question = ["explain", "POST", "/public/v1/posts"];
    expect(await done(question, { env: { GATEWAY_KEY: rotated } })).toMatch(/outcome +forwarded\n$/);
    const elsewhere = [...question, "--host", "posts.day.example"];
    await change("/tenants/day", { allowedHosts: ["posts.day.example"] });
    expect(await done(elsewhere, { env: { GATEWAY_KEY: rotated } })).toMatch(/outcome +forwarded\n$/);
    const other = [...question, "--host", "other.example"];
    expect(await done(other, { env: { GATEWAY_KEY: rotated } })).toMatch(/outcome +host_not_allowed\n$/);
    await change("/tenants/day", { allowedHosts: [] });
    const unknown = { env: { GATEWAY_KEY: "unknown" } };
    expect((await values(["explain", "GET", "/public/v1/posts"], unknown))[0].outcome).toBe("key_unknown");
    expect((await run(["verify"], unknown)).code).toBe(1);
    expect(await done(["keys", "disable", "day", id])).toMatch(/state +disabled/);
    expect((await run(["verify"], { input: rotated })).code).toBe(1);
    expect(await done(["keys", "enable", "day", id])).toMatch(/state +active/);

    expect((await run(["keys", "revoke", "day", id])).code).toBe(2);
    expect(await done(["keys", "show", "day", id])).toMatch(/state +active/);
    expect(await done(["keys", "revoke", "day", id, "--yes"])).toMatch(/effectiveBy +20/);
    expect((await run(["verify", "--json"], { input: rotated })).stdout).toContain('"reason":"key_revoked"');
  });

  it("with --json a new key stands in the answer", async () => {
    const args = ["keys", "create", "day", "--name", "ci", "--scope", "read", "--network", "192.0.2.0/24"];
    const [issued] = await values([...args, "--expires", "2999-01-01T00:00:00Z"], { showsKey: true });
    recordSecret(issued.key);
    expect(issued).toMatchObject({ key: /^pgw_/.exec(issued.key) && issued.key, name: "ci" });
    expect(issued.allowedNetworks).toEqual(["192.0.2.0/24"]);
  });

  it("the audit tells who did what, of all tenants or of one, as much as is asked for", async () => {
    const all = await values(["audit", "--limit", "3"]);
    expect(all.map(({ action }) => action)).toEqual(["key.create", "key.revoke", "key.enable"]);
    expect(await done(["audit", "day", "--limit", "1"])).toMatch(
      /^AT +ACTOR +ACTION +ABOUT\n\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ +admin-token +key.c/,
    );
  });

  it("the audit shows where a linked credential has gone", async () => {
    const about = { at: "2026-11-24T12:34:56.789Z", actor: "admin-token", keyId: null, before: null };
    const linked = { ...about, action: "tenant.link", tenantId: "unlinked-1", after: { movedTo: "day" } };
    between.meddle = (_request, _body, response) => {
      const page = { items: [linked], nextCursor: null };
      response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(page));
      return true;
    };
    expect(await done(["audit"], { env: environment(between.url) })).toMatch(
      /2026-11-24 12:34:56Z +admin-token +tenant.link +unlinked-1 to day\n$/,
    );
  });

  it("a list of keys with all that they may do and their ends fits a terminal of 105 columns", async () => {
    const scopes = ["--scope", "read", "posts:write", "media:write", "channels:write"];
    const end = ["--expires", "2999-01-31T00:00:00Z"];
    await newKey("create", "day", "--name", "a name that is longer than it should be", ...scopes, ...end);
    const lines = (await done(["keys", "list", "day"])).split("\n");
    expect(lines.some((line) => / active +read posts media channels +2999-01-31 +-$/.test(line))).toBe(true);
    expect(Math.max(...lines.map(({ length }) => length))).toBeLessThanOrEqual(105);
  });

  it("usage shows, as its result, what a limit in shadow let pass and what may be left besides", async () => {
    const quota = { limit: 30, remaining: 10, windowSeconds: 3600, resetSeconds: 9 };
    const posts = { ...quota, outstanding: 0, inShadow: true, passedInShadow: 7 };
    const api = { ...quota, outstanding: 12, inShadow: false, passedInShadow: 0 };
    const usage = { posts, keys: [{ id: "k", name: "n8n", api, lastUsedAt: null }] };
    between.meddle = (_request, _body, response) => {
      response.writeHead(200, { "Content-Type": "application/json" }).end(JSON.stringify(usage));
      return true;
    };
    const ran = await run(["usage", "day"], { env: environment(between.url) });
    expect([ran.code, ran.stderr]).toEqual([0, ""]);
    expect(ran.stdout).toContain("New posts left: 10 of 30 in 3600 s, in shadow, 7 passed\n");
    expect(ran.stdout).toMatch(/\nk +n8n +10 of 30 in 3600 s, at most 12 more +-\n/);
  });

  it("a tenant is deleted only where it is confirmed", async () => {
    const refused = await run(["tenants", "delete", "day"]);
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("say --yes")]);
    expect(await done(["tenants", "delete", "day", "--yes"])).toMatch(/status +deleted/);
    expect((await run(["tenants", "show", "day"])).code).toBe(1);
  });

  it("health needs no token", async () => {
    expect(await done(["health"], { env: { GATEWAY_ADMIN_TOKEN: "" } })).toMatch(/status +ready\n/);
    expect((await values(["health"]))[0].checks).toEqual({
      credentials: "ok",
      authority: "ok",
      origin: "ok",
    });
  });
});

describe("what goes wrong", () => {
  it.concurrent.each<[string, string[], RunOptions, string]>([
    ["no command", [], {}, "Usage:"],
    ["an unknown command", ["tenant"], {}, "unknown command 'tenant'"],
    ["an unknown option", ["tenants", "list", "--all"], {}, "unknown option '--all'"],
    ["an empty id", ["keys", "revoke", "day", "", "--yes"], {}, "1 to 64 of A-Z"],
    ["an id that would be another path", ["tenants", "show", "../audit"], {}, "1 to 64 of A-Z"],
    ["an unknown status", ["subscription", "set", "day", "paid"], {}, "Allowed choices are active"],
    ["a time that is none", ["subscription", "set", "x", "active", "--until", "soon"], {}, "RFC 3339"],
    ["a key without scopes", ["keys", "create", "x", "--name", "x"], {}, "--scope"],
    ["a grace too long", ["keys", "rotate", "x", "y", "--grace", "9999999"], {}, "0 to 2592000"],
    ["a limit of nothing", ["tenants", "list", "--limit", "0"], {}, "a whole number from 1"],
    ["no token", ["tenants", "list"], { env: { GATEWAY_ADMIN_TOKEN: "" } }, "GATEWAY_ADMIN_TOKEN is not set"],
    [
      "an address that is none",
      ["health"],
      { env: { GATEWAY_URL: "localhost" } },
      'GATEWAY_URL is "localhost"',
    ],
    ["an address with a path", ["health", "--url", "http://x/y"], {}, "--url is"],
    ["no key", ["verify"], {}, "No key was given"],
    ["a file that is not there", ["import", "/nowhere"], {}, "ENOENT"],
    ["a folder", ["import", "/"], {}, "is a folder"],
    [
      "a line past the end",
      ["import", "-", "--from-line", "4"],
      { input: "{}\n\n{}" },
      "the input ends after 3 lines: nothing was imported",
    ],
  ])("%s is wrong use: 2, and what is allowed", async (_, args, options, message) => {
    const ran = await run(args, options);
    expect([ran.code, ran.stdout]).toEqual([2, ""]);
    expect(ran.stderr).toContain(message);
  });

  it.concurrent.each<[string, string[], string]>([
    ["no command", ["--json"], "No command was given; --help shows which there are."],
    ["half a command", ["keys", "--json"], "No command was given; --help shows which there are."],
    ["an unknown command", ["--json", "tenant"], "unknown command 'tenant'\n(Did you mean tenants?)"],
    [
      "a bad id",
      ["tenants", "show", "bad id", "--json"],
      `<tenant> can't be 'bad id'. Allowed are 1 to 64 of A-Z, a-z, 0-9, "_" and "-".`,
    ],
    [
      "a key where its id is wanted, which is not repeated,",
      ["keys", "revoke", "acme", `pgw_live_${"0".repeat(57)}`, "--json"],
      "<key> can't be a key itself. Allowed is an id, which verify tells.",
    ],
    ["a missing option", ["keys", "create", "x", "--json"], "required option '--name <name>' not specified"],
    ["no key", ["verify", "--json"], expect.stringContaining("No key was given") as unknown as string],
  ])("%s is, with --json, one line of JSON on stderr", async (_, args, detail) => {
    const ran = await run(args);
    expect([ran.code, ran.stdout, ran.stderr.split("\n").length]).toEqual([2, "", 2]);
    expect(JSON.parse(ran.stderr)).toEqual({ code: "wrong_use", detail });
  });

  it("what the gateway refuses is 1, with its reason; with --json its problem details", async () => {
    const refused = await run(["tenants", "show", "nobody"]);
    expect([refused.code, refused.stdout]).toEqual([1, ""]);
    expect(refused.stderr).toMatch(/^There is no such thing: .+ \(not_found, request [\w-]{36}\)\n$/);
    const json = await run(["tenants", "create", "x", " ", "--json"]);
    expect(json.code).toBe(1);
    expect(JSON.parse(json.stderr)).toMatchObject({ code: "invalid", errors: [{ field: "name" }] });
    const stranger = await run(["tenants", "list"], { env: { GATEWAY_ADMIN_TOKEN: "wrong" } });
    expect([stranger.code, stranger.stderr]).toEqual([
      1,
      expect.stringMatching(/^The gateway does not know this admin token: .*\(key_unknown, request /),
    ]);
  });

  it.each<[string, (response: ServerResponse) => void, string]>([
    ["a web page", (r) => r.writeHead(200, { "Content-Type": "text/html" }).end("<p>"), "200 with text/html"],
    ["a login", (r) => r.writeHead(302, { Location: "https://login.example" }).end(), "login.example"],
    ["another API", (r) => r.writeHead(404, { "Content-Type": "application/json" }).end("{}"), "404 with"],
    [
      "half an answer",
      (r) => r.writeHead(200, { "Content-Type": "application/json" }).end("{"),
      "not the gateway",
    ],
    ["a connection that breaks", (r) => r.destroy(), "can't be reached"],
  ])("%s in the gateway's place is 3, and says so", async (_, answer, message) => {
    between.meddle = (_request, _body, response) => {
      answer(response);
      return true;
    };
    const ran = await run(["tenants", "list"], { env: environment(between.url) });
    expect([ran.code, ran.stdout]).toEqual([3, ""]);
    expect(ran.stderr).toContain(message);
  });

  it("nobody at that address is 3", async () => {
    const url = `http://127.0.0.1:${await freePort()}`;
    for (const args of [["health"], ["tenants", "list"], ["import", "-"]]) {
      const ran = await run(args, { env: environment(url) });
      expect([args, ran.code, ran.stderr]).toEqual([args, 3, expect.stringContaining("ECONNREFUSED")]);
    }
  });
});

describe("help", () => {
  it("teaches every command by example, and no example or option has a secret on the command line", async () => {
    const top = await done(["--help"]);
    for (const part of ["GATEWAY_URL", "GATEWAY_ADMIN_TOKEN", "Exit codes:", "The first day:"]) {
      expect(top).toContain(part);
    }
    const commands = [
      ...["list", "create", "show", "delete"].map((verb) => ["tenants", verb]),
      ...["list", "create", "show", "rename", "rotate", "disable", "enable", "revoke"].map((v) => [
        "keys",
        v,
      ]),
      ...[["subscription", "set"], ["origin-key", "set"], ["verify"], ["explain"], ["import"], ["export"]],
      ...[["usage"], ["audit"], ["health"]],
    ];
    const asked = commands.map(async (command) => {
      const help = await done([...command, "--help"], { env: { GATEWAY_ADMIN_TOKEN: "" } });
      expect(top).toContain(`\n  ${command[0]} `);
      expect(help).toMatch(/\nExamples:\n {2}\S/);
      const types = command[0] === "import" ? importLine.options.map(({ shape }) => shape.type.value) : [];
      for (const type of types) expect(help).toContain(`{"type":"${type}"`);
      expect(help).not.toMatch(/--[\w-]*(token|secret|key|password)[\w-]* </);
      expect(help).not.toMatch(/pgw_\w|pos_\w|[0-9a-f]{40}/);
      expect(Math.max(...help.split("\n").map(({ length }) => length))).toBeLessThanOrEqual(80);
    });
    await Promise.all(asked);
  });

  it("says how a question ends: explain with 0 whatever it answers, verify with 1 where Postiz would have to say", async () => {
    expect(await done(["explain", "--help"])).toContain("ends with 0 whatever the outcome is");
    expect(await done(["verify", "--help"])).toContain("introspection_required is neither good nor bad yet");
  });

  it("the package has the licence of all that is built into the program", () => {
    const [packed] = JSON.parse(
      execFileSync("npm", ["pack", "--dry-run", "--json"], { cwd: ROOT, encoding: "utf8" }),
    );
    const files = packed.files.map(({ path }: { path: string }) => path);
    expect(files).toContain("dist/cli/NOTICES.txt");
    const notices = readFileSync(join(dirname(BUNDLE), "NOTICES.txt"), "utf8");
    const origins = readFileSync(BUNDLE, "utf8").matchAll(
      /^\/\/ .*node_modules\/((?:@[^/\n]+\/)?[^/\n]+)\//gm,
    );
    const names = [...new Set([...origins].map(([, name = ""]) => name))];
    expect(names).toContain("commander");
    for (const name of names) expect(notices).toMatch(new RegExp(`\n${name} \\d[^]*?copyright`, "i"));
  });

  it("works from the repository, and nothing else is on the standard output", () => {
    const args = ["run", "-s", "gateway", "--", "--version"];
    expect(execFileSync("npm", args, { cwd: ROOT, encoding: "utf8" })).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("many at once", { timeout: 120_000 }, () => {
  const lines = [...importLines("many-", 50, 2_000)];

  it("an interrupted import of 2,000 keys over 50 tenants, gone on with, ends in the same state; the same again changes nothing", async () => {
    const file = fileOf("many.ndjson", lines);
    const importing = startCli(["import", file], { env: environment(between.url) });
    between.meddle = ({ url }) => {
      if (url?.endsWith("/import")) importing.child.kill("SIGINT");
      return false;
    };
    const interrupted = await importing.ended;
    expect([interrupted.code, interrupted.stderr]).toEqual([130, expect.stringMatching(/1,\d+ created/)]);
    const [, from] = /import \S+many.ndjson --from-line (\d+)\n$/.exec(interrupted.stderr) ?? [];
    expect(Number(from)).toBeGreaterThan(1);

    between.meddle = () => false;
    const resumed = await run(["import", file, "--from-line", from ?? ""]);
    expect([resumed.code, resumed.stderr]).toEqual([0, expect.stringContaining(" 0 rejected.")]);
    expect((await exportOf("many-")).toSorted()).toEqual(lines.toSorted());
    const again = await run(["import", file]);
    expect([again.code, again.stderr]).toEqual([
      0,
      expect.stringContaining(": 0 created, 0 updated, 2,100 unchanged, 0 rejected."),
    ]);
    expect((await exportOf("many-")).toSorted()).toEqual(lines.toSorted());
  });

  it("lists go on to their end, or to where they are wanted", async () => {
    expect(await values(["tenants", "list"])).toHaveLength(50);
    const file = fileOf("long.ndjson", importLines("long-", 1, 230));
    await done(["import", file]);
    expect(new Set((await values(["keys", "list", "long-0"])).map(({ id }) => id)).size).toBe(230);
    expect(await values(["keys", "list", "long-0", "--limit", "101"])).toHaveLength(101);
  });

  it("a reader that has seen enough ends a list without a word", () => {
    const command = `"${process.execPath}" "${BUNDLE}" export | head -n 1`;
    const env = { PATH: process.env["PATH"], ...environment() };
    const { stdout, stderr, status } = spawnSync("sh", ["-c", command], { cwd: ROOT, encoding: "utf8", env });
    expect([stdout.split("\n").length, stderr, status]).toEqual([2, "", 0]);
  });

  it("each line has its answer, in its order, under its number; what is wrong with one stops no other", async () => {
    const [tenant = "", paid = "", ...keys] = importLines("odd-", 1, 3);
    const huge = JSON.stringify({ type: "tenant", id: "huge", name: "x".repeat(1_048_576) });
    const odd = ["", tenant, "{", paid, "", huge, keys[0], keys[1], "   ", `\u2028${keys[2]}`].join("\r\n");
    const ran = await run(["import", "-", "--json"], { input: odd });
    expect(ran.code).toBe(1);
    const answers = ran.stdout.trim().split("\n");
    expect(answers.map((answer) => Object.values(JSON.parse(answer)).slice(0, 2))).toEqual([
      ...[
        [2, "created"],
        [3, "rejected"],
        [4, "updated"],
        [6, "rejected"],
      ],
      ...[
        [7, "created"],
        [8, "created"],
        [10, "created"],
      ],
    ]);
    const forPeople = await run(["import", "-"], { input: "{\n" });
    expect([forPeople.code, forPeople.stderr]).toEqual([
      1,
      expect.stringMatching(/^line 1: this is no JSON\n1 line in \d\.\d s, /),
    ]);
  });

  it("what all calls under way wait for is said once", async () => {
    const file = fileOf("wait.ndjson", importLines("wait-", 8, 8));
    let calls = 0;
    between.meddle = ({ url }, _body, response) => {
      if (!url?.endsWith("/import") || ++calls > 4) return false;
      refuse(response, 503, "2");
      return true;
    };
    const ran = await run(["import", file], { env: environment(between.url) });
    expect([ran.code, calls]).toEqual([0, 8]);
    expect(ran.stderr.match(/later; again in 2 s\n/g)).toHaveLength(1);
  });

  it("what has no answer yet is brought again: after a broken connection, a silent authority, 429, 503", async () => {
    const file = fileOf("again.ndjson", importLines("again-", 1, 3));
    let calls = 0;
    between.meddle = ({ url }, body, response) => {
      if (!url?.endsWith("/import")) return false;
      calls++;
      if (calls === 1) response.destroy();
      if (calls === 2) {
        const answers = body
          .trim()
          .split("\n")
          .map((_, i) => ({ line: i + 1, result: "rejected", reason: BRING_AGAIN }));
        response.writeHead(200, { "Content-Type": "application/x-ndjson" });
        response.end(answers.map((answer) => JSON.stringify(answer)).join("\n"));
      }
      if (calls === 3) refuse(response, 429);
      if (calls === 4) refuse(response, 503);
      return calls <= 4;
    };
    const ran = await run(["import", file], { env: environment(between.url) });
    expect([ran.code, calls]).toEqual([0, 5]);
    expect(ran.stderr).toMatch(/4 created, 1 updated, 0 unchanged, 0 rejected\.\n$/);
  });

  it("what the gateway refuses altogether stops an import, and is told with where to go on", async () => {
    const file = fileOf("refused.ndjson", importLines("refused-", 1, 3));
    between.meddle = ({ url }, _body, response) => {
      if (url?.endsWith("/import")) refuse(response, 401);
      return url?.endsWith("/import") ?? false;
    };
    const ran = await run(["import", file], { env: environment(between.url) });
    expect(ran.code).toBe(1);
    expect(ran.stderr).toMatch(
      /Later: later \(x, request x\)\nEvery line before 1 is answered.*\n.*--from-line 1\n$/,
    );
    expect(await exportOf("refused-")).toEqual([]);
  });

  it("an interrupted import does not wait for a gateway that is away, nor for the rest of its input", async () => {
    const file = fileOf("away.ndjson", importLines("away-", 1, 3));
    const importing = startCli(["import", file], { env: environment(between.url) });
    between.meddle = ({ url }, _body, response) => {
      if (url?.endsWith("/import")) refuse(response, 503, "60");
      return url?.endsWith("/import") ?? false;
    };
    await until("its waiting", () => importing.stderr().includes("again in 60 s"));
    importing.child.kill("SIGINT");
    expect([(await importing.ended).code, importing.stderr()]).toEqual([
      130,
      expect.stringContaining("--from-line 1"),
    ]);

    let isBegun = false;
    between.meddle = () => {
      isBegun = true;
      return false;
    };
    const reading = startCli(["import", "-"], { env: environment(between.url), input: null });
    reading.child.stdin.write("{\n");
    await until("its first request", () => isBegun);
    reading.child.kill("SIGTERM");
    expect((await reading.ended).code).toBe(130);
  });
});

describe("an interrupted import", () => {
  it.each(["SIGINT", "SIGTERM"] as const)(
    "that is ended by %s before its first answer says how far it is, and does not wait for the answer",
    async (signal) => {
      let isAsked = false;
      between.meddle = () => {
        isAsked = true;
        return true;
      };
      const file = fileOf("early.ndjson", importLines("early-", 1, 3));
      const importing = startCli(["import", file], { env: environment(between.url) });
      await until("its first request", () => isAsked);
      importing.child.kill(signal);
      const { code, stderr } = await importing.ended;
      expect([code, stderr]).toEqual([130, expect.stringMatching(/ 0 rejected\.\n.*--from-line 1\n$/s)]);
    },
  );

  it.each<[string, string[], Record<string, string>, string]>([
    ["--url", ["--url", "$URL"], { GATEWAY_URL: "" }, "postiz-gateway --url $URL import"],
    ["GATEWAY_URL", [], { GATEWAY_URL: "$URL" }, "postiz-gateway --url $URL import"],
    ["--json", ["--json"], { GATEWAY_URL: "$URL" }, "postiz-gateway --url $URL --json import"],
    [
      "npm",
      [],
      { GATEWAY_URL: "$URL", npm_lifecycle_event: "gateway" },
      "npm run -s gateway -- --url $URL import",
    ],
  ])("is gone on with at the same gateway, in the same way: %s", async (_, args, env, call) => {
    between.meddle = ({ url }, _body, response) => {
      if (url?.endsWith("/import")) refuse(response, 401);
      return url?.endsWith("/import") ?? false;
    };
    const at = (text: string) => text.replace("$URL", between.url);
    const file = fileOf("on.ndjson", importLines("on-", 1, 3));
    const { stderr } = await run(["import", file, ...args.map(at)], {
      env: Object.fromEntries(Object.entries(env).map(([name, value]) => [name, at(value)])),
    });
    expect(stderr).toContain(`Go on with:\n  ${at(call)} ${file} --from-line 1\n`);
    expect(stderr).not.toContain(ADMIN_TOKEN);
  });

  it.each([
    [0, "0 rejected", []],
    [1, "1 rejected", ["{"]],
  ])("that has all its answers is done: %i with %s", async (exit, end, more) => {
    const file = fileOf("late.ndjson", [...importLines(`late-${exit}-`, 1, 3), ...more]);
    const importing = startCli(["import", file], { env: environment(between.url) });
    between.meddle = ({ url }) => {
      if (url?.endsWith("/import")) importing.child.kill("SIGINT");
      return false;
    };
    const { code, stderr } = await importing.ended;
    expect([code, stderr]).toEqual([exit, expect.stringMatching(new RegExp(`4 created.* ${end}\\.\n$`))]);
  });
});

function refuse(response: ServerResponse, status: number, retryAfter = "0"): void {
  const problem = { title: "Later", status, detail: "later", code: "x", instance: "urn:uuid:x" };
  const headers = { "Content-Type": "application/problem+json", "Retry-After": retryAfter };
  response.writeHead(status, headers).end(JSON.stringify(problem));
}
