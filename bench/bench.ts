/**
 * `npm run bench`: what the gateway keeps of what a Worker that only forwards can do, on this machine. Rounds are
 * interleaved, so that whatever else the machine does meets all of them alike; figures are ratios within a round.
 */
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import { cpuMs } from "../local/cpu.ts";
import { parseStrictly, UsageError } from "../local/options.ts";
import { UserError } from "../local/project.ts";
import { runCommand } from "../local/run.ts";
import type { Counts } from "./counting-worker.ts";
import { keyOf, TOKEN } from "./keys.ts";
import { hasWrk, load } from "./load.ts";
import { hasNginx, LUA_MODULES } from "./nginx.ts";
import { asJson, asMarkdown, type Measured } from "./report.ts";
import { type Scene, setScene } from "./scene.ts";

const USAGE = `npm run bench -- [--rounds N] [--seconds S] [--json]      5 rounds of 3 seconds each by default

About nine minutes; four of them are for warming up, however few the rounds. With fewer than three, medians say little.

Needs Linux. Best with nginx, its Lua module, and wrk (Debian: apt-get install nginx-light libnginx-mod-http-lua wrk);
without them a small server of Node's is the origin, there are no peers, and autocannon sends.
`;
const MANY_KEYS = 10_000;
/** Enough to send each key once: from then on the flood of the last cases does not reach them. */
const ALL_KEYS_SECONDS = 30;
/** The engine goes on compiling what is often used for seconds, which is time that no request takes from then on. */
const COMPILED_SECONDS = 8;
/** Far enough below what any of them can do that nothing queues. */
const MODERATE_PER_SECOND = 200;

interface Case extends Pick<Measured, "name" | "about" | "base"> {
  readonly url: string;
  readonly pid: number;
  /** The same case, counted instead of timed; null for what is no gateway. */
  readonly countingUrl: string | null;
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
  // CPU time is read from there.
  if (!existsSync("/proc/self/stat")) throw new UserError(`This machine has no /proc.\n\n${USAGE}`);
  const folder = await mkdtemp(join(tmpdir(), "bench-"));
  try {
    const scene = await setScene(folder, MANY_KEYS, signal);
    try {
      const measured = await measure(casesOf(scene), folder, rounds, seconds);
      console.log(json ? asJson(measured) : asMarkdown(measured, MODERATE_PER_SECOND));
      if (!json) console.log(`\n${conditions(rounds, seconds)}`);
    } finally {
      await scene.stop();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function casesOf({ measured, counting, peers }: Scene): Case[] {
  const one = [keyOf(0)];
  const bare = { base: null, countingUrl: null, credentials: one, warmUpSeconds: COMPILED_SECONDS };
  const gateway = {
    base: "forward",
    url: measured.gateway,
    pid: measured.pid,
    countingUrl: counting.gateway,
    warmUpSeconds: COMPILED_SECONDS,
  };
  const many = Array.from({ length: MANY_KEYS }, (_, i) => keyOf(i));
  const peer = peers && { ...bare, base: "nginx", pid: peers.pid };
  return [
    {
      ...bare,
      name: "forward",
      about: "a Worker that only forwards",
      url: measured.forward,
      pid: measured.pid,
    },
    {
      ...bare,
      name: "floor",
      about: "a Worker that keeps the wire's promises, and decides nothing",
      base: "forward",
      url: measured.floor,
      pid: measured.pid,
    },
    { ...gateway, name: "warm", about: "one key, warm", credentials: one },
    {
      ...gateway,
      name: "warm10k",
      about: `${MANY_KEYS} keys of one tenant in turn`,
      credentials: many,
      warmUpSeconds: ALL_KEYS_SECONDS,
    },
    { ...gateway, name: "token", about: "one OAuth token, warm", credentials: [TOKEN] },
    {
      ...gateway,
      name: "refuseRepeated",
      about: "one unknown key, again and again",
      credentials: ["0".repeat(64)],
      warmUpSeconds: 0,
    },
    {
      ...gateway,
      name: "refuseDistinct",
      about: "an unknown key that is new each time",
      credentials: null,
      warmUpSeconds: 0,
    },
    ...(peers && peer
      ? [
          { ...peer, base: null, name: "nginx", about: "nginx that only proxies", url: peers.plain },
          {
            ...peer,
            name: "nginxAuthRequest",
            about: "nginx with auth_request to a Node service",
            url: peers.authRequest,
          },
          ...(peers.lua === null
            ? []
            : [
                {
                  ...peer,
                  name: "nginxLua",
                  about: "nginx with look-up and counter in Lua",
                  url: peers.lua,
                },
              ]),
        ]
      : []),
  ];
}

async function measure(
  cases: readonly Case[],
  folder: string,
  rounds: number,
  seconds: number,
): Promise<Measured[]> {
  const measured = cases.map((each) => {
    return {
      ...each,
      full: [] as Measured["full"][number][],
      moderate: [] as Measured["moderate"][number][],
    };
  });
  for (const { warmUpSeconds, ...target } of cases) {
    tell(`warming up: ${target.about}`);
    if (warmUpSeconds > 0) await load(folder, target, warmUpSeconds);
  }
  for (let round = 0; round < rounds; round++) {
    tell(`round ${round + 1} of ${rounds}`);
    for (const each of measured) {
      const before = cpuMs(each.pid);
      const found = await load(folder, each, seconds);
      each.full.push({ ...found, cpuMs: cpuMs(each.pid) - before });
    }
    for (const each of measured) each.moderate.push(await load(folder, each, seconds, MODERATE_PER_SECOND));
  }
  const counted: Measured[] = [];
  for (const each of measured) {
    if (each.countingUrl !== null) tell(`counting calls: ${each.about}`);
    counted.push({ ...each, counts: await count(each, folder, seconds) });
  }
  return counted;
}

function tell(text: string): void {
  process.stderr.write(`${text}\n`);
}

async function count(
  { countingUrl, credentials, warmUpSeconds }: Case,
  folder: string,
  seconds: number,
): Promise<Counts | null> {
  if (countingUrl === null) return null;
  const target = { url: countingUrl, credentials };
  if (warmUpSeconds > 0) await load(folder, target, warmUpSeconds);
  const told = async () => {
    // Events wait for up to a second to be sent together.
    await delay(1_500);
    return (await (await fetch(`${countingUrl}/count`)).json()) as Counts;
  };
  await told();
  const { requests } = await load(folder, target, seconds);
  const { kvReads, kvWrites, authorityCalls, points } = await told();
  const per = (calls: number) => (1_000 * calls) / requests;
  return {
    kvReads: per(kvReads),
    kvWrites: per(kvWrites),
    authorityCalls: per(authorityCalls),
    points: per(points),
  };
}

function conditions(rounds: number, seconds: number): string {
  const origin = hasNginx ? "nginx" : "a server of Node's";
  const lua = LUA_MODULES === null ? " (without Lua)" : "";
  return `${rounds} ${rounds === 1 ? "round" : "rounds"} of ${seconds} s each; the origin is ${origin}${hasNginx ? lua : ""}, ${hasWrk ? "wrk" : "autocannon"} sends.`;
}
