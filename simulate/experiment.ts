/** What is played: the sample of all tenants through a quiet time and then through one trouble after the other; and each hot tenant. */
import { CALL_MS } from "./authorities.ts";
import { Geography } from "./geography.ts";
import type { RevocationOracle } from "./oracles.ts";
import {
  type Kind,
  MAX_KEYS,
  type Size,
  type Stratum,
  strataOf,
  type Tenant,
  tenantsOf,
} from "./population.ts";
import { Random } from "./random.ts";
import { type Demand, type Tallies, Tally } from "./tally.ts";
import { VirtualTime } from "./virtual-time.ts";
import { World } from "./world.ts";

export interface Plan {
  readonly size: Size;
  readonly scale: number;
  readonly seed: string;
  /** Of the quiet time that is measured. */
  readonly minutes: number;
}

/** Virtual seconds. */
const WARM_UP_S = 120;
/** Of a hot tenant: until its isolates know its keys, as quickly as they are seen, its authority is quicker than it can be. */
const QUICK_CALL_MS = 0.05;
const HOT_WARM_UP_S = [60, 600] as const;
/** Whoever is near a limit or beyond it meets it only when a window has passed. */
const LIMIT_WARM_UP_S = 75;
/** What of its traffic comes from elsewhere, and how often each isolate there sees each key before the warm-up ends. */
const TAIL = 0.2;
const TIMES_SEEN = 3;
const HOT_SETTLING_S = 10;
const HOT_S = 10;
/** A limit that is met lets in by fits and starts: what is missing shows over a whole window only. */
const LIMIT_HOT_S = 60;
/** With more traffic minutes of new isolates and of revocations take too long to simulate. */
const MAX_TROUBLED_PER_SECOND = 5_000;
const ROLLED_S = 30;
/** Of so many of a hot tenant's keys; and how long it takes until the last place has heard of it. */
const HOT_REVOCATIONS = 4;
const HOT_REVOKED_S = 70;
/** Of the day, UTC. */
const HOUR = 15;

interface Trouble {
  readonly name: string;
  readonly tallies: readonly Tally[];
  readonly strangers: Tally;
}

export interface Quiet {
  readonly strata: readonly Stratum[];
  readonly seconds: number;
  readonly tallies: Tallies;
  /** Of the host's name: by all isolates, whoever's requests they serve. */
  readonly hostReads: number;
  /** How often a minute the origin is asked about a token that is used at least once in five seconds. */
  readonly probes: { readonly tokens: number; readonly mean: number; readonly most: number };
  /** Credentials an isolate has seen, all tenants counted, on the average and at most. */
  readonly seen: { readonly mean: number; readonly most: number };
}

export interface Whole extends Quiet {
  /** That were simulated. */
  readonly keys: number;
  readonly troubles: readonly Trouble[];
  readonly revocations: Revocations;
  /** Admitted beyond a limit before the quiet time, until isolates and keys knew each other. */
  readonly overBefore: number;
}

export type Revocations = Readonly<Record<"leases" | "KV only", RevocationOracle>>;

export interface Hot extends Kind {
  readonly stratum: number;
  /** Requests a second. */
  readonly perSecond: number;
  readonly keys: number;
  /** Of its authority, and of its branches: the busiest of them, all together, and how many there are. */
  readonly callsPerSecond: number;
  readonly allCallsPerSecond: number;
  readonly objects: number;
  readonly longestQueueMs: number;
  readonly tallies: Tallies;
  /** Admitted beyond a limit, in all that was played of it. */
  readonly over: number;
  /** Share of the requests that were refused because nobody could decide, in the first half minute of isolates that are all new. */
  readonly refusedWhenRolled: number | null;
  readonly revocations: Revocations;
}

/** How much is to be done, in simulated requests: for the progress. */
export function requestsOf({ size, scale, minutes }: Plan, withTroubles: boolean): number {
  const strata = strataOf(size, scale);
  const perSecond = strata
    .filter(({ isHot }) => !isHot)
    .reduce((sum, { from, to, sample, perSecond: all }) => sum + (sample * all) / (to - from + 1), 0);
  return perSecond * (WARM_UP_S + 60 * minutes + (withTroubles ? TROUBLES_S : 0));
}

export function requestsOfHot(plan: Plan, { from, to, perSecond }: Stratum, { demand }: Kind): number {
  const each = perSecond / (to - from + 1);
  const { isolates } = geographyOf(plan);
  const seconds = warmUpOf(each, MAX_KEYS, isolates, demand) + HOT_SETTLING_S + measuredOf(demand);
  const troubledS = ROLLED_S + HOT_SETTLING_S + HOT_REVOKED_S;
  return each * (seconds + (each <= MAX_TROUBLED_PER_SECOND ? troubledS : 0));
}

const measuredOf = (demand: Demand): number => (demand === "far" ? HOT_S : LIMIT_HOT_S);

function warmUpOf(perSecond: number, keys: number, isolates: number, demand: Demand): number {
  const [shortest, most] = HOT_WARM_UP_S;
  const least = demand === "far" ? shortest : LIMIT_WARM_UP_S;
  return Math.min(most, Math.max(least, Math.round((TIMES_SEEN * keys * isolates) / (TAIL * perSecond))));
}

export function geographyOf({ size, seed }: Plan): Geography {
  return new Geography(new Random(`${seed} geography`), size.locations, size.maxIsolates);
}

/** The sample, in its quiet time; then, if wanted, in trouble. */
export async function playSample(plan: Plan, onRequest: () => void, withTroubles: boolean): Promise<Whole> {
  const { size, scale, minutes } = plan;
  const seed = `${plan.seed} ${scale}`;
  const geography = geographyOf(plan);
  const strata = strataOf(size, scale);
  const tenants = strata.flatMap((stratum, i) =>
    stratum.isHot ? [] : tenantsOf(stratum, i, geography, seed, HOUR),
  );
  const time = new VirtualTime();
  const restore = time.install();
  try {
    const world = new World(time, { seed, geography, strata: strata.length, tenants, onRequest });
    await world.prepare();
    world.begin();
    await pass(world, WARM_UP_S);
    const overBefore = overOf(world.turn());
    const seconds = 60 * minutes;
    world.comparesDesigns = true;
    const hostReadsBefore = world.hosts.kvReads;
    await pass(world, seconds);
    const hostReads = world.hosts.kvReads - hostReadsBefore;
    const probes = probesOf(world, minutes);
    const quiet = { strata, seconds, tallies: world.turn(), hostReads };
    const seen = seenOf(world, strata);
    world.comparesDesigns = false;
    const troubles = withTroubles ? await troublesOf(world, tenants, plan) : [];
    world.end();
    const keys = tenants.reduce((sum, tenant) => sum + tenant.keys.length, 0);
    return { ...quiet, keys, probes, seen, troubles, revocations: world.revocations, overBefore };
  } finally {
    restore();
  }
}

/** One hot tenant by itself, with all of its traffic, in every location and isolate. */
export async function playHot(plan: Plan, stratum: number, kind: Kind, onRequest: () => void): Promise<Hot> {
  const seed = `${plan.seed} hot ${stratum}`;
  const geography = geographyOf(plan);
  const strata = strataOf(plan.size, plan.scale);
  const wanted = strata[stratum];
  const tenants = wanted === undefined ? [] : tenantsOf(wanted, stratum, geography, seed, HOUR, () => kind);
  const [tenant] = tenants;
  if (tenant === undefined) throw new Error(`there is no stratum ${stratum}`);
  const { perSecond, keys } = tenant;
  const time = new VirtualTime();
  const restore = time.install();
  try {
    const world = new World(time, { seed, geography, strata: strata.length, tenants, onRequest });
    await world.prepare();
    world.begin();
    const overBefore = await warmUp(world, tenant);
    const measured = await measure(world, tenant);
    const isTroubled = perSecond <= MAX_TROUBLED_PER_SECOND;
    const rolled = isTroubled ? await roll(world, stratum) : null;
    const overRevoking = isTroubled ? await revokeSome(world, tenant) : 0;
    world.end();
    return {
      ...kind,
      ...measured,
      stratum,
      perSecond,
      keys: keys.length,
      over: overBefore + overOf(measured.tallies) + (rolled?.over ?? 0) + overRevoking,
      refusedWhenRolled: rolled?.refused ?? null,
      revocations: world.revocations,
    };
  } finally {
    restore();
  }
}

/** Returns what was admitted beyond a limit, as those below do. */
async function warmUp(world: World, { tag, perSecond, keys }: Tenant): Promise<number> {
  const { authorities, setting } = world;
  const demand = keys[0]?.demand ?? "far";
  authorities.slowDown(tag, QUICK_CALL_MS);
  await pass(world, warmUpOf(perSecond, keys.length, setting.geography.isolates, demand));
  authorities.slowDown(tag, CALL_MS);
  await pass(world, HOT_SETTLING_S);
  return overOf(world.turn());
}

async function measure(
  world: World,
  { tag, keys }: Tenant,
): Promise<Pick<Hot, "callsPerSecond" | "allCallsPerSecond" | "objects" | "longestQueueMs" | "tallies">> {
  world.comparesDesigns = true;
  const before = world.authorities.callsOf(tag);
  const seconds = measuredOf(keys[0]?.demand ?? "far");
  let longestQueueMs = 0;
  for (let second = 0; second < seconds; second++) {
    await pass(world, 1);
    longestQueueMs = Math.max(longestQueueMs, world.authorities.queueMs(tag));
  }
  const calls = world.authorities.callsOf(tag).map((calls, i) => calls - (before[i] ?? 0));
  world.comparesDesigns = false;
  return {
    callsPerSecond: Math.max(...calls) / seconds,
    allCallsPerSecond: calls.reduce((sum, each) => sum + each, 0) / seconds,
    objects: calls.length,
    longestQueueMs,
    tallies: world.turn(),
  };
}

async function roll(world: World, stratum: number): Promise<{ refused: number; over: number }> {
  world.isolates.roll(0);
  await pass(world, ROLLED_S);
  const tallies = world.turn();
  const tally = tallies.leases[stratum] ?? new Tally();
  const refused = unavailableOf(tally) / Math.max(1, tally.requests);
  return { refused, over: overOf(tallies) };
}

/** Before that, the other design's places come to know the keys again. */
async function revokeSome(world: World, { keys }: Tenant): Promise<number> {
  world.comparesDesigns = true;
  await pass(world, HOT_SETTLING_S);
  for (const key of keys.slice(0, Math.min(HOT_REVOCATIONS, keys.length / 2))) world.revoke(key);
  await pass(world, HOT_REVOKED_S);
  return overOf(world.turn());
}

export const unavailableOf = ({ refused }: Tally): number => refused.get("authority_unavailable") ?? 0;

const overOf = ({ leases }: Tallies): number => leases.reduce((sum, { over }) => sum + over, 0);

const pass = (world: World, seconds: number): Promise<void> =>
  world.time.runUntil(world.time.nowMs + 1_000 * seconds);

function probesOf({ probes, setting }: World, minutes: number): Quiet["probes"] {
  const busy = setting.tenants.filter(
    ({ isToken, perSecond, keys }) => isToken && perSecond / keys.length >= 0.2,
  );
  const counts = busy.flatMap(({ keys }) => keys.map((key) => (probes.get(key) ?? 0) / minutes));
  const mean = counts.reduce((a, b) => a + b, 0) / Math.max(1, counts.length);
  return { tokens: counts.length, mean, most: Math.max(0, ...counts) };
}

/** What the isolates' memories would have to hold, were all tenants simulated. */
function seenOf(world: World, strata: readonly Stratum[]): Quiet["seen"] {
  const weightOf = new Map<string, number>();
  for (const { keys, stratum } of world.setting.tenants) {
    const { from = 1, to = 1, sample = 1 } = strata[stratum] ?? {};
    for (const { digest } of keys) weightOf.set(digest, (to - from + 1) / sample);
  }
  const counts = world.isolates.all().map(({ seen }) => {
    let sum = 0;
    for (const digest of seen) sum += weightOf.get(digest) ?? 0;
    return sum;
  });
  const mean = counts.reduce((a, b) => a + b, 0) / Math.max(1, counts.length);
  return { mean, most: Math.max(0, ...counts) };
}

interface Act {
  readonly name: string;
  readonly seconds: number;
  readonly begin: (world: World, tenants: readonly Tenant[], plan: Plan) => void;
  readonly end?: (world: World, tenants: readonly Tenant[]) => void;
}

/** A large one, without a store of KV, and without the origin. */
const CUT_OFF = 10;
const SLOW_CALL_MS = 900;
const DOWN_MS = 5_000;
const FLOOD_S = 30;
const FLOOD_PER_SECOND = 2_000;
const FLOOD_NETWORKS = 50;
const FLOOD_LOCATIONS = 5;
const REVOCATIONS = 1_000;
const REVOKING_S = 60;

/** The busiest that is simulated with the others, and the next one. */
const busiest = (tenants: readonly Tenant[], nth: number): string =>
  [...tenants].sort((a, b) => b.perSecond - a.perSecond)[nth]?.tag ?? tenants[0]?.tag ?? "";

const ACTS: readonly Act[] = [
  {
    name: "a location cut off for a minute",
    seconds: 75,
    begin: (world) => {
      world.network.cutOff = Math.min(CUT_OFF, world.setting.geography.locations.length - 1);
      world.time.after(60_000, () => {
        world.network.cutOff = null;
      });
    },
  },
  {
    name: "one authority slow, one restarted",
    seconds: 45,
    begin: ({ authorities }, tenants) => {
      authorities.slowDown(busiest(tenants, 0), SLOW_CALL_MS);
      authorities.restart(busiest(tenants, 1), DOWN_MS);
    },
    end: ({ authorities }, tenants) => authorities.slowDown(busiest(tenants, 0), CALL_MS),
  },
  {
    name: "the origin down for 90 s",
    seconds: 90,
    begin: ({ origin }) => {
      origin.isDown = true;
    },
    end: ({ origin }) => {
      origin.isDown = false;
    },
  },
  { name: "a flood of unknown keys", seconds: FLOOD_S, begin: flood },
  {
    name: "a rollout: half of the isolates of the version before leases, then all new",
    seconds: 60,
    begin: (world) => {
      world.isolates.roll(0.5);
      world.time.after(30_000, () => world.isolates.roll(0));
    },
  },
  { name: "1,000 revocations", seconds: REVOKING_S + 100, begin: revokeMany },
];

const TROUBLES_S = ACTS.reduce((sum, { seconds }) => sum + seconds, 0);

async function troublesOf(world: World, tenants: readonly Tenant[], plan: Plan): Promise<Trouble[]> {
  const troubles: Trouble[] = [];
  for (const { name, seconds, begin, end } of ACTS) {
    begin(world, tenants, plan);
    // The designs are compared in how late a revocation comes.
    world.comparesDesigns = begin === revokeMany;
    await pass(world, seconds);
    end?.(world, tenants);
    troubles.push({ name, tallies: world.turn().leases, strangers: world.strangers });
    world.strangers = new Tally();
  }
  return troubles;
}

function flood(world: World, _: readonly Tenant[], { size }: Plan): void {
  const random = new Random(`${world.setting.seed} flood`);
  const count = Math.round((FLOOD_S * FLOOD_PER_SECOND * size.requestsPerSecond) / 1_000_000);
  for (let i = 0; i < count; i++) {
    const location = random.below(Math.min(FLOOD_LOCATIONS, size.locations));
    const network = random.below(FLOOD_NETWORKS);
    const address = `198.51.${100 + Math.floor(network / 256)}.${network % 256}`;
    world.time.after(random.next() * 1_000 * FLOOD_S, () => world.strange(location, address, i));
  }
}

function revokeMany(world: World, tenants: readonly Tenant[]): void {
  const random = new Random(`${world.setting.seed} revocations`);
  const keys = tenants.flatMap((tenant) => [...tenant.keys]);
  for (let i = keys.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    const [a, b] = [keys[i], keys[j]];
    if (a !== undefined && b !== undefined) [keys[i], keys[j]] = [b, a];
  }
  for (const key of keys.slice(0, REVOCATIONS))
    world.time.after(random.next() * 1_000 * REVOKING_S, () => world.revoke(key));
}
