import { describe, expect, it, vi } from "vitest";
import { claimFor } from "../../src/authority/claim.ts";
import type { Grant } from "../../src/authority/protocol.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { decideRate } from "../../src/quota/decide-rate.ts";
import { FloodShield, networkOf } from "../../src/quota/flood-shield.ts";
import { quotaAfter, settlementOf } from "../../src/quota/origin-limit.ts";
import { policyFor, type Quota } from "../../src/quota/policy.ts";
import { setRateHeaders } from "../../src/quota/rate-headers.ts";
import { useCacheClock } from "./cache-clock.ts";
import { denialOf, passed, reasonOf } from "./result.ts";

const POSTS: Quota = {
  policy: { name: "posts", limit: 30, windowSeconds: 3_600 },
  remaining: 29,
  resetSeconds: 3_600,
};
const API: Quota = {
  policy: { name: "api", limit: 600, windowSeconds: 60 },
  remaining: 599,
  resetSeconds: 60,
};

describe("policies", () => {
  const config = { postsPerHour: 30 };

  it("posts is API_LIMIT an hour, api 600 a minute", () => {
    expect(policyFor("posts", config, {}, {})).toEqual({ name: "posts", limit: 30, windowSeconds: 3_600 });
    expect(policyFor("posts", { postsPerHour: 90 }, {}, {}).limit).toBe(90);
    expect(policyFor("api", config, {}, {})).toEqual({ name: "api", limit: 600, windowSeconds: 60 });
  });

  it.each([
    ["the tenant's in place of the default", { postsPerHour: 5, apiPerMinute: 6 }, {}, 5, 6],
    ["the key's in place of the default", {}, { postsPerHour: 7, apiPerMinute: 8 }, 7, 8],
    ["the key's before the tenant's", { postsPerHour: 5, apiPerMinute: 6 }, { postsPerHour: 7 }, 7, 6],
    ["a limit of 0, which is a limit", { postsPerHour: 0 }, { apiPerMinute: 0 }, 0, 0],
  ])("%s", (_, tenant, key, posts, api) => {
    expect(policyFor("posts", config, tenant, key).limit).toBe(posts);
    expect(policyFor("api", config, tenant, key).limit).toBe(api);
  });
});

describe("rate headers", () => {
  function fields(quota: Quota | null, allowed: boolean, from: Record<string, string> = {}) {
    const headers = new Headers(from);
    setRateHeaders(headers, quota, allowed);
    return Object.fromEntries(headers);
  }

  it("an allowed request of policy posts carries both forms, in these bytes", () => {
    expect(fields(POSTS, true)).toEqual({
      "ratelimit-policy": '"posts";q=30;w=3600',
      ratelimit: '"posts";r=29;t=3600',
      "x-ratelimit-limit": "30",
      "x-ratelimit-remaining": "29",
      "x-ratelimit-reset": "3600",
    });
  });

  it.each([
    ["a refused request of policy posts", POSTS, false],
    ["an allowed request of policy api", API, true],
    ["a refused request of policy api", API, false],
  ])("%s carries no X-RateLimit-*, which clients take for a global budget", (_, quota, allowed) => {
    expect(Object.keys(fields(quota, allowed))).toEqual(["ratelimit", "ratelimit-policy"]);
  });

  it.each([
    ["no policy applied", null, []],
    ["one did", API, ["ratelimit", "ratelimit-policy"]],
  ])("of an origin's own limiter never reach the client, when %s", (_, quota, left) => {
    const origin = {
      RateLimit: '"origin";r=1;t=1',
      "RateLimit-Policy": '"origin";q=1;w=1',
      "X-RateLimit-Limit": "90",
      "x-ratelimit-remaining": "1",
      "X-RATELIMIT-RESET": "1",
    };
    const answer = fields(quota, true, { ...origin, "Content-Type": "text/plain" });
    expect(Object.keys(answer)).toEqual(["content-type", ...left]);
    expect(Object.values(answer).join()).not.toContain("origin");
  });
});

describe("the rate decision", () => {
  const grant: Grant = {
    v: 1,
    verdict: "granted",
    keyId: "k1",
    subscription: { status: "active", currentPeriodEndMs: null },
    tokens: 1,
    quota: POSTS,
    usableForMs: 1_000,
  };
  const entitled = (more: Partial<Grant>) => {
    return {
      principal: {
        ...claimFor(tenantIdOf("acme"), "d"),
        ...{ keyId: "k1", originKey: null, degraded: false },
        grant: { ...grant, ...more },
      },
    };
  };

  it("passes on a token", () => {
    expect(passed(decideRate(entitled({}))).quota).toBe(POSTS);
  });

  it("refuses without one, and says when to come back", () => {
    const quota = { ...POSTS, remaining: 0, resetSeconds: 17 };
    const denial = denialOf(decideRate(entitled({ verdict: "rate_limited", tokens: 0, quota })));
    expect(denial).toMatchObject({ reason: "rate_limited", retryAfterSeconds: 17, quota });
  });

  it("never passes without a quota", () => {
    for (const tokens of [0, 1]) expect(() => decideRate(entitled({ tokens, quota: null }))).toThrow();
  });
});

describe("the origin's own 429", () => {
  const answered = (status: number, retryAfter?: string): Response =>
    new Response(null, { status, headers: retryAfter === undefined ? {} : { "Retry-After": retryAfter } });
  const settled = (response: Response) => settlementOf("n1", response);

  it.each([
    ["3600", 3_600],
    ["0", 0],
    ["86400", 86_400],
    ["86401", 86_400],
    ["999999999", 86_400],
  ])("Retry-After: %s is adopted as %d seconds", (retryAfter, seconds) => {
    const response = answered(429, retryAfter);
    expect(settled(response)).toEqual({ nonce: "n1", originRetryAfterSeconds: seconds });
    expect(quotaAfter(response, POSTS)).toEqual({ ...POSTS, remaining: 0, resetSeconds: seconds });
  });

  it.each([
    ["another status", answered(503, "3600")],
    ["success", answered(201, "3600")],
    ["no Retry-After", answered(429)],
    ["a date", answered(429, "Wed, 21 Oct 2026 07:28:00 GMT")],
    ["a fraction", answered(429, "1.5")],
    ["a negative number", answered(429, "-1")],
    ["ten digits", answered(429, "1000000000")],
    ["two values", answered(429, "1, 2")],
  ])("%s is none", (_, response) => {
    expect(settled(response)).toEqual({ nonce: "n1" });
    expect(quotaAfter(response, POSTS)).toBe(POSTS);
  });
});

describe("the flood shield", () => {
  const clock = useCacheClock();

  /** The platform's limiter: `answers` in turn, the last one for ever. */
  function limiterOf(...answers: (() => Promise<{ success: boolean }>)[]) {
    const keys: string[] = [];
    const limit = ({ key }: { key: string }) => {
      keys.push(key);
      const next = answers.length > 1 ? answers.shift() : answers[0];
      return next?.() ?? Promise.reject(new Error("no answer left"));
    };
    return { limiter: { limit }, keys };
  }
  const yes = async () => ({ success: true });
  const no = async () => ({ success: false });

  it("lets pass and counts nothing before a look-up has failed", () => {
    const { limiter, keys } = limiterOf(no);
    expect(reasonOf(new FloodShield(limiter).check("192.0.2.1"))).toBe("passed");
    expect(keys).toEqual([]);
  });

  it("counts a failed look-up under the client's network", async () => {
    const { limiter, keys } = limiterOf(yes);
    const shield = new FloodShield(limiter);
    expect(reasonOf(await shield.countFailure("2001:db8:1:2:3:4:5:6"))).toBe("passed");
    expect(keys).toEqual(["2001:db8:1:2::/64"]);
    expect(reasonOf(shield.check("2001:db8:1:2:3:4:5:6"))).toBe("passed");
  });

  it("remembers the limiter's no for the whole network, and asks nobody while it does", async () => {
    const { limiter, keys } = limiterOf(no);
    const shield = new FloodShield(limiter);
    expect(denialOf(await shield.countFailure("2001:db8:1:2::1"))).toMatchObject({
      reason: "flood",
      retryAfterSeconds: 10,
    });
    expect(reasonOf(shield.check("2001:db8:1:2:ffff::9"))).toBe("flood");
    expect(reasonOf(shield.check("2001:db8:1:3::1"))).toBe("passed");
    expect(keys).toHaveLength(1);
  });

  it.each([
    ["", (ms: number) => vi.advanceTimersByTimeAsync(ms)],
    // The runtime drops the timers of a request that has ended: nothing that outlives it may wait for one.
    [", also if no request lived long enough for a timer", async () => {}],
  ])("asks again after 10 seconds, not before%s", async (_, runTimers) => {
    const wait = async (ms: number) => {
      clock.nowMs += ms;
      await runTimers(ms);
    };
    const shield = new FloodShield(limiterOf(no).limiter);
    await shield.countFailure("192.0.2.1");
    await wait(9_999);
    expect(reasonOf(shield.check("192.0.2.1"))).toBe("flood");
    await wait(2);
    expect(reasonOf(shield.check("192.0.2.1"))).toBe("passed");
  });

  it.each([
    ["absent", undefined],
    ["failing", limiterOf(() => Promise.reject(new Error("down"))).limiter],
    [
      "failing at once",
      {
        limit: () => {
          throw new Error("down");
        },
      },
    ],
  ])("lets pass while the limiter is %s", async (_, limiter) => {
    const shield = new FloodShield(limiter);
    expect(reasonOf(await shield.countFailure("192.0.2.1"))).toBe("passed");
    expect(reasonOf(shield.check("192.0.2.1"))).toBe("passed");
  });

  it("says that the limiter failed, once for each look-up, and nothing where there is none", async () => {
    await new FloodShield(undefined).countFailure("192.0.2.1");
    expect(console.error).not.toHaveBeenCalled();
    const failing = limiterOf(() => Promise.reject(new Error("down"))).limiter;
    await new FloodShield(failing).countFailure("192.0.2.1");
    expect(vi.mocked(console.error).mock.calls).toEqual([
      [JSON.stringify({ event: "flood_limiter_failed", error: "Error: down" })],
    ]);
  });

  it("waits half a second for the limiter, then lets pass", async () => {
    const hanging = limiterOf(() => new Promise(() => {})).limiter;
    const counted = vi.fn();
    const done = new FloodShield(hanging).countFailure("192.0.2.1").then(counted);
    await vi.advanceTimersByTimeAsync(499);
    expect(counted).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    await done;
    expect(counted).toHaveBeenCalledWith({ ok: true, value: undefined });
  });

  it.each([
    ["192.0.2.1", "192.0.2.1"],
    ["::ffff:192.0.2.1", "192.0.2.1"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:DB8:1:2::", "2001:db8:1:2::/64"],
    ["::1", "::/64"],
    ["fe80::1%eth0", "fe80::/64"],
    ["", "unknown"],
    ["client.example", "unknown"],
    ["192.0.2.1, 192.0.2.2", "unknown"],
    ["192.0.2.256", "unknown"],
    [null, "unknown"],
  ])("the network of %s is %s", (address, network) => {
    expect(networkOf(address)).toBe(network);
  });
});
