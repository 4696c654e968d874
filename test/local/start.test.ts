import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it, vi } from "vitest";
import { DEMO } from "../../demo/tenants.ts";
import { freePort } from "../../local/ports.ts";
import { ROOT } from "../../local/project.ts";
import { record } from "../support/record.ts";

const START_TIMEOUT_MS = 60_000;
const END_TIMEOUT_MS = 15_000;
/** More of them in `npm run test:full`. */
const KILLS = Number(process.env["KILLS"] ?? 1);

interface Started {
  readonly npm: ChildProcess;
  readonly url: string;
  readonly output: () => string;
  /** Exit code, or the signal's name. */
  readonly ended: Promise<number | string>;
}

const started: Started[] = [];
const usedPorts = new Set<number>();

afterEach(() => {
  for (const { npm } of started.splice(0)) endGroup(npm);
});

afterAll(async () => {
  for (const port of usedPorts) {
    await rm(join(ROOT, ".state/demo", String(port)), { recursive: true, force: true });
  }
});

describe("npm start", { timeout: START_TIMEOUT_MS }, () => {
  it("serves the demo, ends with npm, and keeps its state only if told to", async () => {
    const port = await freePort();
    const first = await ready(port);
    expect(await integrations(first, DEMO.acme.apiKey)).toMatchObject({ status: 200 });
    expect(await integrations(first, DEMO.acme.token)).toMatchObject({ status: 200 });
    expect(await integrations(first, `pos_${"0".repeat(40)}`)).toEqual({
      status: 401,
      body: '{"msg":"Invalid OAuth token"}',
    });
    expect(await integrations(first, DEMO.acme.revokedApiKey)).toMatchObject({ status: 401 });
    expect(await integrations(first, DEMO.lapsed.apiKey)).toEqual({
      status: 401,
      body: '{"msg":"No subscription found"}',
    });
    expect(await createPost(first)).toEqual({ status: 201, remaining: "29" });
    expect(first.output()).toContain(`curl -i ${first.url}/public/v1/posts`);
    await expectEnd(first, () => first.npm.kill("SIGTERM"), 0);

    const kept = await ready(port, ["--keep"]);
    expect(await createPost(kept)).toEqual({ status: 201, remaining: "28" });
    await expectEnd(kept, () => process.kill(pidOf(kept, "workerd serve"), "SIGKILL"), 1);
    expect(kept.output()).toContain("workerd ended by itself: SIGKILL");

    const fresh = await ready(port);
    expect(await createPost(fresh)).toEqual({ status: 201, remaining: "29" });
    await expectEnd(fresh, () => fresh.npm.kill("SIGKILL"), "SIGKILL");
  });

  it("goes in front of another origin, without the stand-in", async () => {
    const origin = await otherOrigin();
    const { port } = origin.address() as AddressInfo;
    const gateway = await ready(await freePort(), [
      "--origin",
      `http://127.0.0.1:${port}/api`,
      "--var",
      "API_LIMIT:7",
    ]);
    expect(await integrations(gateway, DEMO.acme.apiKey)).toEqual({
      status: 200,
      body: `/api/public/v1/integrations ${DEMO.acme.apiKey}`,
    });
    expect(await createPost(gateway)).toEqual({ status: 200, remaining: "6" });
    expect(gateway.output()).not.toContain("stand-in");
    await expectEnd(gateway, () => gateway.npm.kill("SIGINT"), 0);
    origin.close();
  });

  it.runIf(KILLS > 1).each([
    ["local/start.ts", 1],
    ["scripts/bootstrap.mjs", "SIGKILL"],
  ])("leaves nothing behind when the process of %s is killed", async (script, code) => {
    const gateway = await ready(await freePort());
    await expectEnd(gateway, () => process.kill(pidOf(gateway, script), "SIGKILL"), code);
  });

  it("ends as a whole while it is still building", async () => {
    const gateway = start(await freePort());
    await vi.waitFor(() => pidOf(gateway, "wrangler/bin/wrangler.js"), { timeout: START_TIMEOUT_MS });
    await expectEnd(gateway, () => gateway.npm.kill("SIGTERM"), 0);
  });

  it("names a variable that is wrong, and does not serve", async () => {
    const gateway = start(await freePort(), ["--var", "API_LIMIT:zero"]);
    expect(await gateway.ended).toBe(1);
    expect(gateway.output()).toContain('API_LIMIT is "zero": allowed is a whole number from 1 to 1000000.');
    await expectGone(gateway, []);
  });

  it("says when the port is taken", async () => {
    const other = await otherOrigin();
    const { port } = other.address() as AddressInfo;
    const gateway = start(port);
    expect(await gateway.ended).toBe(1);
    expect(gateway.output()).toContain(
      `Port ${port} of 127.0.0.1 can't be used: another program listens there`,
    );
    other.close();
  });

  it("shows what is allowed when an option is wrong", async () => {
    const gateway = start(await freePort(), ["--var", "API_LIMIT=7"]);
    expect(await gateway.ended).toBe(2);
    expect(gateway.output()).toContain("allowed is NAME:VALUE");
    expect(gateway.output()).toContain("--origin URL");
  });
});

function start(port: number, args: readonly string[] = []): Started {
  usedPorts.add(port);
  // A group of its own, so that a failed test leaves nothing behind either.
  const npm = spawn("npm", ["start", "--", ...args], {
    cwd: ROOT,
    detached: true,
    env: { ...process.env, PORT: String(port) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  for (const stream of [npm.stdout, npm.stderr])
    stream.setEncoding("utf8").on("data", (text) => (output += text));
  const ended = once(npm, "exit").then(([code, signal]) => {
    record("console", unsolicited(output));
    return code ?? signal;
  });
  const result = { npm, url: `http://127.0.0.1:${port}`, output: () => output, ended };
  started.push(result);
  return result;
}

/** What was written besides the lines to try, which hold the demo keys because a person is to copy them. */
function unsolicited(output: string): string {
  return output
    .split("\n")
    .filter((line) => !line.startsWith("curl -i "))
    .join("\n");
}

async function ready(port: number, args: readonly string[] = []): Promise<Started> {
  const gateway = start(port, args);
  await vi.waitFor(
    async () => {
      if (gateway.npm.exitCode !== null) return;
      expect((await fetch(`${gateway.url}/_gateway/health`)).status).toBe(200);
    },
    { timeout: START_TIMEOUT_MS, interval: 50 },
  );
  expect(gateway.npm.exitCode, gateway.output()).toBeNull();
  return gateway;
}

async function integrations({ url }: Started, key: string): Promise<object> {
  const response = await fetch(`${url}/public/v1/integrations`, { headers: { Authorization: key } });
  const body = await response.text();
  recordAnswer(body, key);
  return { status: response.status, body };
}

/** But for what the other origin answers: it repeats the key, to show that it has come. */
function recordAnswer(body: string, key: string): void {
  if (!body.endsWith(` ${key}`)) record("response", body);
}

async function createPost({ url }: Started): Promise<object> {
  const response = await fetch(`${url}/public/v1/posts`, {
    method: "POST",
    headers: { Authorization: DEMO.acme.apiKey, "Content-Type": "application/json" },
    body: '{"type":"draft","posts":[{"integration":{"id":"demo-x"},"value":[{"content":"Hello"}]}]}',
  });
  recordAnswer(await response.text(), DEMO.acme.apiKey);
  return { status: response.status, remaining: response.headers.get("X-RateLimit-Remaining") };
}

/** Whatever ends it: the exit code, and then neither a process of it nor its port is left. */
async function expectEnd(gateway: Started, end: () => unknown, code: number | string): Promise<void> {
  const members = membersOf(gateway.npm).map(({ pid }) => pid);
  expect(members.length).toBeGreaterThan(1);
  end();
  expect(await gateway.ended, gateway.output()).toBe(code);
  await expectGone(gateway, members);
}

async function expectGone({ npm, url }: Started, members: readonly number[]): Promise<void> {
  await vi.waitFor(
    async () => {
      const left = processes().filter(({ pid, group }) => group === npm.pid || members.includes(pid));
      expect(left).toEqual([]);
      await expect(fetch(`${url}/_gateway/health`)).rejects.toThrow();
    },
    { timeout: END_TIMEOUT_MS, interval: 50 },
  );
}

interface Process {
  readonly pid: number;
  readonly group: number;
  readonly command: string;
}

/** Zombies aside: whoever inherits them has to bury them, and that is not us. */
function processes(): Process[] {
  const lines = execFileSync("ps", ["-A", "-o", "pid=,pgid=,stat=,args="], { encoding: "utf8" }).split("\n");
  return lines.flatMap((line) => {
    const [, pid, group, stat, command = ""] = /^\s*(\d+)\s+(\d+)\s+(\S+)\s+(.*)$/.exec(line) ?? [];
    return stat === undefined || stat.startsWith("Z")
      ? []
      : [{ pid: Number(pid), group: Number(group), command }];
  });
}

function membersOf(npm: ChildProcess): Process[] {
  return processes().filter(({ group }) => group === npm.pid);
}

/** Of the program or script `name`; it stands second in the command line, after Node or as workerd's command. */
function pidOf({ npm }: Started, name: string): number {
  const found = membersOf(npm).find(({ command }) => command.split(" ").slice(0, 2).join(" ").endsWith(name));
  if (found === undefined) throw new Error(`no process "${name}"`);
  return found.pid;
}

function endGroup(npm: ChildProcess): void {
  try {
    if (npm.pid !== undefined) process.kill(-npm.pid, "SIGKILL");
  } catch {
    // It has ended, as it should.
  }
}

/** Answers with the path and the credential that it saw. */
async function otherOrigin(): Promise<Server> {
  const server = createServer((request, response) => {
    request.resume();
    response.end(`${request.url} ${request.headers.authorization}`);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return server;
}
