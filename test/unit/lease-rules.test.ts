/** The rules of a lease, each part alone and by example; `leases.test.ts` plays them together. */
import { describe, expect, it } from "vitest";
import { AskRate } from "../../src/authority/ask-rate.ts";
import { claimFor } from "../../src/authority/claim.ts";
import type { Grant } from "../../src/authority/protocol.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { SteadyClock } from "../../src/clock.ts";
import { CredentialLease, FIRST_WISH, type Question } from "../../src/lease/credential-lease.ts";
import { TenantLease } from "../../src/lease/tenant-lease.ts";
import { TokenBucket } from "../../src/lease/token-bucket.ts";
import type { PolicyName, Quota } from "../../src/quota/policy.ts";
import { grantOf, QUOTA } from "./grants.ts";

const SECOND = 1_000;
const BEGAN_MS = 1_790_000_000_000;
const at = (seconds: number) => BEGAN_MS + seconds * SECOND;

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

  it("is being renewed until the instant said, or an answer", () => {
    const lease = new TenantLease();
    lease.beRenewed(at(1));
    expect([lease.isBeingRenewed(at(1) - 1), lease.isBeingRenewed(at(1))]).toEqual([true, false]);
    lease.beRenewed(at(9));
    lease.extend("a", BEGAN_MS, 5 * SECOND);
    expect(lease.isBeingRenewed(at(3))).toBe(false);
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

  it("is a load of one from 250 times in a second on, half of what an object can answer", () => {
    const rate = new AskRate();
    expect(rate.load(BEGAN_MS)).toBe(0);
    for (const [times, load] of [
      [125, 0.5],
      [124, 0.996],
      [1, 1],
      [250, 1],
    ] as const) {
      askedAt(rate, BEGAN_MS, times);
      expect(rate.load(BEGAN_MS)).toBe(load);
    }
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

const ANYONE = { subscriptionsRequired: false, subscriptionGraceDays: 0 };
const SUBSCRIBERS = { subscriptionsRequired: true, subscriptionGraceDays: 0 };
const QUESTION: Question = { policy: "api", scope: "read", clientAddress: null, entrance: null };
const POSTS: Quota = {
  policy: { name: "posts", limit: 30, windowSeconds: 3_600 },
  remaining: 29,
  resetSeconds: 3_600,
};

const rateLimited = (forMs: number) =>
  grantOf(
    { verdict: "rate_limited", tokens: 0, quota: { ...QUOTA, remaining: 0, resetSeconds: forMs / SECOND } },
    { refusedForMs: forMs, tokensForMs: 0 },
  );
const disabled = grantOf(
  { verdict: "key_disabled", tokens: 0, quota: null },
  { refusedForMs: 5 * SECOND, terms: null },
);

/** A credential as one isolate knows it, with the lease of its tenant. */
class Known {
  readonly tenant = new TenantLease();
  readonly lease = new CredentialLease(claimFor(tenantIdOf("acme"), "d"));

  /** What was answered at once to an ask of that instant. */
  learn(grant: Grant, nonce: string, nowMs = BEGAN_MS, policy: PolicyName = "api"): boolean {
    if (grant.lease !== undefined) this.tenant.extend(grant.lease.epoch, nowMs, grant.lease.forMs);
    return this.lease.learn(grant, policy, nonce, nowMs, nowMs);
  }

  /** The tenant's lease goes on, on an answer about another of its credentials. */
  renewedByOthers(nowMs: number, forMs = 60 * SECOND): void {
    this.tenant.extend("a", nowMs, forMs);
  }

  answer(nowMs: number, rule = ANYONE): Grant | null {
    return this.lease.answer(QUESTION, this.tenant, rule, nowMs);
  }

  degraded(nowMs: number, more: Partial<Question> = {}, rule = ANYONE): Grant | null {
    return this.lease.degraded({ ...QUESTION, ...more }, this.tenant, rule, nowMs);
  }

  use(times: number, nowMs: number): void {
    for (let i = 0; i < times; i++) expect(this.answer(nowMs)?.verdict).toBe("granted");
  }

  isRenewalDue(nowMs: number): boolean {
    return this.lease.isRenewalDue(this.tenant, nowMs);
  }
}

const knownWith = (...learnt: Parameters<typeof grantOf>) => {
  const known = new Known();
  known.learn(grantOf(...learnt), "n");
  return known;
};

describe("a refusal that was leased", () => {
  it("stands as long as it was announced, also where others renew the tenant's lease, and counts down", () => {
    const known = new Known();
    known.learn(rateLimited(4 * SECOND), "n");
    known.renewedByOthers(at(1));
    expect(known.answer(BEGAN_MS + 1_999)?.quota).toEqual({ ...QUOTA, remaining: 0, resetSeconds: 3 });
    expect(known.answer(at(4) - 1)).toMatchObject({ verdict: "rate_limited", quota: { resetSeconds: 1 } });
    expect(known.answer(at(4))).toBeNull();
  });

  it("is over as soon as the authority grants again", () => {
    const known = new Known();
    known.learn(rateLimited(5 * SECOND), "n1");
    known.learn(grantOf({ tokens: 1 }), "n2", at(1));
    known.use(1, at(1));
    // The next one asks: what was refused before is not refused again unasked.
    expect(known.answer(at(1))).toBeNull();
  });

  it("of the credential itself leaves nothing of what was granted, also where nobody can ask", () => {
    const known = knownWith();
    known.learn(disabled, "n2", at(1));
    expect(known.answer(at(2))?.verdict).toBe("key_disabled");
    known.renewedByOthers(at(5));
    expect([known.answer(at(6)), known.degraded(at(6))]).toEqual([null, null]);
  });

  it("of one request leaves what was granted as it was", () => {
    const known = knownWith();
    const elsewhere = { verdict: "host_not_allowed", tokens: 0, quota: null } as const;
    known.learn(grantOf(elsewhere, { terms: null }), "n2", at(1));
    expect(known.answer(at(2))?.verdict).toBe("granted");
  });
});

describe("without its authority", () => {
  it("a credential goes on until what it rests on ends, and no longer", () => {
    const known = knownWith({}, { endsInMs: 20 * SECOND });
    expect(known.degraded(at(20) - 1)?.verdict).toBe("granted");
    expect(known.degraded(at(20))).toBeNull();
  });

  it("a limit's worth is let in in a window, whatever is answered in between", () => {
    const limit = 600;
    const known = knownWith();
    let count = 0;
    for (let second = 6; second < 66; second++) {
      known.renewedByOthers(at(second));
      for (let i = 0; i < 20; i++) if (known.degraded(at(second)) !== null) count++;
      known.learn(rateLimited(100), `r${second}`, at(second));
      known.learn(grantOf({ quota: POSTS }), `p${second}`, at(second), "posts");
      known.learn(grantOf({ tokens: 0 }), `g${second}`, at(second));
    }
    expect(count).toBe(limit);
    expect(known.degraded(at(66))?.verdict).toBe("granted");
  });

  it("a credential goes on for a minute after its last token, also where others renew the tenant's lease", () => {
    const known = knownWith();
    known.renewedByOthers(at(1), 600 * SECOND);
    known.use(7, at(1));
    expect(known.answer(at(31))).toBeNull();
    expect(known.degraded(at(90) - 1)?.verdict).toBe("granted");
    expect(known.degraded(at(90))).toBeNull();
    known.learn(grantOf({ tokens: 0 }), "n2", at(90));
    expect(known.degraded(at(91))?.verdict).toBe("granted");
  });

  it("one that was never granted is not let in", () => {
    const known = new Known();
    known.learn(disabled, "n");
    expect(known.degraded(at(1))).toBeNull();
  });

  it("what is beyond its terms, or not paid for, is refused as ever, and uses nothing up", () => {
    const terms = { scopes: [], allowedNetworks: ["192.0.2.0/24"], allowedHosts: [] };
    const known = knownWith({ subscription: { status: "none", currentPeriodEndMs: null } }, { terms });
    for (let i = 0; i < 700; i++) {
      expect(known.degraded(at(6), { clientAddress: "198.51.100.1" })?.verdict).toBe("network_not_allowed");
    }
    expect(known.degraded(at(6), { clientAddress: "192.0.2.1" })?.verdict).toBe("scope_insufficient");
    const unpaid = known.degraded(at(6), {}, SUBSCRIBERS);
    expect(unpaid).toMatchObject({ verdict: "subscription_inactive", tokens: 0, quota: null });
  });

  it("one of which only posts are known is not let in without a limit", () => {
    const known = new Known();
    known.learn(grantOf({ tokens: 1, quota: POSTS }, { tokensForMs: 0 }), "n", BEGAN_MS, "posts");
    expect(known.degraded(at(6))).toBeNull();
  });
});

describe("the next ask in the background", () => {
  it("is due when the tenant's lease is, but not while one is under way", () => {
    const known = knownWith();
    expect([known.isRenewalDue(at(3) - 1), known.isRenewalDue(at(3))]).toEqual([false, true]);
    known.tenant.beRenewed(at(4));
    expect([known.isRenewalDue(at(4) - 1), known.isRenewalDue(at(4))]).toEqual([false, true]);
  });

  it("is due when little is left, a quarter of a second after the last answer at the earliest", () => {
    const known = knownWith();
    known.renewedByOthers(BEGAN_MS);
    known.use(7, BEGAN_MS);
    expect([known.isRenewalDue(BEGAN_MS + 249), known.isRenewalDue(BEGAN_MS + 250)]).toEqual([false, true]);
  });

  it("is due when the introspection wants it, but not before 0.6 of a lease", () => {
    for (const [renewInMs, dueMs] of [
      [10 * SECOND, at(10)],
      [SECOND, at(3)],
    ] as const) {
      const known = knownWith({}, { renewInMs });
      known.renewedByOthers(BEGAN_MS);
      expect([known.isRenewalDue(dueMs - 1), known.isRenewalDue(dueMs)]).toEqual([false, true]);
    }
  });

  it("is not due for tokens where there never were any", () => {
    const known = new Known();
    known.learn(grantOf({ tokens: 1, quota: POSTS }, { tokensForMs: 0 }), "n", BEGAN_MS, "posts");
    known.renewedByOthers(BEGAN_MS);
    expect(known.isRenewalDue(at(1))).toBe(false);
  });

  it("wishes for half as much again as is used in that time, less what is in hand", () => {
    expect(new Known().lease.wish(5 * SECOND, BEGAN_MS)).toBe(FIRST_WISH);
    const known = knownWith();
    known.renewedByOthers(BEGAN_MS);
    known.use(6, at(1));
    // Six a second for five seconds, half as many again; two are left.
    expect(known.lease.wish(5 * SECOND, at(1))).toBe(45 - 2);
    known.learn(grantOf({ tokens: 40 }), "n2", at(1));
    expect(known.lease.wish(5 * SECOND, at(2))).toBe(0);
  });
});

describe("a limit that may have changed", () => {
  it("is asked about after an answer about posts: tokens of before are neither used nor a reason to go on", () => {
    const known = knownWith();
    known.learn(grantOf({ quota: POSTS }, { epoch: "b" }), "p", at(1), "posts");
    expect([known.answer(at(1)), known.degraded(at(7))]).toEqual([null, null]);
    known.learn(grantOf({ tokens: 0 }, { epoch: "b" }), "n2", at(2));
    expect(known.answer(at(2))?.verdict).toBe("granted");
  });
});

describe("accounts of tokens", () => {
  it("that were not heard are rendered again with the next ask, before those of since", () => {
    const known = knownWith({ tokens: 1 });
    known.use(1, at(1));
    const told = known.lease.takeDone(at(1));
    expect(told).toEqual([{ nonce: "n", used: 1 }]);
    known.learn(grantOf({ tokens: 2 }), "n2", at(1));
    known.use(2, at(2));
    known.lease.tellAgain(told);
    expect(known.lease.takeDone(at(2))).toEqual([...told, { nonce: "n2", used: 2 }]);
    expect(known.lease.takeDone(at(2))).toEqual([]);
  });

  it("are kept of the last eight grants", () => {
    const known = new Known();
    const nonces = Array.from({ length: 12 }, (_, i) => `n${i}`);
    for (const nonce of nonces) {
      known.learn(grantOf({ tokens: 1 }), nonce);
      known.use(1, BEGAN_MS);
      known.answer(BEGAN_MS);
    }
    const told = known.lease.takeDone(BEGAN_MS);
    expect(told.map(({ nonce }) => nonce)).toEqual(nonces.slice(-8));
    const newer = ["n12", "n13", "n14"];
    for (const nonce of newer) {
      known.learn(grantOf({ tokens: 1 }), nonce);
      known.use(1, BEGAN_MS);
      known.answer(BEGAN_MS);
    }
    known.lease.tellAgain(told);
    const again = known.lease.takeDone(BEGAN_MS);
    expect(again.map(({ nonce }) => nonce)).toEqual([...nonces.slice(-5), ...newer]);
  });

  it("of another limit are rendered at once: nothing is admitted on what was granted under it", () => {
    const known = knownWith();
    known.use(3, BEGAN_MS);
    const lowered = { policy: { ...QUOTA.policy, limit: 5 }, remaining: 0, resetSeconds: 60 };
    known.learn(grantOf({ tokens: 1, quota: lowered }), "n2", at(1));
    expect(known.lease.takeDone(at(1))).toEqual([{ nonce: "n", used: 3 }]);
    expect(known.answer(at(1))?.quota?.policy.limit).toBe(5);
    expect(known.answer(at(1))).toBeNull();
  });

  it("there are none of what passed only because its policy is in shadow", () => {
    const known = new Known();
    expect(known.learn(grantOf({ tokens: 1, wouldHaveBeen: "rate_limited" }), "n")).toBe(false);
    expect([known.answer(BEGAN_MS), known.lease.takeDone(at(60))]).toEqual([null, []]);
  });
});

it("a lease takes as much memory more as its terms are long", () => {
  const bytesWith = (allowedNetworks: string[], allowedHosts: string[]) =>
    knownWith({}, { terms: { scopes: null, allowedNetworks, allowedHosts } }).lease.bytes;
  expect(new Known().lease.bytes).toBe(bytesWith([], []));
  const each = bytesWith(["192.0.2.0/24"], []) - bytesWith([], []);
  // A host name has 253 characters at most, which is seldom.
  expect(each).toBeGreaterThanOrEqual(128);
  expect(bytesWith(["192.0.2.0/24"], ["a.example", "b.example"]) - bytesWith([], [])).toBe(3 * each);
});
