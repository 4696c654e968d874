/** What a process holds, as Linux tells it. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

const SAMPLE_MS = 1_000;
/** Of a life: caches and compiled code. */
const WARM_UP_MS = 10_000;

export interface Sample {
  readonly atMs: number;
  readonly pid: number;
  readonly residentBytes: number;
  readonly handles: number;
  readonly sockets: number;
  /** Of the origin's. */
  readonly connections: number;
}

/** At most, in the first and in the second half of the last life. */
export type Halves = readonly [number, number];
export type Figure = "residentBytes" | "handles" | "sockets" | "connections";

/** Null where there is no such process any more. */
export function sample(pid: number, connections: number): Sample | null {
  try {
    const kilobytes = /VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    if (kilobytes === undefined) return null;
    const folder = `/proc/${pid}/fd`;
    const handles = readdirSync(folder);
    const sockets = handles.filter((name) => linkOf(`${folder}/${name}`).startsWith("socket:")).length;
    return {
      atMs: Date.now(),
      pid,
      residentBytes: Number(kilobytes) * 1_024,
      handles: handles.length,
      sockets,
      connections,
    };
  } catch {
    return null;
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    // It was closed in the meantime.
    return "";
  }
}

/** Into `samples`, once a second. */
export function watch(
  pid: () => number,
  connections: () => Promise<number>,
  samples: Sample[],
): { stop: () => void } {
  const timer = setInterval(async () => {
    const found = sample(pid(), await connections());
    if (found !== null) samples.push(found);
  }, SAMPLE_MS);
  return { stop: () => clearInterval(timer) };
}

/** Of the last process, once it is warm. */
export function halves(samples: readonly Sample[], figure: Figure): Halves {
  const last = samples.at(-1);
  const life = samples.filter(({ pid }) => pid === last?.pid);
  const bornAtMs = life[0]?.atMs ?? 0;
  const warm = life.filter(({ atMs }) => atMs - bornAtMs > WARM_UP_MS);
  const half = Math.floor(warm.length / 2);
  const most = (some: readonly Sample[]) => Math.max(0, ...some.map((each) => each[figure]));
  return [most(warm.slice(0, half)), most(warm.slice(half))];
}
