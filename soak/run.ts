/** One run: everything set up, all at once for its time, all at rest, and then counted up. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { setTimeout as delay } from "node:timers/promises";
import { freePort } from "../local/ports.ts";
import { readEvents } from "../local/read-events.ts";
import { Admin } from "./admin.ts";
import { sendAll, warmUp } from "./clients.ts";
import { letGo } from "./exchange.ts";
import { troubleOrigin } from "./faults.ts";
import type { GatewayDown, Ledger, Sent, Usage } from "./ledger.ts";
import { changeLives, type Versions } from "./lives.ts";
import { type Sample, sample, watch } from "./measurements.ts";
import { type Changes, operate } from "./operator.ts";
import { Origin } from "./origin.ts";
import { DEFAULT_LIMITS, type Population, populate } from "./population.ts";
import { Random } from "./random.ts";
import { type Reconciled, reconcile } from "./reconcile.ts";
import { Gateway } from "./scene.ts";
import { SECRETS } from "./secrets.ts";

export interface Plan {
  readonly minutes: number;
  readonly seed: number;
  readonly versions: Versions;
}

export interface Outcome extends Plan {
  readonly ledger: Ledger;
  readonly reconciled: Reconciled;
  readonly changes: Changes;
  readonly questions: number;
  readonly samples: readonly Sample[];
  /** Before the traffic, and when all of it was over. */
  readonly rest: { readonly before: Sample | null; readonly after: Sample | null };
  /** How long this process stood still at most (ms): the machine had no time for it, and so for the others neither. */
  readonly standstillMs: number;
  /** What the gateway wrote beside its events. */
  readonly output: string;
}

/** Of a run: where the gateway ends and begins. What follows is one life, long enough to see what grows. */
const UNSTEADY_PART = 0.4;
/** As `windows.ts` and `admission.ts` count with. */
const ORIGIN_TIMEOUT_MS = 5_000;
/** Longer than any side keeps an idle connection open. */
const REST_MS = 12_000;

export async function run(plan: Plan, signal: AbortSignal): Promise<Outcome> {
  const dataDir = await mkdtemp(join(tmpdir(), "soak-"));
  const origin = new Origin();
  const originPort = await origin.start();
  const gateway = new Gateway({
    dataDir,
    port: await freePort(),
    originUrl: `http://127.0.0.1:${originPort}`,
    vars: { ...SECRETS, ORIGIN_TIMEOUT_MS: `${ORIGIN_TIMEOUT_MS}` },
  });
  signal.addEventListener("abort", () => void gateway.stop(), { once: true });
  try {
    await gateway.start(plan.versions.old);
    return await play(plan, gateway, origin, dataDir, signal);
  } finally {
    await gateway.stop();
    await origin.stop();
    await rm(dataDir, { recursive: true, force: true });
  }
}

async function play(
  plan: Plan,
  gateway: Gateway,
  origin: Origin,
  dataDir: string,
  signal: AbortSignal,
): Promise<Outcome> {
  const random = new Random(plan.seed);
  const admin = new Admin(gateway.url, SECRETS.ADMIN_TOKEN);
  const population = await populate(admin, random.fork(0));
  for (const [key, tenant] of population.originKeys) origin.tenants.set(key, tenant);
  const sent: Sent[] = [];
  const port = Number(new URL(gateway.url).port);
  await warmUp(port, population, random, sent);
  await delay(REST_MS);
  const before = sample(gateway.pid, await origin.connections());

  const samples: Sample[] = [];
  const watching = watch(
    () => gateway.pid,
    () => origin.connections(),
    samples,
  );
  const delays = monitorEventLoopDelay();
  delays.enable();
  const { changes, gatewayDowns } = await traffic(
    plan,
    gateway,
    origin,
    admin,
    population,
    random,
    sent,
    signal,
  );
  watching.stop();
  delays.disable();
  const standstillMs = Math.round(delays.max / 1e6);
  const usages = await usagesOf(admin, population);
  letGo();
  await delay(REST_MS);
  const after = sample(gateway.pid, await origin.connections());
  await gateway.stop();

  const events = [...readEvents(dataDir)];
  const { limits } = population;
  const { seen, downs, questions } = origin;
  const { output, stops } = gateway;
  const { asked } = admin;
  const ofGateway = { gatewayDowns, stops, asked };
  const ledger = { sent, seen, events, limits, defaults: DEFAULT_LIMITS, usages, downs, ...ofGateway };
  const reconciled = reconcile(ledger);
  return {
    ...plan,
    ledger,
    reconciled,
    changes,
    questions,
    samples,
    rest: { before, after },
    standstillMs,
    output,
  };
}

async function traffic(
  { minutes, versions }: Plan,
  gateway: Gateway,
  origin: Origin,
  admin: Admin,
  population: Population,
  random: Random,
  sent: Sent[],
  signal: AbortSignal,
): Promise<{ readonly changes: Changes; readonly gatewayDowns: readonly GatewayDown[] }> {
  const lastingMs = minutes * 60_000;
  const over = new AbortController();
  signal.addEventListener("abort", () => over.abort(), { once: true });
  const lives = async () => {
    const unsteadyMs = UNSTEADY_PART * lastingMs;
    const downs = await changeLives(gateway, versions, random.fork(2), unsteadyMs, over.signal);
    await delay(lastingMs - unsteadyMs, null, { signal });
    over.abort();
    return downs;
  };
  const [changes, gatewayDowns] = await Promise.all([
    operate(admin, population.tenants, random.fork(1), over.signal),
    lives(),
    troubleOrigin(origin, random.fork(3), over.signal),
    sendAll(Number(new URL(gateway.url).port), population, random.fork(4), sent, over.signal),
  ]);
  signal.throwIfAborted();
  return { changes, gatewayDowns };
}

async function usagesOf(admin: Admin, { limits, narrow }: Population): Promise<Usage[]> {
  const usages: Usage[] = [];
  for (const { id } of narrow) {
    const told = await admin.insist("GET", `/tenants/${id}/usage`);
    const { posts, keys } = told.body as unknown as Told;
    for (const limit of limits.filter(({ tenant }) => tenant === id)) {
      const state = limit.policy === "posts" ? posts : keys.find((key) => key.id === limit.keyId)?.api;
      if (state === undefined) throw new Error(`there is no usage of ${limit.policy} of ${id}`);
      usages.push({ limit, atMs: Date.now(), ...state });
    }
  }
  return usages;
}

interface State {
  readonly remaining: number;
  readonly outstanding: number;
}
interface Told {
  readonly posts: State;
  readonly keys: readonly { readonly id: string; readonly api: State }[];
}
