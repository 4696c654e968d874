/** What the platform charges beyond what a plan includes: facts, with their source and date, and the arithmetic on them. */

export const PRICES = {
  version: "2026-11",
  currency: "USD",
  /** Workers Paid, per unit beyond what is included. */
  perMillion: {
    requests: 0.3,
    cpuMs: 0.02,
    kvReads: 0.5,
    kvWrites: 5,
    authorityCalls: 0.15,
    gigabyteSeconds: 12.5,
    rowsRead: 0.001,
    rowsWritten: 1,
    points: 0.25,
  },
  /** Of memory an object is charged for, in GB. */
  objectGigabytes: 0.128,
  sources: [
    "https://developers.cloudflare.com/workers/platform/pricing/",
    "https://developers.cloudflare.com/kv/platform/pricing/",
    "https://developers.cloudflare.com/durable-objects/platform/pricing/",
    "https://developers.cloudflare.com/analytics/analytics-engine/pricing/",
  ],
} as const;

/** Of the Worker, a request (ms): measured with `npm run bench`; for the other two estimated from the cost of their calls. */
export const CPU_MS = { leases: 0.45, "every request": 1.4, "KV only": 0.6 } as const;

/** Per 1,000 requests. */
export interface Used {
  readonly authorityCalls: number;
  readonly kvReads: number;
  readonly kvWrites: number;
  readonly rowsRead: number;
  readonly rowsWritten: number;
  readonly activeMs: number;
}

export const ITEMS = [
  "requests",
  "CPU",
  "KV",
  "Durable Object requests",
  "Durable Object duration",
  "rows",
  "Analytics points",
] as const;
export type Item = (typeof ITEMS)[number];

/** In dollars, of a million requests. */
export function costOf(used: Used, cpuMs: number): Readonly<Record<Item, number>> {
  const { perMillion, objectGigabytes } = PRICES;
  const each = (perThousand: number, price: number) => (perThousand / 1_000) * price;
  return {
    requests: perMillion.requests,
    CPU: cpuMs * perMillion.cpuMs,
    KV: each(used.kvReads, perMillion.kvReads) + each(used.kvWrites, perMillion.kvWrites),
    "Durable Object requests": each(used.authorityCalls, perMillion.authorityCalls),
    "Durable Object duration": each((used.activeMs / 1_000) * objectGigabytes, perMillion.gigabyteSeconds),
    rows: each(used.rowsRead, perMillion.rowsRead) + each(used.rowsWritten, perMillion.rowsWritten),
    "Analytics points": perMillion.points,
  };
}

export const sumOf = (cost: Readonly<Record<Item, number>>): number =>
  Object.values(cost).reduce((sum, dollars) => sum + dollars, 0);
