/** `npm run standalone`: what a self-hoster runs, and what it keeps when it is killed. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { DEMO } from "../../demo/tenants.ts";
import { ROOT } from "../../local/project.ts";
import type { GatewayEvent } from "../../src/telemetry/event.ts";
import { send } from "../support/http.ts";
import { until } from "../support/poll.ts";
import { json, type ScriptedOrigin, startScriptedOrigin } from "../support/scripted-origin.ts";
import { endStandalone, type Standalone, startStandalone, workerdOf } from "../support/standalone.ts";

const START_TIMEOUT_MS = 60_000;
/** All of them in `npm run test:full`. */
const KILLS = Number(process.env["KILLS"] ?? 1);

let origin: ScriptedOrigin;
let dataDir: string;
let running: Standalone[] = [];

beforeAll(async () => {
  origin = await startScriptedOrigin();
});
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "standalone-"));
});
afterEach(async () => {
  for (const standalone of running) await endStandalone(standalone);
  running = [];
  rmSync(dataDir, { recursive: true, force: true });
});
afterAll(() => origin.stop());

async function start(...args: string[]): Promise<Standalone> {
  const standalone = await startStandalone(dataDir, `${origin.url}/api`, ...args);
  running.push(standalone);
  return standalone;
}

const integrations = ({ url }: Standalone, authorization: string, headers: [string, string][] = []) =>
  send(url, { path: "/public/v1/integrations", authorization, headers });
const post = ({ url }: Standalone) =>
  send(url, { method: "POST", path: "/public/v1/posts", authorization: DEMO.acme.apiKey, body: "{}" });

/** The demo's tenants, and a key that was learnt from Postiz. */
async function expectDemo(standalone: Standalone): Promise<void> {
  const learnt = createHash("sha256").update("learnt-demo-key").digest("hex");
  const credentials = [
    DEMO.acme.apiKey,
    DEMO.acme.token,
    learnt,
    DEMO.acme.revokedApiKey,
    DEMO.lapsed.apiKey,
  ];
  const answers = await Promise.all(credentials.map((each) => integrations(standalone, each)));
  const told = answers.map(({ status, headers }) => `${status} ${headers.get("Proxy-Status") ?? ""}`);
  expect(told).toEqual([
    "201 ",
    "201 ",
    "201 ",
    expect.stringMatching(/^401 .*key_revoked/),
    expect.stringMatching(/^401 .*subscription_inactive/),
  ]);
}

function events(): GatewayEvent[] {
  const args = ["run", "-s", "standalone", "--", "events", "--data", dataDir, "--json"];
  const lines = execFileSync("npm", args, { cwd: ROOT, encoding: "utf8" }).split("\n");
  return lines.filter(Boolean).map((line) => JSON.parse(line) as GatewayEvent);
}

describe("npm run standalone", { timeout: 10 * START_TIMEOUT_MS }, () => {
  it("serves, keeps its data over a restart, and shows its events also while it runs", async () => {
    const first = await start("--demo", "--var", "TRUSTED_PROXIES:127.0.0.1");
    origin.answers(({ headers }, response) => {
      const forwarded = { for: headers["x-forwarded-for"], proto: headers["x-forwarded-proto"] };
      json(200, forwarded)({} as never, response);
    });
    const proxied = await integrations(first, DEMO.acme.apiKey, [
      ["X-Forwarded-For", "6.6.6.6, 198.51.100.7"],
      ["X-Forwarded-Proto", "https"],
    ]);
    expect([proxied.status, proxied.body]).toEqual([200, '{"for":"198.51.100.7","proto":"https"}']);
    expect((await integrations(first, DEMO.acme.revokedApiKey)).status).toBe(401);
    expect((await post(first)).headers.get("RateLimit")).toMatch(/r=29;/);
    const ids = [proxied.headers.get("X-Request-Id")];
    const seen = await until("the event", () => events().find(({ requestId }) => ids.includes(requestId)));
    expect(seen).toMatchObject({ tenant: "acme", outcome: "forwarded", status: 200 });

    const last = await integrations(first, DEMO.acme.apiKey);
    first.npm.kill("SIGTERM");
    expect(await first.ended).toBe(0);
    const lastId = last.headers.get("X-Request-Id");
    expect(events().filter(({ requestId }) => requestId === lastId)).toHaveLength(1);
    const second = await start();
    expect((await integrations(second, DEMO.acme.apiKey)).status).toBe(200);
    expect((await integrations(second, DEMO.acme.revokedApiKey)).status).toBe(401);
    expect((await post(second)).headers.get("RateLimit")).toMatch(/r=28;/);
    expect(readFileSync(join(dataDir, "workerd.capnp"), "utf8")).toContain("# Where clients come in.");

    // More than a pipe holds, to a reader that takes its time.
    for (let sent = 0; sent < 300; sent += 50) {
      await Promise.all(Array.from({ length: 50 }, () => integrations(second, DEMO.acme.apiKey)));
    }
    await until("the last of them", () => events().length > 300);
    const command = `npm run -s standalone -- events --data ${dataDir} --json | (sleep 1; wc -l)`;
    const counted = Number(execFileSync("sh", ["-c", command], { cwd: ROOT, encoding: "utf8" }));
    expect(counted).toBeGreaterThan(300);

    // SIGTERM lets what is under way come to its end, and its event to its store, however late it is.
    const answers: (() => void)[] = [];
    origin.answers((request, response) => {
      answers.push(() => json(200, { late: true })(request, response));
    });
    const late = [integrations(second, DEMO.acme.apiKey), integrations(second, DEMO.acme.apiKey)];
    await until("the requests at the origin", () => answers.length === late.length);
    second.npm.kill("SIGTERM");
    for (const [i, answer] of answers.entries()) {
      answer();
      const { status, body, headers } = (await late[i]) ?? expect.fail("no answer");
      expect([status, body]).toEqual([200, '{"late":true}']);
      const id = headers.get("X-Request-Id");
      const stored = () => events().filter(({ requestId }) => requestId === id);
      if (i === 0) await until("the first one's event", () => stored().length === 1);
      else expect([await second.ended, stored().length]).toEqual([0, 1]);
    }
  });

  it(`goes on with what its first version has stored, and comes back with every acknowledged write after SIGKILL, ${KILLS} times`, async () => {
    execFileSync("tar", ["-xzf", join(ROOT, "test/fixtures/first-standalone.tar.gz"), "-C", dataDir]);
    // What was stored about the token is long out of date: it is asked about again.
    origin.answers((request, response) =>
      request.url?.endsWith("/is-connected")
        ? json(200, { connected: true })(request, response)
        : json(201, {})(request, response),
    );
    let acknowledged = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const gateway = await start("--var", "API_LIMIT:1000000", "--var", "SUBSCRIPTIONS:required");
      if (kill === 0) await expectDemo(gateway);
      let alive = true;
      const writer = async () => {
        while (alive) {
          const answer = await post(gateway).catch(() => null);
          if (answer?.status === 201) acknowledged++;
        }
      };
      const writers = Array.from({ length: 8 }, writer);
      const before = acknowledged;
      await until("some writes", () => acknowledged > before + 50);
      process.kill(workerdOf(gateway), "SIGKILL");
      alive = false;
      await Promise.all(writers);
      expect(await gateway.ended).toBe(1);

      const again = await start("--var", "API_LIMIT:1000000");
      const remaining = Number(/r=(\d+);/.exec((await post(again)).headers.get("RateLimit") ?? "")?.[1]);
      acknowledged++;
      expect(1_000_000 - remaining).toBeGreaterThanOrEqual(acknowledged);
      // Those that were committed, but whose answer never came.
      expect(1_000_000 - remaining).toBeLessThanOrEqual(acknowledged + 8 * (kill + 1));
      again.npm.kill("SIGTERM");
      expect(await again.ended).toBe(0);
    }
  });

  it.each([
    [["--port", "0"], '--port is "0"'],
    [["--host", "localhost"], '--host is "localhost"'],
    [["--var", "API_LIMT:5"], 'the name "API_LIMT"'],
    [["--vars", "package.json"], "--vars has the name"],
  ])("says what is allowed where %j is wrong, and ends with 2", (args, message) => {
    const run = () =>
      execFileSync("npm", ["run", "-s", "standalone", "--", "--origin", origin.url, ...args], {
        cwd: ROOT,
        encoding: "utf8",
        stdio: "pipe",
      });
    expect(run).toThrow(expect.objectContaining({ status: 2, stderr: expect.stringContaining(message) }));
  });
});
