/** `npm run soak -- --crowd`: what an ordinary client sees while others are slow, many, or greedy. */
import { type ChildProcess, execFile, fork, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { cpuMs } from "../local/cpu.ts";
import { freePort } from "../local/ports.ts";
import { ROOT } from "../local/project.ts";
import { Admin } from "./admin.ts";
import type { Crowd, CrowdEnd } from "./crowd-sender.ts";
import { sample } from "./measurements.ts";
import { issue } from "./population.ts";
import { percentile } from "./report.ts";
import { Gateway } from "./scene.ts";
import { SECRETS } from "./secrets.ts";

interface View {
  readonly about: string;
  readonly requests: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly failed: number;
  /** Of the gateway, at most. */
  readonly residentBytes: number;
  readonly sockets: number;
  readonly cpuSeconds: number;
  /** What came of the crowd, in words. */
  readonly crowd: string;
}

export interface CrowdReport {
  readonly views: readonly View[];
  /** Files that the gateway may have open. */
  readonly handleLimit: string;
  readonly seconds: number;
}

const hasSlowHttpTest = spawnSync("slowhttptest", ["-h"]).error === undefined;
const PLENTY = 1_000_000_000;
const FLOODED_PER_MINUTE = 600;
/** Longer than the runtime leaves a connection without a request. */
const SECONDS = 20;
const BETWEEN_MS = 5_000;
/** Of ordinary clients: half of them keep their connection, half come with a new one each time. */
const CLIENTS = 4;
const PAUSE_MS = 100;
const ANSWER_TIMEOUT_MS = 10_000;

export async function watchCrowds(signal: AbortSignal, tell: (text: string) => void): Promise<CrowdReport> {
  const dataDir = await mkdtemp(join(tmpdir(), "soak-"));
  const origin = fork(join(import.meta.dirname, "crowd-origin.ts"));
  try {
    const [{ port: originPort }] = (await once(origin, "message")) as [{ port: number }];
    const port = await freePort();
    const gateway = new Gateway({
      dataDir,
      port,
      originUrl: `http://127.0.0.1:${originPort}`,
      vars: SECRETS,
    });
    signal.addEventListener("abort", () => void gateway.stop(), { once: true });
    try {
      await gateway.start(ROOT);
      return await watchAll(gateway, port, signal, tell);
    } finally {
      await gateway.stop();
    }
  } finally {
    origin.disconnect();
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function watchAll(
  gateway: Gateway,
  port: number,
  signal: AbortSignal,
  tell: (text: string) => void,
): Promise<CrowdReport> {
  const admin = new Admin(gateway.url, SECRETS.ADMIN_TOKEN);
  const [ordinary, greedy, limited] = [
    await newKey(admin, "ordinary", PLENTY),
    await newKey(admin, "greedy", PLENTY),
    await newKey(admin, "limited", FLOODED_PER_MINUTE),
  ];
  const handleLimit = /Max open files\s+(\d+)/.exec(readFileSync(`/proc/${gateway.pid}/limits`, "utf8"))?.[1];
  await look(gateway, ordinary, "warm-up", delay(5_000, ""));
  const views: View[] = [];
  for (const [about, begin] of crowds(port, greedy, limited)) {
    signal.throwIfAborted();
    tell(`${about} …`);
    views.push(await look(gateway, ordinary, about, begin()));
    await delay(BETWEEN_MS);
  }
  return { views, handleLimit: handleLimit ?? "unknown", seconds: SECONDS };
}

async function newKey(admin: Admin, id: string, apiPerMinute: number): Promise<string> {
  await admin.must("POST", "/tenants", { id, name: id });
  await admin.must("PATCH", `/tenants/${id}`, { limits: { apiPerMinute } });
  await admin.must("PUT", `/tenants/${id}/origin-key`, { key: `the-origin-key-of-${id}` });
  return (await issue(admin, id, { scopes: ["*"] })).value;
}

type Begin = () => Promise<string>;

/** Each resolves, when it is over, to what came of it. */
function crowds(port: number, greedy: string, limited: string): [about: string, begin: Begin][] {
  const own = (does: Crowd["does"], count: number, authorization = greedy): Begin => {
    return () => send({ does, port, count, seconds: SECONDS, authorization });
  };
  const url = `http://127.0.0.1:${port}/public/v1/posts`;
  const slow = (...args: string[]): Begin => {
    return () => slowHttpTest([...args, "-r", "500", "-l", String(SECONDS), "-u", url]);
  };
  const bought: [string, Begin][] = [
    ["slowhttptest -H: 2,000 slow headers", slow("-H", "-c", "2000", "-i", "2")],
    ["slowhttptest -B: 2,000 slow bodies without a key", slow("-B", "-c", "2000", "-i", "2", "-s", "8192")],
    ["slowhttptest -X: 2,000 slow readers", slow("-X", "-c", "2000", "-n", "2")],
  ];
  return [
    ["nobody", () => delay(SECONDS * 1_000, "")],
    ...(hasSlowHttpTest ? bought : []),
    ["2,000 slow headers", own("slow headers", 2_000)],
    ["2,000 slow bodies with a good key", own("slow bodies", 2_000)],
    ["5,000 idle connections", own("idles", 5_000)],
    ["500 uploads at once, 32 KB/s each", own("paced uploads", 500)],
    ["500 uploads at once, as fast as they go", own("uploads", 500)],
    [
      `a tenant that floods (64 connections), ${FLOODED_PER_MINUTE} a minute allowed`,
      own("floods", 64, limited),
    ],
    ["a tenant that floods (64 connections), without a limit", own("floods", 64)],
  ];
}

/** What ordinary clients see until the crowd has gone. */
async function look(
  gateway: Gateway,
  authorization: string,
  about: string,
  crowd: Promise<string>,
): Promise<View> {
  const times: number[] = [];
  let failed = 0;
  let [residentBytes, sockets] = [0, 0];
  const over = new AbortController();
  const usedBeforeMs = cpuMs(gateway.pid);
  const watching = setInterval(() => {
    const found = sample(gateway.pid, 0);
    residentBytes = Math.max(residentBytes, found?.residentBytes ?? 0);
    sockets = Math.max(sockets, found?.sockets ?? 0);
  }, 500);
  const client = async (_: unknown, i: number) => {
    const agent = i % 2 === 0 ? new Agent({ keepAlive: true, timeout: 2_000 }) : false;
    while (!over.signal.aborted) {
      const beganAt = performance.now();
      const status = await get(gateway.url, authorization, agent);
      times.push(performance.now() - beganAt);
      if (status !== 200) failed++;
      await delay(PAUSE_MS);
    }
    if (agent !== false) agent.destroy();
  };
  const clients = Array.from({ length: CLIENTS }, client);
  const told = await crowd;
  const usedMs = cpuMs(gateway.pid) - usedBeforeMs;
  over.abort();
  await Promise.all(clients);
  clearInterval(watching);
  return {
    about,
    requests: times.length,
    p50Ms: percentile(times, 0.5),
    p99Ms: percentile(times, 0.99),
    failed,
    residentBytes,
    sockets,
    cpuSeconds: usedMs / 1_000,
    crowd: told,
  };
}

/** 0 where there was no answer. */
function get(url: string, authorization: string, agent: Agent | false): Promise<number> {
  return new Promise((resolve) => {
    const options = { agent, headers: { Authorization: authorization }, timeout: ANSWER_TIMEOUT_MS };
    const outgoing = request(`${url}/public/v1/integrations`, options, (response) => {
      response.resume().on("end", () => resolve(response.statusCode ?? 0));
      response.on("error", () => resolve(0));
    });
    outgoing.on("timeout", () => outgoing.destroy()).on("error", () => resolve(0));
    outgoing.end();
  });
}

async function send(crowd: Crowd): Promise<string> {
  const file = join(import.meta.dirname, "crowd-sender.ts");
  const child: ChildProcess = fork(file, [JSON.stringify(crowd)], {
    stdio: ["ignore", "pipe", "inherit", "ipc"],
  });
  let output = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => {
    output += text;
  });
  await once(child, "close");
  return describeEnd(JSON.parse(output) as CrowdEnd);
}

function describeEnd({
  begun,
  answers,
  closed,
  firstClosedMs,
  lastClosedMs,
  open,
  errors,
}: CrowdEnd): string {
  const seconds = (ms: number) => (ms / 1_000).toFixed(1);
  return [
    `${begun} begun`,
    ...Object.entries(answers).map(([status, count]) => `${count} answered ${status}`),
    ...(closed > 0 ? [`${closed} closed after ${seconds(firstClosedMs)} to ${seconds(lastClosedMs)} s`] : []),
    ...(open > 0 ? [`${open} open at the end`] : []),
    ...(errors > 0 ? [`${errors} broken`] : []),
  ].join(", ");
}

/** Its last report: how many connections it still had, and how many had been closed. */
async function slowHttpTest(args: readonly string[]): Promise<string> {
  const { stdout } = await promisify(execFile)("slowhttptest", args, { maxBuffer: 2 ** 26 });
  const plain = stdout.replaceAll(/\p{Cc}\[[\d;]*m/gu, "");
  const last = (name: string) =>
    [...plain.matchAll(new RegExp(`^${name}:\\s+(\\S+)`, "gm"))].at(-1)?.[1] ?? "?";
  return `${last("connected")} connected at the end, ${last("closed")} closed, ${last("error")} errors, available: ${last("service available")}`;
}
