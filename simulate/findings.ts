/** What was measured, put together: each stratum counts for the traffic of all its tenants. */
import type { Hot, Plan, Quiet, Revocations, Whole } from "./experiment.ts";
import { geographyOf, unavailableOf } from "./experiment.ts";
import { RevocationOracle } from "./oracles.ts";
import { type Stratum, strataOf } from "./population.ts";
import { CPU_MS, costOf, type Item, sumOf, type Used } from "./prices.ts";
import { DEMANDS, type Demand, type Design, Histogram, Tally, USED, WAYS, type Way } from "./tally.ts";

/** Milliseconds; null where there was nothing. */
export interface Quantiles {
  /** Of all requests. */
  readonly share: number;
  readonly p50: number | null;
  readonly p99: number | null;
  readonly p999: number | null;
}

export interface DesignFindings {
  readonly perThousand: Used;
  readonly latency: Readonly<Record<Way | "all", Quantiles>>;
  /** Requests admitted beyond a limit, per 1,000. */
  readonly overPerThousand: number;
  /** Share of what somebody who sees everything would have admitted. */
  readonly under: Readonly<Record<Demand, number>>;
  /** Shares of all requests, by reason. */
  readonly refused: Readonly<Record<string, number>>;
  /** In dollars, of a million requests. */
  readonly cost: Readonly<Record<Item, number>>;
  readonly costSum: number;
}

export interface RevocationFindings {
  readonly count: number;
  readonly late: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly mostMs: number;
  readonly longestBoundMs: number;
  readonly delaysMs: readonly number[];
}

export interface TroubleFindings {
  readonly name: string;
  readonly requests: number;
  readonly admitted: number;
  readonly stale: number;
  readonly over: number;
  readonly overDegraded: number;
  readonly p99Ms: number | null;
  readonly refused: Readonly<Record<string, number>>;
  readonly strangers: Readonly<Record<string, number>> & { readonly requests: number };
}

export interface HotFindings extends Omit<Hot, "tallies" | "revocations"> {
  /** Shares of its requests that nobody could decide, and of what could have been admitted that was not. */
  readonly unavailable: number;
  readonly under: number;
  readonly p99Ms: number | null;
}

export interface Findings {
  readonly scale: number;
  readonly seed: string;
  readonly minutes: number;
  readonly isolates: number;
  readonly simulated: { readonly tenants: number; readonly keys: number; readonly requests: number };
  readonly designs: Readonly<Record<Design, DesignFindings>>;
  readonly strata: readonly {
    readonly from: number;
    readonly perSecond: number;
    readonly requests: number;
    readonly authorityCalls: number;
    readonly kvReads: number;
    readonly rowsWritten: number;
    readonly cold: number;
  }[];
  /** As the strata are: each from the mean of its tenants. */
  readonly hot: readonly HotFindings[];
  /** Two of them again, at each demand. */
  readonly pressed: readonly HotFindings[];
  /** Of KV, for the host's name, per 1,000 requests: part of what leases read. */
  readonly hostReads: number;
  /** Beyond a limit, of everything that was simulated but the troubles. */
  readonly over: number;
  readonly probes: Quiet["probes"];
  readonly seen: Quiet["seen"];
  readonly troubles: readonly TroubleFindings[];
  readonly revocations: Readonly<Record<"leases" | "KV only", RevocationFindings>>;
  /** Of hot tenants' keys. */
  readonly hotRevocations: Readonly<Record<"leases" | "KV only", RevocationFindings>>;
}

/** What was played. */
export interface Played {
  readonly whole: Whole;
  readonly hot: readonly Hot[];
  readonly pressed: readonly Hot[];
  readonly requests: number;
}

export function findingsOf(plan: Plan, { whole, hot, pressed, requests }: Played): Findings {
  const { strata } = whole;
  const tallyOf = (design: Design, stratum: number): Tally => {
    const single = hot.find((each) => each.stratum === stratum);
    return (single ?? whole).tallies[design][stratum] ?? new Tally();
  };
  const weights = strata.map(({ perSecond }) => perSecond);
  const hostReads = (1_000 * whole.hostReads) / (whole.seconds * plan.size.requestsPerSecond);
  const design = (name: Design) =>
    combine(
      name,
      weights,
      strata.map((_, i) => tallyOf(name, i)),
      name === "leases" ? hostReads : 0,
    );
  const again = pressed.filter((each) => !hot.includes(each));
  const hotOver = [...hot, ...again].reduce((sum, { over }) => sum + over, 0);
  const sampledOver = whole.tallies.leases.reduce((sum, { over }) => sum + over, 0);
  const sampled = strata.reduce((sum, { sample }) => sum + sample, 0);
  return {
    scale: plan.scale,
    seed: plan.seed,
    minutes: plan.minutes,
    isolates: geographyOf(plan).isolates,
    simulated: { tenants: sampled, keys: whole.keys, requests },
    designs: {
      leases: design("leases"),
      "every request": design("every request"),
      "KV only": design("KV only"),
    },
    strata: strata.map((stratum, i) => stratumOf(stratum, tallyOf("leases", i))),
    hot: hot.map(hotOf),
    pressed: pressed.map(hotOf),
    hostReads,
    over: whole.overBefore + sampledOver + hotOver,
    probes: whole.probes,
    seen: whole.seen,
    troubles: whole.troubles.map(troubleOf),
    revocations: revocationsOf([whole.revocations]),
    hotRevocations: revocationsOf([...hot, ...again].map(({ revocations }) => revocations)),
  };
}

function stratumOf({ from, to, perSecond }: Stratum, tally: Tally): Findings["strata"][number] {
  const { requests, usage, latency } = tally;
  const per = (count: number) => (1_000 * count) / Math.max(1, requests);
  return {
    from,
    perSecond: perSecond / (to - from + 1),
    requests,
    authorityCalls: per(usage.authorityCalls),
    kvReads: per(usage.kvReads),
    rowsWritten: per(usage.rowsWritten),
    cold: latency.cold.total / Math.max(1, requests),
  };
}

function hotOf({ tallies, revocations: _, ...rest }: Hot): HotFindings {
  const tally = tallies.leases[rest.stratum] ?? new Tally();
  const { ideal, admitted } = tally.limited[rest.demand];
  const all = new Histogram();
  for (const way of WAYS) all.merge(tally.latency[way], 1);
  return {
    ...rest,
    unavailable: unavailableOf(tally) / Math.max(1, tally.requests),
    under: Math.max(0, 1 - admitted / Math.max(1, ideal)),
    p99Ms: all.quantile(0.99),
  };
}

/** `hostReads`: per 1,000 requests, whoever's they are. */
function combine(
  name: Design,
  weights: readonly number[],
  tallies: readonly Tally[],
  hostReads: number,
): DesignFindings {
  const whole = weights.reduce((sum, weight, i) => sum + ((tallies[i]?.requests ?? 0) > 0 ? weight : 0), 0);
  /** Weighed mean of what each stratum had a request. */
  const mean = (count: (tally: Tally) => number) =>
    tallies.reduce((sum, tally, i) => {
      return tally.requests === 0 ? sum : sum + ((weights[i] ?? 0) / whole) * (count(tally) / tally.requests);
    }, 0);
  const perThousand = Object.fromEntries(
    USED.map((used) => [
      used,
      1_000 * mean(({ usage }) => usage[used]) + (used === "kvReads" ? hostReads : 0),
    ]),
  ) as unknown as Used;
  const histogram = (ways: readonly Way[]) => {
    const sum = new Histogram();
    tallies.forEach((tally, i) => {
      if (tally.requests === 0) return;
      for (const way of ways) sum.merge(tally.latency[way], (weights[i] ?? 0) / whole / tally.requests);
    });
    return quantilesOf(sum);
  };
  const reasons = new Set(tallies.flatMap(({ refused }) => [...refused.keys()]));
  const under = (demand: Demand) => {
    const ideal = mean(({ limited }) => limited[demand].ideal);
    return ideal === 0 ? 0 : Math.max(0, 1 - mean(({ limited }) => limited[demand].admitted) / ideal);
  };
  const cost = costOf(perThousand, CPU_MS[name]);
  return {
    perThousand,
    latency: {
      cold: histogram(["cold"]),
      warm: histogram(["warm"]),
      stale: histogram(["stale"]),
      all: histogram(WAYS),
    },
    overPerThousand: 1_000 * mean(({ over }) => over),
    under: Object.fromEntries(DEMANDS.map((demand) => [demand, under(demand)])) as Record<Demand, number>,
    refused: Object.fromEntries(
      [...reasons].sort().map((reason) => [reason, mean(({ refused }) => refused.get(reason) ?? 0)]),
    ),
    cost,
    costSum: sumOf(cost),
  };
}

function quantilesOf(histogram: Histogram): Quantiles {
  const at = (share: number) => histogram.quantile(share);
  return { share: histogram.total, p50: at(0.5), p99: at(0.99), p999: at(0.999) };
}

function troubleOf({ name, tallies, strangers }: Whole["troubles"][number]): TroubleFindings {
  const sum = new Tally();
  for (const tally of tallies) sum.add(tally);
  const all = new Histogram();
  for (const way of WAYS) all.merge(sum.latency[way], 1);
  return {
    name,
    requests: sum.requests,
    admitted: sum.admitted,
    stale: sum.latency.stale.total,
    over: sum.over,
    overDegraded: sum.overDegraded,
    p99Ms: all.quantile(0.99),
    refused: Object.fromEntries([...sum.refused].sort()),
    strangers: {
      requests: strangers.requests,
      kvReads: strangers.usage.kvReads,
      authorityCalls: strangers.usage.authorityCalls,
      probes: strangers.probes,
      ...Object.fromEntries([...strangers.refused].sort()),
    },
  };
}

function revocationsOf(all: readonly Revocations[]): Findings["revocations"] {
  const of = (design: "leases" | "KV only") =>
    revocationsSeenBy(RevocationOracle.of(all.map((each) => each[design])));
  return { leases: of("leases"), "KV only": of("KV only") };
}

function revocationsSeenBy(oracle: RevocationOracle): RevocationFindings {
  const delaysMs = oracle.delaysMs();
  const at = (share: number) =>
    delaysMs[Math.min(delaysMs.length - 1, Math.floor(share * delaysMs.length))] ?? 0;
  return {
    count: oracle.count,
    late: oracle.late,
    p50Ms: at(0.5),
    p99Ms: at(0.99),
    mostMs: at(1),
    longestBoundMs: oracle.boundsMs().at(-1) ?? 0,
    delaysMs,
  };
}

/** What two scales are compared by, and how far they may be apart. */
export interface Agreement {
  readonly name: string;
  readonly one: number;
  readonly other: number;
  /** Share of the larger of the two; or, where that is more, `absolute`. */
  readonly tolerance: number;
  readonly absolute: number;
  readonly agrees: boolean;
}

export function agreementsOf(one: Findings, other: Findings): Agreement[] {
  const [a, b] = [one.designs.leases, other.designs.leases];
  const compare = (
    name: string,
    pick: (findings: DesignFindings) => number,
    tolerance: number,
    absolute = 0,
  ) => {
    const [x, y] = [pick(a), pick(b)];
    const agrees = Math.abs(x - y) <= Math.max(absolute, tolerance * Math.max(Math.abs(x), Math.abs(y)));
    return { name, one: x, other: y, tolerance, absolute, agrees };
  };
  return [
    compare("authority calls per 1,000", ({ perThousand }) => perThousand.authorityCalls, 0.1),
    compare("KV reads per 1,000", ({ perThousand }) => perThousand.kvReads, 0.1),
    compare("rows written per 1,000", ({ perThousand }) => perThousand.rowsWritten, 0.1),
    compare("cold requests, %", ({ latency }) => 100 * latency.cold.share, 0.1),
    compare("cold p99, ms", ({ latency }) => latency.cold.p99 ?? 0, 0.25),
    compare("under-admission, far from the limit, %", ({ under }) => 100 * under.far, 0, 1),
    compare("under-admission, near the limit, %", ({ under }) => 100 * under.near, 0, 5),
    compare("dollars a million", ({ costSum }) => costSum, 0.1),
  ];
}

export const strataToPlay = (plan: Plan): number[] =>
  strataOf(plan.size, plan.scale).flatMap(({ isHot }, i) => (isHot ? [i] : []));
