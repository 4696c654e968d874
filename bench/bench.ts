/**
 * `npm run bench`: what the gateway keeps of what a Worker that only forwards can do, on this machine. Rounds are
 * interleaved, so that whatever else the machine does meets all of them alike; figures are ratios within a round.
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { Socket, WorkerService } from "../local/capnp.ts";
import {
  buildAll,
  durableObjectBinding,
  gatewayServices,
  kvBinding,
  varBindings,
  workerService,
} from "../local/gateway.ts";
import { parseStrictly, UsageError } from "../local/options.ts";
import { freePort } from "../local/ports.ts";
import { UserError } from "../local/project.ts";
import { runCommand } from "../local/run.ts";
import { startWorkerd } from "../local/workerd.ts";
import { keyOf, TOKEN } from "./keys.ts";
import { type Load, load } from "./load.ts";
import { startOrigin } from "./origin.ts";

const USAGE = `npm run bench -- [--rounds N] [--seconds S] [--json]      5 rounds of 3 seconds each by default

Needs nginx and wrk (Debian: apt-get install nginx-light wrk), and Linux.
`;
const MANY_KEYS = 10_000;
/** Enough to send each key once: from then on the flood of the last cases does not reach them. */
const ALL_KEYS_SECONDS = 30;

interface Case {
  readonly name: string;
  readonly about: string;
  readonly url: string;
  readonly credentials: readonly string[] | null;
  /** How long before anything is measured, for connections, caches and compiled code. */
  readonly warmUpSeconds: number;
}

interface Options {
  readonly rounds: number;
  readonly seconds: number;
  readonly json: boolean;
}

process.exit(await runCommand(USAGE, main));

async function main(signal: AbortSignal): Promise<number> {
  const { rounds = "5", seconds = "3", json = false, help = false } = parse(process.argv.slice(2));
  if (help) console.log(USAGE);
  else
    await bench(
      { rounds: positive("--rounds", rounds), seconds: positive("--seconds", seconds), json },
      signal,
    );
  return 0;
}

function parse(args: string[]) {
  const [text, flag] = [{ type: "string" }, { type: "boolean" }] as const;
  const options = { rounds: text, seconds: text, json: flag, help: flag } as const;
  return parseStrictly(() => parseArgs({ args, options }).values);
}

function positive(name: string, value: string): number {
  if (/^[1-9]\d{0,3}$/.test(value)) return Number(value);
  throw new UsageError(`${name} is ${JSON.stringify(value)}: allowed is a whole number from 1 to 9999.`);
}

async function bench({ rounds, seconds, json }: Options, signal: AbortSignal): Promise<void> {
  for (const tool of ["nginx", "wrk"]) requireTool(tool);
  const folder = await mkdtemp(join(tmpdir(), "bench-"));
  const gatewayPort = await freePort();
  const forwardPort = await freePort();
  const originPort = await freePort();
  const seederPort = await freePort();
  const origin = await startOrigin(folder, originPort);
  try {
    const workers = { forward: "bench/forward-worker.ts", seeder: "bench/seeder.ts" };
    const build = await buildAll(folder, workers, signal);
    const originUrl = `http://127.0.0.1:${originPort}`;
    const forward = {
      ...workerService(build, "forward", "Only forwards."),
      bindings: varBindings({ ORIGIN_URL: originUrl }),
    };
    const seeder: WorkerService = {
      ...workerService(build, "seeder", "Seeds."),
      bindings: [durableObjectBinding("TENANT_AUTHORITY", "TenantAuthority"), kvBinding("CREDENTIALS")],
    };
    const socket = (service: string, port: number): Socket => {
      return { name: service, about: service, address: `127.0.0.1:${port}`, service };
    };
    const config = {
      about: "The benchmark.",
      workers: [...gatewayServices(build, { ORIGIN_URL: originUrl }), forward, seeder],
      sockets: [socket("gateway", gatewayPort), socket("forward", forwardPort), socket("seeder", seederPort)],
      storagePath: join(folder, "storage"),
    };
    const workerd = await startWorkerd({
      stateDir: folder,
      fileName: "bench.capnp",
      config,
      signal,
      output: "ignore",
    });
    try {
      await fetch(`http://127.0.0.1:${seederPort}/?keys=${MANY_KEYS}`, { method: "POST" });
      const gateway = `http://127.0.0.1:${gatewayPort}`;
      const cases: Case[] = [
        {
          name: "forward",
          about: "a Worker that only forwards",
          url: `http://127.0.0.1:${forwardPort}`,
          warmUpSeconds: 1,
          credentials: [keyOf(0)],
        },
        { name: "warm", about: "one key, warm", url: gateway, warmUpSeconds: 1, credentials: [keyOf(0)] },
        {
          name: "warm10k",
          about: `${MANY_KEYS} keys of one tenant in turn`,
          url: gateway,
          warmUpSeconds: ALL_KEYS_SECONDS,
          credentials: keys(MANY_KEYS),
        },
        {
          name: "token",
          about: "one OAuth token, warm",
          url: gateway,
          warmUpSeconds: 1,
          credentials: [TOKEN],
        },
        {
          name: "refuseRepeated",
          about: "one unknown key, again and again",
          url: gateway,
          warmUpSeconds: 0,
          credentials: ["0".repeat(64)],
        },
        {
          name: "refuseDistinct",
          about: "an unknown key that is new each time",
          url: gateway,
          warmUpSeconds: 0,
          credentials: null,
        },
      ];
      report(cases, await measure(cases, folder, rounds, seconds, workerd.pid), json);
    } finally {
      await workerd.stop();
    }
  } finally {
    await origin.stop();
    await rm(folder, { recursive: true, force: true });
  }
}

function keys(count: number): string[] {
  return Array.from({ length: count }, (_, i) => keyOf(i));
}

async function measure(cases: Case[], folder: string, rounds: number, seconds: number, pid: number) {
  const loads = new Map(cases.map(({ name }): [string, Load[]] => [name, []]));
  for (const { url, credentials, warmUpSeconds } of cases) {
    if (warmUpSeconds > 0) await load(folder, url, credentials, warmUpSeconds, pid);
  }
  for (let round = 0; round < rounds; round++) {
    for (const { name, url, credentials } of cases) {
      loads.get(name)?.push(await load(folder, url, credentials, seconds, pid));
    }
  }
  return loads;
}

function report(cases: Case[], loads: ReadonlyMap<string, Load[]>, json: boolean): void {
  const rateOf = ({ requests, seconds }: Load) => requests / seconds;
  const bare = (loads.get("forward") ?? []).map(rateOf);
  const rows = cases.map(({ name, about }) => {
    const found = loads.get(name) ?? [];
    const ratios = found.map((each, i) => rateOf(each) / (bare[i] ?? 1));
    return {
      name,
      about,
      rate: median(found.map(rateOf)),
      ratio: median(ratios),
      range: `${Math.min(...ratios).toFixed(2)} – ${Math.max(...ratios).toFixed(2)}`,
      cpuMicros: median(found.map(({ cpuMs, requests }) => (cpuMs * 1_000) / requests)),
      refused: median(found.map(({ refused, requests }) => (100 * refused) / requests)),
    };
  });
  if (json) {
    const ratios = rows.map(({ name, ratio }) => [name, Number(ratio.toFixed(3))]);
    console.log(JSON.stringify(Object.fromEntries(ratios)));
    return;
  }
  console.log("| case | requests/s | of the bare forward: median (range) | CPU µs/request | refused |");
  console.log("|---|---|---|---|---|");
  for (const { about, rate, ratio, range, cpuMicros, refused } of rows) {
    const figures = [
      rate.toFixed(0),
      `${ratio.toFixed(2)} (${range})`,
      cpuMicros.toFixed(0),
      `${refused.toFixed(0)} %`,
    ];
    console.log(`| ${about} | ${figures.join(" | ")} |`);
  }
}

function median(numbers: number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? 0)
    : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

function requireTool(name: string): void {
  try {
    execFileSync("which", [name]);
  } catch {
    throw new UserError(`${name} is not installed.\n\n${USAGE}`);
  }
}
