/**
 * `npm run bench`: what the gateway keeps of what a Worker that only forwards can do, on this machine. Rounds are
 * interleaved, so that whatever else the machine does meets all of them alike; figures are ratios within a round.
 */
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
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
import { UserError } from "../local/project.ts";
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

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "5" },
    seconds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});
if (values.help) console.log(USAGE);
else await bench(Number(values.rounds), Number(values.seconds), values.json);

async function bench(rounds: number, seconds: number, json: boolean): Promise<void> {
  for (const tool of ["nginx", "wrk"]) requireTool(tool);
  const folder = await mkdtemp(join(tmpdir(), "bench-"));
  const [gatewayPort, forwardPort, originPort, seederPort] = await freePorts(4);
  const origin = await startOrigin(folder, originPort);
  const end = new AbortController();
  try {
    const workers = { forward: "bench/forward-worker.ts", seeder: "bench/seeder.ts" };
    const build = await buildAll(folder, workers, end.signal);
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
    throw new UserError(`${name} is not installed.\n${USAGE}`);
  }
}

async function freePorts(count: number): Promise<[number, number, number, number]> {
  const servers = Array.from({ length: count }, () => createServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => new Promise((resolve) => server.once("listening", resolve))));
  const ports = servers.map((server) => (server.address() as { port: number }).port);
  for (const server of servers) server.close();
  return ports as [number, number, number, number];
}
