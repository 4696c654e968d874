/** The rules of a lease, each part alone and by example; `leases.test.ts` plays them together. */
import { describe, expect, it } from "vitest";
import { AskRate } from "../../src/authority/ask-rate.ts";
import { SteadyClock } from "../../src/clock.ts";
import { TenantLease } from "../../src/lease/tenant-lease.ts";
import { TokenBucket } from "../../src/lease/token-bucket.ts";
import type { Quota } from "../../src/quota/policy.ts";

const SECOND = 1_000;
const BEGAN_MS = 1_790_000_000_000;
const at = (seconds: number) => BEGAN_MS + seconds * SECOND;

/** As after a grant of eight. */
const QUOTA: Quota = {
  policy: { name: "api", limit: 600, windowSeconds: 60 },
  remaining: 592,
  resetSeconds: 60,
};

describe("tokens in hand", () => {
  const bucketOf = (granted: number, used = 0) => {
    const bucket = new TokenBucket("n", granted, QUOTA, BEGAN_MS, at(30));
    for (let i = 0; i < used; i++) bucket.take(BEGAN_MS);
    return bucket;
  };

  it("tell each request what is left of its limit, and a reset that comes nearer, down to a second", () => {
    const bucket = bucketOf(8);
    const { policy } = QUOTA;
    expect(bucket.take(BEGAN_MS)).toEqual({ policy, remaining: 599, resetSeconds: 60 });
    expect(bucket.take(BEGAN_MS + 10_001)).toEqual({ policy, remaining: 598, resetSeconds: 50 });
    expect(bucket.take(at(60))).toEqual({ policy, remaining: 597, resetSeconds: 1 });
  });

  it("are over at the instant they were granted until, and not before", () => {
    const bucket = bucketOf(8, 3);
    expect([bucket.isOver(at(30) - 1), bucket.left(at(30) - 1)]).toEqual([false, 5]);
    expect([bucket.isOver(at(30)), bucket.left(at(30))]).toEqual([true, 0]);
  });

  it("run out when a quarter is left of what is used up faster than it lasts", () => {
    expect(bucketOf(8, 5).isRunningOut(at(15))).toBe(false);
    expect(bucketOf(8, 6).isRunningOut(at(15))).toBe(true);
    // Two are left, and as many are expected in the seven seconds to come; then only one.
    expect(bucketOf(8, 6).isRunningOut(at(23))).toBe(true);
    expect(bucketOf(8, 6).isRunningOut(at(27))).toBe(false);
  });

  it("that are used up are for the next request to ask for: nobody may come any more", () => {
    expect(bucketOf(8, 8).isRunningOut(at(1))).toBe(false);
  });
});

describe("a tenant's lease", () => {
  it("is not shortened by an answer that comes late, or was given for less", () => {
    const lease = new TenantLease();
    lease.extend("a", BEGAN_MS, 30 * SECOND);
    lease.extend("a", at(1), 5 * SECOND);
    expect(lease.covers("a", at(30) - 1)).toBe(true);
    expect(lease.covers("a", at(30))).toBe(false);
  });

  it("of another epoch takes the place of the one before, however long that would last", () => {
    const lease = new TenantLease();
    lease.extend("a", BEGAN_MS, 30 * SECOND);
    lease.extend("b", at(1), 5 * SECOND);
    expect([lease.covers("a", at(2)), lease.covers("b", at(2))]).toEqual([false, true]);
    expect(lease.covers("b", at(6))).toBe(false);
  });

  it("that is over goes on for nothing that was learnt at another epoch", () => {
    const lease = new TenantLease();
    lease.extend("a", BEGAN_MS, 5 * SECOND);
    expect(lease.overdueMs("a", at(7))).toBe(2 * SECOND);
    expect(lease.overdueMs("b", at(7))).toBe(Number.POSITIVE_INFINITY);
  });

  it("is due for renewal from 0.6 of its time on", () => {
    const lease = new TenantLease();
    lease.extend("a", BEGAN_MS, 5 * SECOND);
    expect([lease.isRenewalDue(at(3) - 1), lease.isRenewalDue(at(3))]).toEqual([false, true]);
  });

  it("is being renewed, and its authority silent, until the instant said, or an answer", () => {
    const lease = new TenantLease();
    lease.beRenewed(at(1));
    lease.beSilent(at(2));
    expect([lease.isBeingRenewed(at(1) - 1), lease.isBeingRenewed(at(1))]).toEqual([true, false]);
    expect([lease.isSilent(at(2) - 1), lease.isSilent(at(2))]).toEqual([true, false]);
    lease.beRenewed(at(9));
    lease.beSilent(at(9));
    lease.extend("a", BEGAN_MS, 5 * SECOND);
    expect([lease.isBeingRenewed(at(3)), lease.isSilent(at(3))]).toEqual([false, false]);
  });
});

describe("how often an authority is asked", () => {
  const askedAt = (rate: AskRate, nowMs: number, times: number) => {
    for (let i = 0; i < times; i++) rate.note(nowMs);
  };

  it("in one second makes leases longer in that one and in the next, and in none after that", () => {
    const rate = new AskRate();
    askedAt(rate, BEGAN_MS, 100);
    expect(rate.stretch(5_000, 30_000, at(1) - 1)).toBe(10_000);
    askedAt(rate, at(1), 25);
    expect(rate.stretch(5_000, 30_000, at(2) - 1)).toBe(10_000);
    expect(rate.stretch(5_000, 30_000, at(2))).toBe(5_000);
  });

  it("is nothing any more after two seconds in which it was not", () => {
    const rate = new AskRate();
    askedAt(rate, BEGAN_MS, 100);
    expect(rate.stretch(5_000, 30_000, at(2))).toBe(5_000);
  });
});

describe("an isolate's clock", () => {
  it("goes on as fast as the wall clock, never back, and counts how often that was set back", () => {
    let wallMs = BEGAN_MS;
    const clock = new SteadyClock(() => wallMs);
    const startMs = clock.nowMs();
    for (const [stepMs, sinceStartMs, timesSetBack] of [
      [7, 7, 0],
      [0, 7, 0],
      [-5_000, 7, 1],
      [3, 10, 1],
      [-1, 10, 2],
    ] as const) {
      wallMs += stepMs;
      expect([clock.nowMs() - startMs, clock.timesSetBack]).toEqual([sinceStartMs, timesSetBack]);
    }
  });

  it("is the runtime's, unless another is given", () => {
    const beforeMs = Date.now();
    expect(new SteadyClock().nowMs()).toBeGreaterThanOrEqual(beforeMs);
  });
});
