/** What was found, for people and for scripts. */
import type {
  DesignFindings,
  Findings,
  HotFindings,
  Quantiles,
  RevocationFindings,
  TroubleFindings,
} from "./findings.ts";
import { ITEMS, PRICES } from "./prices.ts";
import type { Report } from "./run.ts";
import { DEMANDS, DESIGNS } from "./tally.ts";

/** Six digits are more than is known. */
const rounded = (_: string, value: unknown) =>
  typeof value === "number" && !Number.isInteger(value) ? Number(value.toPrecision(6)) : value;

export function asJson({ findings, half, agreements }: Report): string {
  const withoutDelays = (all: Findings["revocations"]) =>
    Object.fromEntries(Object.entries(all).map(([design, { delaysMs: _, ...found }]) => [design, found]));
  const short = (found: Findings) => ({
    ...found,
    revocations: withoutDelays(found.revocations),
    hotRevocations: withoutDelays(found.hotRevocations),
  });
  return JSON.stringify(
    { prices: PRICES, findings: short(findings), half: short(half), agreements },
    rounded,
  );
}

export function asMarkdown(report: Report): string {
  const { findings } = report;
  return [
    ...head(findings),
    ...designs(findings),
    ...limits(findings),
    ...revocations(findings),
    ...costs(findings),
    ...byTraffic(findings),
    ...hottest(findings),
    ...troubles(findings),
    ...agreement(report),
  ].join("\n");
}

function head({
  scale,
  seed,
  minutes,
  isolates,
  simulated,
  over,
  hostReads,
  seen,
  probes,
}: Findings): string[] {
  const { tenants, keys, requests } = simulated;
  return [
    `Scale ${scale}, seed ${seed}, ${minutes} quiet minutes: ${count(tenants)} tenants with ${count(keys)} keys in the sample, ${count(requests)} requests, ${count(isolates)} isolates.`,
    "",
    `Requests admitted beyond a limit, but for the troubles: ${over}. Of the KV reads ${fixed(hostReads, 2)} per 1,000 requests are of the host's name. A busy token is asked about at the origin ${fixed(probes.mean)} times a minute, at most ${fixed(probes.most)} (${probes.tokens} tokens). An isolate would see ${count(Math.round(seen.mean))} credentials on the average, at most ${count(Math.round(seen.most))}.`,
    "",
  ];
}

function designs({ designs: all }: Findings): string[] {
  const latency = ({ share, p50, p99, p999 }: Quantiles) =>
    share === 0 ? "–" : `${percent(share)}: ${ms(p50)}, ${ms(p99)}, ${ms(p999)}`;
  const row = (name: string, { perThousand, latency: by }: DesignFindings) =>
    `| ${name} | ${fixed(perThousand.authorityCalls)} | ${fixed(perThousand.kvReads)} | ${fixed(perThousand.kvWrites, 2)} | ${fixed(perThousand.rowsWritten)} | ${latency(by.all)} | ${latency(by.cold)} | ${latency(by.warm)} | ${latency(by.stale)} |`;
  return [
    "Per 1,000 requests, and added latency as share of the requests: p50, p99, p99.9 in ms:",
    "",
    "| design | authority calls | KV reads | KV writes | rows written | all | cold | warm | stale |",
    "|---|---|---|---|---|---|---|---|---|",
    ...DESIGNS.map((name) => row(name, all[name])),
    "",
  ];
}

function limits({ designs: all }: Findings): string[] {
  const refused = ({ refused: reasons }: DesignFindings) =>
    Object.entries(reasons)
      .filter(([reason]) => reason !== "rate_limited")
      .map(([reason, share]) => `${reason} ${percent(share)}`)
      .join(", ") || "–";
  return [
    "Limits: what was admitted beyond them, and how much less was admitted than could have been:",
    "",
    "| design | beyond, per 1,000 | under, far from the limit | under, at 4/5 of it | under, a fifth beyond it | refused for other reasons |",
    "|---|---|---|---|---|---|",
    ...DESIGNS.map((name) => {
      const found = all[name];
      const under = DEMANDS.map((demand) => percent(found.under[demand])).join(" | ");
      return `| ${name} | ${fixed(found.overPerThousand, 2)} | ${under} | ${refused(found)} |`;
    }),
    "",
  ];
}

function revocations({ revocations: all, hotRevocations: hot }: Findings): string[] {
  const row = (name: string, { count: of, p50Ms, p99Ms, mostMs, longestBoundMs, late }: RevocationFindings) =>
    `| ${name} | ${of} | ${seconds(p50Ms)} | ${seconds(p99Ms)} | ${seconds(mostMs)} | ${longestBoundMs === 0 ? "none" : seconds(longestBoundMs)} | ${longestBoundMs === 0 ? "–" : late} |`;
  return [
    "Revocations: from the operator's answer to the last admission:",
    "",
    "| design | revoked | p50 s | p99 s | longest s | longest announced s | later than announced |",
    "|---|---|---|---|---|---|---|",
    row("leases", all.leases),
    row("leases, hot tenants", hot.leases),
    row("KV only", all["KV only"]),
    row("KV only, hot tenants", hot["KV only"]),
    "",
  ];
}

function costs({ designs: all }: Findings): string[] {
  return [
    `Dollars of a million requests, prices of ${PRICES.version}:`,
    "",
    `| design | ${ITEMS.join(" | ")} | together |`,
    `|---|${ITEMS.map(() => "---|").join("")}---|`,
    ...DESIGNS.map((name) => {
      const { cost, costSum } = all[name];
      return `| ${name} | ${ITEMS.map((item) => fixed(cost[item], 3)).join(" | ")} | ${fixed(costSum, 2)} |`;
    }),
    "",
  ];
}

function byTraffic({ strata }: Findings): string[] {
  return [
    "By the traffic of a tenant, per 1,000 requests:",
    "",
    "| tenants from rank | requests/s of one | simulated requests | authority calls | KV reads | rows written | cold |",
    "|---|---|---|---|---|---|---|",
    ...strata.map(
      ({ from, perSecond, requests, authorityCalls, kvReads, rowsWritten, cold }) =>
        `| ${count(from)} | ${significant(perSecond)} | ${count(requests)} | ${fixed(authorityCalls)} | ${fixed(kvReads)} | ${fixed(rowsWritten)} | ${percent(cold)} |`,
    ),
    "",
  ];
}

const STANDS = { far: "far from it", near: "at 4/5 of it", beyond: "a fifth beyond it" } as const;

function hottest({ hot, pressed }: Findings): string[] {
  const head = [
    "| requests/s | demand on its limits | credentials | objects | calls/s of the busiest | of all | longest queue ms | p99 ms | 503 | under | 503 in the first half minute when all isolates are new |",
    "|---|---|---|---|---|---|---|---|---|---|---|",
  ];
  const row = (tenant: HotFindings) => {
    const { perSecond, demand, isToken, keys, callsPerSecond, longestQueueMs, p99Ms } = tenant;
    const { unavailable, under, refusedWhenRolled: rolled, objects, allCallsPerSecond } = tenant;
    const credentials = `${keys} ${isToken ? "tokens" : "API keys"}`;
    return `| ${count(Math.round(perSecond))} | ${STANDS[demand]} | ${credentials} | ${objects} | ${fixed(callsPerSecond)} | ${fixed(allCallsPerSecond)} | ${ms(longestQueueMs)} | ${ms(p99Ms)} | ${percent(unavailable)} | ${percent(under)} | ${rolled === null ? "–" : percent(rolled)} |`;
  };
  return [
    "The authority of a hot tenant, and its branches:",
    "",
    ...head,
    ...hot.map(row),
    "",
    "Two of them at each demand:",
    "",
    ...head,
    ...pressed.map(row),
    "",
  ];
}

function troubles({ troubles: all }: Findings): string[] {
  const list = (counts: Readonly<Record<string, number>>) =>
    Object.entries(counts)
      .map(([reason, of]) => `${reason} ${count(of)}`)
      .join(", ") || "–";
  const row = (found: TroubleFindings) => {
    const { name, requests, stale, over, overDegraded, p99Ms, refused, strangers } = found;
    const flood = strangers.requests > 0 ? `; strangers: ${list(strangers)}` : "";
    return `| ${name} | ${count(requests)} | ${count(stale)} | ${over} | ${overDegraded} | ${ms(p99Ms)} | ${list(refused)}${flood} |`;
  };
  if (all.length === 0) return [];
  return [
    "In trouble (of the sample, not weighed):",
    "",
    "| trouble | requests | served stale or degraded | beyond a limit | the same, cut off | p99 ms | refused |",
    "|---|---|---|---|---|---|---|",
    ...all.map(row),
    "",
  ];
}

function agreement({ findings, half, agreements }: Report): string[] {
  return [
    "Two scales:",
    "",
    `| | ${findings.scale} | ${half.scale} | tolerance | agree |`,
    "|---|---|---|---|---|",
    ...agreements.map(({ name, one, other, tolerance, absolute, agrees }) => {
      const allowed = absolute > 0 ? `±${absolute}` : `±${percent(tolerance)}`;
      return `| ${name} | ${significant(one)} | ${significant(other)} | ${allowed} | ${agrees ? "yes" : "no"} |`;
    }),
  ];
}

const count = (value: number): string => value.toLocaleString("en-US");
const fixed = (value: number, digits = 1): string => value.toFixed(digits);
const significant = (value: number): string => String(Number(value.toPrecision(3)));
const percent = (share: number): string => `${(100 * share).toFixed(share > 0 && share < 0.01 ? 2 : 1)} %`;
const seconds = (value: number): string => (value / 1_000).toFixed(1);
const ms = (value: number | null): string => (value === null ? "–" : value === 0 ? "0" : significant(value));
