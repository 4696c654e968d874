/** Load, and what it costs: `wrk` for the one, the process's own CPU time for the other. */
import { execFile, execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";

export interface Load {
  readonly requests: number;
  readonly seconds: number;
  /** Answers other than 2xx and 3xx. */
  readonly refused: number;
  /** CPU time (ms) of the process under load, user and system. */
  readonly cpuMs: number;
}

const CONNECTIONS = 16;
const TICKS_PER_SECOND = Number(execFileSync("getconf", ["CLK_TCK"], { encoding: "utf8" }));

/** `credentials`: sent in turn, from anywhere among them; null for one that is new with every request. */
export async function load(
  folder: string,
  url: string,
  credentials: readonly string[] | null,
  seconds: number,
  pid: number,
): Promise<Load> {
  const script = join(folder, "load.lua");
  writeFileSync(script, credentials === null ? DISTINCT : inTurn(credentials));
  const before = cpuMs(pid);
  const args = ["-t1", `-c${CONNECTIONS}`, `-d${seconds}s`, "-s", script, `${url}/public/v1/integrations`];
  const { stdout } = await promisify(execFile)("wrk", args);
  const spent = cpuMs(pid) - before;
  const [, requests = "0", took = "0"] = /(\d+) requests in ([\d.]+)s/.exec(stdout) ?? [];
  const refused = Number(/Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? 0);
  return { requests: Number(requests), seconds: Number(took), refused, cpuMs: spent };
}

function inTurn(credentials: readonly string[]): string {
  return `local keys = { ${credentials.map((key) => `"${key}"`).join(", ")} }
math.randomseed(os.time())
local i = math.random(#keys)
request = function()
  i = i % #keys + 1
  return wrk.format("GET", nil, { ["Authorization"] = keys[i] })
end
`;
}

const DISTINCT = `local i = 0
request = function()
  i = i + 1
  return wrk.format("GET", nil, { ["Authorization"] = string.format("%064x", i) })
end
`;

function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return ((Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND) * 1_000;
}
