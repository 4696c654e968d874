/** Limits, counted again at the origin: never more than there may be, and never less without a reason. */

import type { Books } from "./books.ts";
import { fullestWindow, type Limit, type PolicyName, type Sent } from "./ledger.ts";

/** How full a limit was at most, and how full at least when it refused. */
export interface Fill {
  readonly limit: Limit;
  readonly admitted: number;
  readonly most: number;
  readonly refused: number;
  /** In the window before, at the origin; null where none was refused, or the gateway had ended before. */
  readonly leastWhenRefusing: number | null;
}

/**
 * How long what was let in may count beyond its window: in the hand of an isolate (30 s), on its way to the origin (its time
 * limit here), and the margin for clocks (2 s). And how long a refusal is remembered (5 s), with a second for this machine.
 */
const COUNTS_LONGER_MS = 30_000 + 5_000 + 2_000 + 5_000 + 1_000;
/** Decision 13: of what is left, a dead isolate may have held that part. */
const HELD_PART = 8;

/** Of these nothing was counted; of what the tenant's object answered too late, it was. */
const UNCOUNTED =
  /^(rate_limited|flood|key_\w+|credential_\w+|scope_insufficient|network_not_allowed|introspection_unavailable)$/;

interface Partition {
  readonly limit: Limit;
  /** By when they were sent. Each may have been counted. */
  readonly counted: Sent[];
  readonly refused: Sent[];
  /** Arrivals at the origin, ascending. */
  readonly timesMs: number[];
  readonly requestIds: string[];
}

export function checkWindows(books: Books): Fill[] {
  return partitions(books).map((partition) => {
    const { limit, timesMs, requestIds } = partition;
    const fullest = fullestWindow(timesMs, limit.windowMs);
    if (fullest.count > limit.limit) {
      const ids = requestIds.slice(fullest.from, fullest.from + fullest.count);
      books.find(`${nameOf(limit)}: ${fullest.count} of ${limit.limit} in one window`, ...ids);
    }
    books.count("windows", timesMs.length);
    const least = partition.refused.map((refused) => checkRefused(books, partition, refused));
    const sure = least.filter((count) => count !== null);
    return {
      limit,
      admitted: timesMs.length,
      most: fullest.count,
      refused: partition.refused.length,
      leastWhenRefusing: sure.length === 0 ? null : Math.min(...sure),
    };
  });
}

/** How many the origin had seen in the window before it; null where dead isolates may have held some. */
function checkRefused(books: Books, partition: Partition, refused: Sent): number | null {
  const { limit, timesMs } = partition;
  const { most, held } = atMost(books, partition, refused.sentAtMs, refused.doneAtMs);
  books.count(`refused as it has to be: rate_limited (${limit.policy})`);
  if (most + held < limit.limit)
    books.find(
      `${nameOf(limit)}: refused with ${most} of ${limit.limit} used, and ${held} held`,
      books.nameOf(refused),
    );
  const inWindow = timesMs.filter(
    (time) => time > refused.sentAtMs - limit.windowMs && time <= refused.doneAtMs,
  );
  return held > 0 ? null : inWindow.length;
}

/** What may count, at most, at any instant between the two. */
function atMost(books: Books, { limit, counted }: Partition, fromMs: number, untilMs: number) {
  const sinceMs = fromMs - limit.windowMs - COUNTS_LONGER_MS;
  const most = counted.filter((sent) => sent.sentAtMs <= untilMs && lastOf(books, sent) >= sinceMs).length;
  const downs = books.ledger.gatewayDowns.filter((down) => down.fromMs >= sinceMs && down.fromMs <= untilMs);
  const share = limit.policy === "api" ? Math.floor(limit.limit / HELD_PART) : 0;
  return { most, held: downs.length * share };
}

/** Last instant at which it can have been let in. */
function lastOf(books: Books, sent: Sent): number {
  return books.seenOf(sent)?.atMs ?? sent.doneAtMs;
}

/** What the gateway says it has counted. */
export function checkCounters(books: Books): void {
  const all = new Map(partitions(books).map((partition) => [nameOf(partition.limit), partition]));
  for (const { limit, atMs, remaining, outstanding } of books.ledger.usages) {
    const partition = all.get(nameOf(limit));
    const counted = limit.limit - remaining;
    const least =
      partition?.timesMs.filter((time) => time > atMs - limit.windowMs && time <= atMs).length ?? 0;
    const { most, held } = partition ? atMost(books, partition, atMs, atMs) : { most: 0, held: 0 };
    books.count("counters");
    if (counted < least || counted > most + held + outstanding)
      books.find(
        `${nameOf(limit)}: the gateway has counted ${counted}, ${outstanding} of them outstanding; the origin saw ${least}, and ${most + held} may count`,
      );
  }
}

const nameOf = ({ policy, tenant, keyId }: Limit): string =>
  keyId === "" ? `${policy} of ${tenant}` : `${policy} of ${tenant}/${keyId}`;

function partitions(books: Books): Partition[] {
  const { limits, defaults, sent } = books.ledger;
  const all = new Map<string, Partition>();
  for (const limit of limits) all.set(nameOf(limit), emptyOf(limit));
  for (const each of sent) {
    if (each.secret === null || each.refusedFor !== null) continue;
    const { policy } = each;
    const name = nameOf(limitOf(each.secret, policy, 0));
    const partition = all.get(name) ?? emptyOf(limitOf(each.secret, policy, defaults[policy]));
    all.set(name, partition);
    if (each.reason === "rate_limited") partition.refused.push(each);
    else if (!UNCOUNTED.test(each.reason) && each.end !== "unreached") partition.counted.push(each);
  }
  for (const partition of all.values()) {
    const seen = partition.counted.flatMap((each) => books.seenOf(each) ?? []);
    seen.sort((a, b) => a.atMs - b.atMs);
    for (const { atMs, requestId } of seen) {
      partition.timesMs.push(atMs);
      partition.requestIds.push(requestId);
    }
  }
  return [...all.values()];
}

const emptyOf = (limit: Limit): Partition => {
  return { limit, counted: [], refused: [], timesMs: [], requestIds: [] };
};

function limitOf(
  { tenant, keyId }: { readonly tenant: string; readonly keyId: string },
  policy: PolicyName,
  limit: number,
): Limit {
  const windowMs = policy === "api" ? 60_000 : 3_600_000;
  return { policy, tenant, keyId: policy === "api" ? keyId : "", limit, windowMs };
}
