/** Load: by `wrk`, or else autocannon. */
import { execFile, spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import autocannon from "autocannon";

export interface Target {
  readonly url: string;
  /** Sent in turn, from anywhere among them; null for one that is new with every request. */
  readonly credentials: readonly string[] | null;
}

export interface Load {
  readonly requests: number;
  readonly seconds: number;
  /** Answers other than 2xx and 3xx. */
  readonly refused: number;
  /** Until the answer's end, in milliseconds. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export const hasWrk = spawnSync("wrk", ["-v"]).error === undefined;

const PATH = "/public/v1/integrations";
const CONNECTIONS = 16;

/** `perSecond`: about how many requests in all; null for as many as there is room for. */
export function load(
  folder: string,
  target: Target,
  seconds: number,
  perSecond: number | null = null,
): Promise<Load> {
  return hasWrk ? wrk(folder, target, seconds, perSecond) : cannon(target, seconds, perSecond);
}

async function wrk(folder: string, { url, credentials }: Target, seconds: number, perSecond: number | null) {
  const script = join(folder, "load.lua");
  const pause = perSecond === null ? "" : wait((1_000 * CONNECTIONS) / perSecond);
  writeFileSync(script, (credentials === null ? DISTINCT : inTurn(credentials)) + pause + TELL);
  const args = ["-t1", `-c${CONNECTIONS}`, `-d${seconds}s`, "-s", script, url + PATH];
  const { stdout } = await promisify(execFile)("wrk", args);
  const told = JSON.parse(stdout.slice(stdout.lastIndexOf("{")));
  return told as Load;
}

/** At random, or all connections would send at once each time. */
const wait = (ms: number) => `delay = function() return math.random(0, ${Math.round(2 * ms)}) end\n`;

const TELL = `done = function(summary, latency)
  io.write(string.format('{"requests":%d,"seconds":%f,"refused":%d,"p50Ms":%f,"p99Ms":%f}',
    summary.requests, summary.duration / 1e6, summary.errors.status,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3))
end
`;

function inTurn(credentials: readonly string[]): string {
  const [only, ...others] = credentials;
  // What wrk puts together once costs it nothing later.
  if (others.length === 0) return `wrk.headers["Authorization"] = "${only}"\n`;
  return `local keys = { ${credentials.map((key) => `"${key}"`).join(", ")} }
math.randomseed(os.time())
local i = math.random(#keys)
request = function()
  i = i % #keys + 1
  return wrk.format("GET", nil, { ["Authorization"] = keys[i] })
end
`;
}

const DISTINCT = `math.randomseed(os.time())
local i = math.random(2 ^ 40)
request = function()
  i = i + 1
  return wrk.format("GET", nil, { ["Authorization"] = string.format("%064x", i) })
end
`;

async function cannon({ url, credentials }: Target, seconds: number, perSecond: number | null) {
  let i = Math.floor(Math.random() * (credentials?.length ?? 1));
  const next = () => {
    i++;
    return credentials?.[i % credentials.length] ?? i.toString(16).padStart(64, "0");
  };
  const result = await autocannon({
    url: url + PATH,
    connections: CONNECTIONS,
    duration: seconds,
    ...(perSecond !== null && { overallRate: perSecond }),
    requests: [{ setupRequest: (request) => ({ ...request, headers: { Authorization: next() } }) }],
  });
  return {
    requests: result.requests.total,
    seconds: result.duration,
    refused: result.non2xx,
    p50Ms: result.latency.p50,
    p99Ms: result.latency.p99,
  };
}
