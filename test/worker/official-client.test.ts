/** The official client, unchanged, against every base URL that people give it. */
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { digestOf } from "../../src/credential/credential.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { record, recordSecret } from "../support/record.ts";

const CLIENT = join(import.meta.dirname, "../../node_modules/postiz/dist/index.js");

const TOKEN = `pos_${digestOf("token of the official client").slice(0, 40)}`;

let gateway: TestGateway;
let key: string;
let home: string;

beforeAll(async () => {
  gateway = await startGateway({ vars: { SUBSCRIPTIONS: "required" } });
  key = await gateway.tenant("official");
  recordSecret(TOKEN);
  home = mkdtempSync(join(tmpdir(), "postiz-home-"));
  writeFileSync(join(home, "picture.png"), Buffer.alloc(300_000, 7));
});

afterAll(async () => {
  rmSync(home, { recursive: true });
  await gateway.stop();
});

interface Outcome {
  readonly code: number;
  readonly output: string;
}

function postiz(baseUrl: string, apiKey: string, ...args: string[]): Promise<Outcome> {
  return runPostiz({ HOME: home, POSTIZ_API_KEY: apiKey, POSTIZ_API_URL: baseUrl }, args);
}

function runPostiz(vars: Record<string, string>, args: string[]): Promise<Outcome> {
  const env = { PATH: process.env["PATH"], ...vars };
  return new Promise((resolve) => {
    execFile(process.execPath, [CLIENT, ...args], { cwd: home, env }, (error, stdout, stderr) => {
      const output = stdout + stderr;
      record("response", output);
      resolve({ code: typeof error?.code === "number" ? error.code : 0, output });
    });
  });
}

describe.each([
  ["the gateway", ""],
  ["the gateway with /api", "/api"],
  ["the gateway with a trailing slash", "/"],
])("postiz@2.1.0 with POSTIZ_API_URL being %s", (_, suffix) => {
  const run = (...args: string[]) => postiz(gateway.url + suffix, key, ...args);

  it("checks its credential", async () => {
    const { code, output } = await run("auth:status");
    expect(output).toMatch(/Credentials are valid\. \d+ integration\(s\) connected/);
    expect(code).toBe(0);
  });

  it("lists integrations", async () => {
    const { code, output } = await run("integrations:list");
    expect(output).toContain("demo-x");
    expect(code).toBe(0);
  });

  it("creates, lists and deletes a post", async () => {
    const created = await run(
      "posts:create",
      "-c",
      "Hello from a test",
      "-s",
      "2027-01-01T00:00:00Z",
      "-i",
      "demo-x",
    );
    expect(created).toMatchObject({ code: 0, output: expect.stringContaining("postId") });
    const postId = /"postId":\s*"([^"]+)"/.exec(created.output)?.[1] ?? "";
    const listed = await run(
      "posts:list",
      "--startDate",
      "2026-01-01T00:00:00Z",
      "--endDate",
      "2028-01-01T00:00:00Z",
    );
    expect(listed).toMatchObject({ code: 0, output: expect.stringContaining(postId) });
    const deleted = await run("posts:delete", postId);
    expect(deleted.code).toBe(0);
    const after = await run(
      "posts:list",
      "--startDate",
      "2026-01-01T00:00:00Z",
      "--endDate",
      "2028-01-01T00:00:00Z",
    );
    expect(after.output).not.toContain(postId);
  });

  it("uploads a file", async () => {
    const { code, output } = await run("upload", "picture.png");
    expect(output).toContain("sha256");
    expect(code).toBe(0);
  });

  it("works with an OAuth token", async () => {
    const { code, output } = await postiz(gateway.url + suffix, TOKEN, "integrations:list");
    expect(output).toContain("demo-x");
    expect(code).toBe(0);
  });

  it("prints the refusal that it knows", async () => {
    const { code, output } = await postiz(gateway.url + suffix, "0".repeat(64), "posts:list");
    expect(output).toContain('API Error (401): {"msg":"Invalid API key"}');
    expect(code).toBe(1);
  });
});

it("postiz@2.1.0 works with the token that its own login has left in ~/.postiz/credentials.json", async () => {
  const loggedIn = join(home, "logged-in");
  mkdirSync(join(loggedIn, ".postiz"), { recursive: true });
  const credentials = { accessToken: TOKEN, apiUrl: gateway.url };
  writeFileSync(join(loggedIn, ".postiz/credentials.json"), JSON.stringify(credentials));
  const { code, output } = await runPostiz({ HOME: loggedIn }, ["integrations:list"]);
  expect(output).toContain("demo-x");
  expect(code).toBe(0);
  const status = await runPostiz({ HOME: loggedIn }, ["auth:status"]);
  expect(status).toMatchObject({ code: 0, output: expect.stringContaining("Credentials are valid") });
});
