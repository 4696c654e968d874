/**
 * Leases: many isolates that decide by themselves, and one authority that has promised what they may. The real code of both,
 * over a real SQLite, in virtual time.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { claimFor } from "../../src/authority/claim.ts";
import type { LeaseAsk } from "../../src/authority/protocol.ts";
import { tenantIdOf, unlinkedIdOf } from "../../src/authority/tenant-id.ts";
import { SteadyClock } from "../../src/clock.ts";
import { type Credential, digestOf } from "../../src/credential/credential.ts";
import { deny } from "../../src/denial.ts";
import type { Deps } from "../../src/deps.ts";
import type { PolicyName } from "../../src/quota/policy.ts";
import { muteConsole } from "../support/mute-console.ts";
import { says, World } from "../support/world.ts";

const ACME = tenantIdOf("acme");
const SECOND = 1_000;
const LEASE_MS = 5 * SECOND;
const MARGIN_MS = 2 * SECOND;
const WINDOW_MS = 60 * SECOND;
/** Enough to fill every memory twice over; a million with `npm run test:full`. */
const CREDENTIALS = Number(process.env["CREDENTIALS"] ?? 40_000);
const keyOf = (i: number): Credential => ({ kind: "api_key", secret: digestOf(`key ${i}`) });
const KEY = keyOf(0);

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** Tenant acme with keys, each of which may make so many requests a minute. */
async function acme(vars: Record<string, string> = {}, apiPerMinute = 600, keys = 1): Promise<World> {
  const world = new World(vars);
  const lines = Array.from({ length: keys }, (_, i) => {
    const digest = digestOf(keyOf(i).secret);
    const key = { digest, keyId: `k${i}`, name: "", expiresAtMs: null, apiPerMinute };
    return { type: "api_key", tenantId: ACME, ...key } as const;
  });
  await world
    .authority(ACME)
    .import(ACME, [{ type: "tenant", tenantId: ACME, name: "Acme" }, ...lines], "tests");
  await world.pass(1);
  return world;
}

interface Outcome {
  readonly is: string;
  readonly degraded: boolean;
}

async function ask(world: World, isolate: Deps, key = KEY, policy: PolicyName = "api"): Promise<Outcome> {
  const { result } = await world.ask(isolate, key, { policy });
  if (!result.ok) return { is: result.denial.reason, degraded: false };
  return { is: result.value.grant.verdict, degraded: result.value.degraded };
}

/** How many of so many requests are let in. */
async function admitted(
  world: World,
  isolates: readonly Deps[],
  requests: number,
  policy: PolicyName = "api",
) {
  let count = 0;
  for (let i = 0; i < requests; i++) {
    const isolate = isolates[i % isolates.length];
    if (isolate !== undefined && (await ask(world, isolate, KEY, policy)).is === "granted") count++;
  }
  return count;
}

const revoke = async (world: World, i = 0) => {
  const revoked = await world.authority(ACME).revokeKeyById(`k${i}`, "tests");
  if (!revoked.ok) throw new Error(revoked.detail);
  return {
    effectiveByMs: Date.parse(revoked.effectiveBy),
    degradedUntilMs: Date.parse(revoked.degradedUntil ?? revoked.effectiveBy),
  };
};

/** Nothing gets through to the authority, or back. */
function cutOff(world: World, isCut = true): void {
  world.before = () => {
    if (isCut) throw new Error("the object can't be reached");
  };
}

describe("on a lease", () => {
  it("an isolate asks nobody: no authority, no KV, and waits for nothing", async () => {
    const world = await acme({}, 1_000_000);
    const isolate = world.isolate();
    await ask(world, isolate);
    const [calls, reads] = [world.authorityCalls, world.credentials.reads];
    for (let i = 0; i < 40; i++)
      expect(await ask(world, isolate)).toEqual({ is: "granted", degraded: false });
    expect([world.authorityCalls, world.credentials.reads]).toEqual([calls, reads]);
  });

  it("a busy isolate never waits: what comes next is asked for in the background", async () => {
    const world = await acme({}, 8_000);
    const isolate = world.isolate();
    await ask(world, isolate);
    const decided = new Set<string>();
    const before = world.authorityCalls;
    for (let tick = 0; tick < 600; tick++) {
      await world.pass(100);
      decided.add((await world.ask(isolate, KEY)).decidedBy);
    }
    expect(decided).toEqual(new Set(["lease"]));
    // A minute, at 0.6 of five seconds each, and some for tokens.
    expect(world.authorityCalls - before).toBeLessThanOrEqual(30);
  });

  it("one ask in the background is under way at a time, whichever key it is about", async () => {
    const world = await acme({}, 100_000, 5);
    const isolate = world.isolate();
    const askAll = async () => {
      for (let i = 0; i < 5; i++) expect((await ask(world, isolate, keyOf(i))).is).toBe("granted");
    };
    await askAll();
    await world.pass(3 * SECOND);
    world.authorityMs = 500;
    const before = world.authorityCalls;
    await askAll();
    await askAll();
    expect(world.authorityCalls - before).toBe(1);
    await world.pass(500);
  });

  it("one answer about one key renews what is known of all the tenant's keys", async () => {
    const world = await acme({}, 600, 50);
    const isolate = world.isolate();
    for (let i = 0; i < 50; i++) await ask(world, isolate, keyOf(i));
    await world.pass(LEASE_MS + SECOND);
    const before = world.authorityCalls;
    for (let i = 0; i < 50; i++) expect((await ask(world, isolate, keyOf(i))).is).toBe("granted");
    expect(world.authorityCalls - before).toBe(1);
  });

  it("what is known outlasts the object's leaving memory", async () => {
    const world = await acme({}, 1_000_000, 20);
    const isolate = world.isolate();
    for (let i = 0; i < 20; i++) await ask(world, isolate, keyOf(i));
    await world.pass(LEASE_MS);
    world.evict(ACME);
    const before = world.authorityCalls;
    for (let i = 0; i < 20; i++) expect((await ask(world, isolate, keyOf(i))).is).toBe("granted");
    expect(world.authorityCalls - before).toBe(1);
  });

  it("a change of one key is heard by the next ask, whichever key it is about", async () => {
    const world = await acme({}, 600, 2);
    const isolate = world.isolate();
    await ask(world, isolate, keyOf(0));
    await ask(world, isolate, keyOf(1));
    await revoke(world, 1);
    expect((await ask(world, isolate, keyOf(1))).is).toBe("granted");
    await world.pass(LEASE_MS);
    expect((await ask(world, isolate, keyOf(0))).is).toBe("granted");
    expect((await ask(world, isolate, keyOf(1))).is).toBe("key_revoked");
  });

  it("a revoked key is refused at effectiveBy, and not before it has to be", async () => {
    const world = await acme();
    const isolate = world.isolate();
    await ask(world, isolate);
    const askedAtMs = Date.now();
    await world.pass(SECOND);
    const { effectiveByMs } = await revoke(world);
    expect(effectiveByMs).toBe(askedAtMs + LEASE_MS + MARGIN_MS);
    await world.pass(LEASE_MS - SECOND - 1);
    expect((await ask(world, isolate)).is).toBe("granted");
    await world.pass(1);
    expect((await ask(world, isolate)).is).toBe("key_revoked");
  });

  it("LEASE_TTL=0: every request asks, and a revocation holds after AUTHORITY_TIMEOUT_MS", async () => {
    const world = await acme({ LEASE_TTL: "0" });
    const isolate = world.isolate();
    for (let i = 1; i <= 5; i++) {
      await ask(world, isolate);
      expect(world.authorityCalls).toBe(i);
    }
    const { effectiveByMs } = await revoke(world);
    expect(effectiveByMs).toBe(Date.now() + SECOND + MARGIN_MS);
    expect((await ask(world, isolate)).is).toBe("key_revoked");
  });

  it("a key that expires, or whose subscription ends, does so in the middle of a lease", async () => {
    const world = await acme({ SUBSCRIPTIONS: "required" });
    const authority = world.authority(ACME);
    const endMs = Date.now() + 2 * SECOND;
    await authority.changeKey("k0", { expiresAtMs: endMs }, null, "tests");
    const isolate = world.isolate();
    expect((await ask(world, isolate)).is).toBe("granted");
    await world.pass(endMs - Date.now() - 1);
    expect((await ask(world, isolate)).is).toBe("granted");
    await world.pass(1);
    expect((await ask(world, isolate)).is).toBe("key_expired");

    await authority.changeKey("k0", { expiresAtMs: null }, null, "tests");
    const canceled = { status: "canceled", currentPeriodEndMs: Date.now() + 8 * SECOND } as const;
    await authority.setSubscription(canceled, null, "tests");
    await world.pass(LEASE_MS);
    expect((await ask(world, isolate)).is).toBe("granted");
    await world.pass(3 * SECOND);
    const { result } = await world.ask(isolate, KEY);
    expect(result.ok && result.value.grant.verdict).toBe("subscription_inactive");
  });

  it("a clock that was set back, and is late for long, prolongs nothing", async () => {
    const world = await acme({}, 160);
    let offsetMs = 0;
    const isolate = world.isolate({}, new SteadyClock(() => Date.now() + offsetMs));
    await ask(world, isolate);
    await world.pass(10);
    offsetMs = -30 * SECOND;
    await ask(world, isolate);
    const { effectiveByMs } = await revoke(world);
    await world.pass(effectiveByMs - Date.now());
    expect((await ask(world, isolate)).is).toBe("key_revoked");
  });

  it("of a clock that was set back nothing is relied on", async () => {
    const world = await acme();
    let offsetMs = 0;
    const isolate = world.isolate({}, new SteadyClock(() => Date.now() + offsetMs));
    await ask(world, isolate);
    offsetMs = -30 * SECOND;
    const before = world.authorityCalls;
    await ask(world, isolate);
    expect(world.authorityCalls - before).toBe(1);
  });

  it("is longer where one tenant's isolates ask more often than is easy, up to LEASE_TTL_MAX, and no longer after that", async () => {
    const world = await acme({}, 1_000_000, 400);
    const lease = async (i: number) => {
      const question = { policy: "api", scope: "read", clientAddress: null, entrance: null } as const;
      const grant = await world.authority(ACME).lease({
        ...{ v: 1, tenantId: ACME, digest: digestOf(keyOf(i).secret), nonce: `load-${Date.now()}-${i}` },
        ...question,
        settleWithinMs: 0,
        wish: 1,
      });
      return grant.lease?.forMs;
    };
    expect(await lease(0)).toBe(LEASE_MS);
    for (let i = 0; i < 99; i++) await lease(i);
    expect(await lease(0)).toBe(2 * LEASE_MS + 100);
    for (let i = 0; i < 399; i++) await lease(i);
    expect(await lease(0)).toBe(30 * SECOND);
    await world.pass(2 * SECOND);
    expect(await lease(0)).toBe(LEASE_MS);
  });
});

describe("an isolate's memory", () => {
  it("stays within 64 MB, however many credentials pass through", async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const heapMb = () => {
      collect();
      return process.memoryUsage().heapUsed / 1_048_576;
    };
    const world = new World({ LEARN_FROM_ORIGIN: "false" });
    const isolate = world.isolate();
    const quota = {
      policy: { name: "api", limit: 600, windowSeconds: 60 },
      remaining: 596,
      resetSeconds: 60,
    } as const;
    const terms = { scopes: null, allowedNetworks: [], allowedHosts: [] };
    const lasting = {
      forMs: LEASE_MS,
      endsInMs: null,
      renewInMs: null,
      tokensForMs: 30 * SECOND,
      refusedForMs: 0,
      terms,
    };
    // Every credential of a tenant of its own, each answer an object of its own, as it is read from the wire.
    isolate.authority.lease = async (_, { digest }) =>
      structuredClone({
        ...{
          v: 1,
          verdict: "granted",
          keyId: `key-${digest}`.slice(0, 64),
          tokens: 4,
          quota,
          usableForMs: LEASE_MS,
        },
        subscription: { status: "active", currentPeriodEndMs: null },
        lease: { epoch: `epoch-of-${digest}`, ...lasting },
      } as const);
    const question = { policy: "api", scope: "read", clientAddress: null, entrance: null } as const;
    const occasion = { settleWithinMs: 0, country: "" };
    const beforeMb = heapMb();
    for (let i = 0; i < CREDENTIALS; i++) {
      // As long as a credential may be.
      const secret = `${i}-`.padEnd(512, "k");
      const credential: Credential = { kind: "api_key", secret };
      const claim = claimFor(unlinkedIdOf(digestOf(secret)), digestOf(secret));
      isolate.credentials.remember(credential, claim);
      isolate.credentials.refuse(
        { kind: "api_key", secret: `no-${secret}` },
        deny("key_unknown", "No such key"),
      );
      await isolate.leases.ask(credential, claim, question, { nonce: `n${i}`, ...occasion });
    }
    expect(heapMb() - beforeMb).toBeLessThan(64);
  }, 300_000);
});

describe("limits", () => {
  it.each([1, 2, 5, 10, 100, 600])(
    "of %i are served to the last token, by one isolate and by three",
    async (limit) => {
      for (const isolates of [1, 3]) {
        const world = await acme({}, limit);
        const some = Array.from({ length: isolates }, () => world.isolate());
        const count = await admitted(world, some, 2 * limit + 20);
        expect(count).toBeLessThanOrEqual(limit);
        // What the others hold and have no use for is all that can be missing.
        const { usage } = { usage: world.authority(ACME).usage(null) };
        const outstanding = usage.ok ? (usage.value.keys[0]?.api.outstanding ?? 0) : 0;
        expect(count + outstanding).toBeGreaterThanOrEqual(limit);
        if (isolates === 1 || limit <= 10) expect(count).toBe(limit);
      }
    },
  );

  it("come back in full when leases and windows have passed, what dead isolates took along included", async () => {
    const world = await acme({}, 100);
    expect(await admitted(world, [world.isolate(), world.isolate()], 300)).toBeLessThanOrEqual(100);
    await world.pass(30 * SECOND + WINDOW_MS + MARGIN_MS);
    expect(await admitted(world, [world.isolate()], 300)).toBe(100);
  });

  it("tokens that are given up count no more, those that were used for no longer than a window", async () => {
    const world = await acme({}, 600);
    const isolate = world.isolate();
    await ask(world, isolate);
    await world.pass(31 * SECOND);
    // Of two one was used: that is told with the next ask, and one is asked for.
    await ask(world, isolate);
    const usage = world.authority(ACME).usage(null);
    expect(usage.ok && usage.value.keys[0]?.api).toMatchObject({ remaining: 600 - 1 - 1, outstanding: 1 });
  });

  it("tokens in hand are used first when a lease has ended: the next one costs none", async () => {
    const world = await acme({}, 600);
    const isolate = world.isolate();
    await ask(world, isolate);
    await world.pass(12 * SECOND);
    const before = world.authorityCalls;
    expect((await ask(world, isolate)).is).toBe("granted");
    expect(world.authorityCalls - before).toBe(1);
    const usage = world.authority(ACME).usage(null);
    expect(usage.ok && usage.value.keys[0]?.api).toMatchObject({ remaining: 600 - 2, outstanding: 2 });
  });

  it("nobody is refused for others' use of the limit while tokens are in hand, also when a lease has ended", async () => {
    const world = await acme({}, 100);
    const [one, other] = [world.isolate(), world.isolate()];
    await ask(world, one);
    expect(await admitted(world, [other], 200)).toBe(98);
    await world.pass(LEASE_MS + SECOND);
    expect((await ask(world, other)).is).toBe("rate_limited");
    expect((await ask(world, one)).is).toBe("granted");
    expect((await ask(world, one)).is).toBe("rate_limited");
  });

  it("two thirds of one can be used from many isolates, each of which is asked seldom", async () => {
    const [isolates, everyMs, limit] = [40, 12_000, 300];
    const world = await acme({}, limit);
    const some = Array.from({ length: isolates }, () => world.isolate());
    const outcomes = new Set<string>();
    for (let turn = 0; turn < 25; turn++) {
      for (const isolate of some) {
        await world.pass(everyMs / isolates);
        outcomes.add((await ask(world, isolate)).is);
      }
    }
    expect(outcomes).toEqual(new Set(["granted"]));
  });

  it("a refusal is leased: who hammers costs the authority one call a second at most, and is served when it said", async () => {
    const world = await acme({}, 3);
    const isolate = world.isolate();
    await admitted(world, [isolate], 4);
    const before = world.authorityCalls;
    for (let i = 0; i < 1_000; i++) {
      expect((await ask(world, isolate)).is).toBe("rate_limited");
      if (i % 200 === 199) await world.pass(SECOND);
    }
    expect(world.authorityCalls - before).toBeLessThanOrEqual(5);
    const { result } = await world.ask(isolate, KEY);
    if (!result.ok) throw new Error("refused otherwise");
    await world.pass(1_000 * (result.value.grant.quota?.resetSeconds ?? 0));
    expect((await ask(world, isolate)).is).toBe("granted");
  });

  it("that are lowered hold from effectiveBy on, also for who holds tokens of before", async () => {
    const world = await acme({}, 600, 2);
    const isolate = world.isolate();
    expect(await admitted(world, [isolate], 100)).toBe(100);
    const lowered = await world.authority(ACME).changeKey("k0", { apiPerMinute: 5 }, null, "tests");
    if (!lowered.ok) throw new Error(lowered.detail);
    await world.pass(Date.parse(lowered.effectiveBy) - Date.now());
    let count = 0;
    for (let i = 0; i < 20; i++) {
      await ask(world, isolate, keyOf(1));
      count += await admitted(world, [isolate], 1);
      await world.pass(SECOND);
    }
    expect(count).toBeLessThanOrEqual(5);
  });

  it("that others have used up refuse nobody who holds tokens yet", async () => {
    const world = await acme({}, 600);
    const [holder, drainer] = [world.isolate(), world.isolate()];
    expect(await admitted(world, [holder], 20)).toBe(20);
    await admitted(world, [drainer], 1_000);
    const usage = world.authority(ACME).usage(null);
    expect(usage.ok && usage.value.keys[0]?.api.remaining).toBe(0);
    const before = world.authorityCalls;
    const first = await ask(world, holder);
    await world.pass(4 * SECOND);
    expect([first.is, (await ask(world, holder)).is]).toEqual(["granted", "granted"]);
    await world.pass(1);
    expect((await ask(world, holder)).is).toBe("granted");
    expect(world.authorityCalls).toBeGreaterThan(before);
  });

  it("where answers can't be shared, requests don't wait one behind the other: in shadow, and without leases", async () => {
    const rttMs = 50;
    for (const vars of [{ LEASE_TTL: "0" }, { SHADOW_POLICIES: "api" }]) {
      const world = await acme(vars, 1);
      const isolate = world.isolate();
      await ask(world, isolate);
      await world.pass(LEASE_MS);
      world.authorityMs = rttMs;
      const startedAtMs = Date.now();
      const ended: number[] = [];
      const asked = Array.from({ length: 60 }, () =>
        ask(world, isolate).then(() => ended.push(Date.now() - startedAtMs)),
      );
      await world.pass(4 * rttMs);
      await Promise.all(asked);
      expect(Math.max(...ended)).toBeLessThanOrEqual(3 * rttMs);
    }
  });

  it("posts are granted one by one, whatever lease is in hand", async () => {
    const world = await acme({ API_LIMIT: "3" });
    const isolates = [world.isolate(), world.isolate()];
    for (const each of isolates) await ask(world, each);
    const before = world.authorityCalls;
    expect(await admitted(world, isolates, 3, "posts")).toBe(3);
    expect(world.authorityCalls - before).toBe(3);
    expect(await admitted(world, isolates, 20, "posts")).toBe(0);
    expect(world.authorityCalls - before).toBe(5);
  });

  it("of posts are shared by a tenant's keys, of everything else each key has its own", async () => {
    const world = await acme({ API_LIMIT: "3" }, 3, 2);
    const isolate = world.isolate();
    for (const policy of ["posts", "api"] as const) {
      expect(await admitted(world, [isolate], 4, policy)).toBe(3);
      const others = await ask(world, isolate, keyOf(1), policy);
      expect(others.is).toBe(policy === "posts" ? "rate_limited" : "granted");
    }
  });

  it("what a key is not good for is refused without asking, and uses nothing up", async () => {
    const world = await acme({
      KEY_MAC_SECRET: "m".repeat(32),
      SEALING_KEY: Buffer.alloc(32, 1).toString("base64"),
    });
    const authority = world.authority(ACME);
    await authority.setOriginKey("postiz-key", "tests");
    const issued = await authority.issueKey(
      { name: "n", scopes: ["posts:write"], expiresAtMs: null, allowedNetworks: [], apiPerMinute: 10 },
      null,
      "tests",
    );
    const key: Credential = { kind: "gateway_key", secret: (issued.ok && issued.value.secret) || "" };
    const isolate = world.isolate();
    // World asks for the scope "read", which the key lacks.
    for (let i = 0; i < 20; i++) expect((await ask(world, isolate, key)).is).toBe("scope_insufficient");
    const usage = authority.usage(null);
    const mine = usage.ok ? usage.value.keys.find(({ name }) => name === "n") : undefined;
    expect(mine?.api).toMatchObject({ remaining: 10, outstanding: 0 });
  });
});

describe("where the authority does not answer", () => {
  it("who got in a minute ago goes on, but for posts, each said to be degraded; then 503", async () => {
    const world = await acme();
    const isolate = world.isolate();
    await ask(world, isolate);
    cutOff(world);
    await world.pass(LEASE_MS);
    expect(await ask(world, isolate)).toEqual({ is: "granted", degraded: true });
    expect((await ask(world, isolate, KEY, "posts")).is).toBe("authority_unavailable");
    await world.pass(60 * SECOND - 1);
    expect(await ask(world, isolate)).toEqual({ is: "granted", degraded: true });
    await world.pass(1);
    expect((await ask(world, isolate)).is).toBe("authority_unavailable");
    expect((await ask(world, world.isolate())).is).toBe("authority_unavailable");
    cutOff(world, false);
    expect(await ask(world, isolate)).toEqual({ is: "granted", degraded: false });
  });

  it("AUTHORITY_FAILURE=deny: 503 as soon as the lease is over, and no degradedUntil", async () => {
    const world = await acme({ AUTHORITY_FAILURE: "deny" });
    const isolate = world.isolate();
    await ask(world, isolate);
    cutOff(world);
    await world.pass(LEASE_MS);
    expect((await ask(world, isolate)).is).toBe("authority_unavailable");
    cutOff(world, false);
    expect(await world.authority(ACME).revokeKeyById("k0", "tests")).not.toHaveProperty("degradedUntil");
  });

  it("a revoked key is refused at degradedUntil also where nobody can ask", async () => {
    const world = await acme();
    const isolate = world.isolate();
    await ask(world, isolate);
    cutOff(world);
    const { effectiveByMs, degradedUntilMs } = await revoke(world);
    expect(degradedUntilMs - effectiveByMs).toBe(60 * SECOND);
    await world.pass(degradedUntilMs - MARGIN_MS - 1 - Date.now());
    expect((await ask(world, isolate)).is).toBe("granted");
    await world.pass(1);
    expect((await ask(world, isolate)).is).toBe("authority_unavailable");
  });

  it("it is asked once a second, not by every request, and no more than a window's limit is let in", async () => {
    const world = await acme({}, 50);
    const isolate = world.isolate();
    await ask(world, isolate);
    cutOff(world);
    await world.pass(LEASE_MS);
    const before = world.authorityCalls;
    expect(await admitted(world, [isolate], 200)).toBe(50);
    // Who is refused has asked.
    expect(world.authorityCalls - before).toBeLessThanOrEqual(1 + 150);
  });

  it("it is left alone for a second in the background, too, while the lease lasts", async () => {
    const world = await acme({}, 100_000);
    const isolate = world.isolate();
    for (let i = 0; i < 30; i++) await ask(world, isolate);
    await world.pass(3 * SECOND);
    world.before = () => new Promise(() => {});
    const before = world.authorityCalls;
    // The one ask is given up after a second, and a second later comes the next.
    for (let i = 0; i < 10; i++) {
      expect(await ask(world, isolate)).toEqual({ is: "granted", degraded: false });
      await world.pass(199);
    }
    expect(world.authorityCalls - before).toBe(1);
  });

  it("who is let in without it is let in under the limit of their own policy", async () => {
    const world = await acme({ API_LIMIT: "3" }, 50);
    const isolate = world.isolate();
    await ask(world, isolate);
    await ask(world, isolate, KEY, "posts");
    cutOff(world);
    await world.pass(LEASE_MS);
    const { result } = await world.ask(isolate, KEY);
    expect(result.ok && result.value.grant.quota?.policy).toMatchObject({ name: "api", limit: 50 });
    expect(await admitted(world, [isolate], 100)).toBe(49);
  });

  it("a refused token that is hammered costs its authority no more than leases do", async () => {
    const world = await acme();
    const isolate = world.isolate();
    const token: Credential = { kind: "oauth_token", secret: `pos_${"Tk1".repeat(13)}A` };
    expect((await ask(world, isolate, token)).is).toBe("granted");
    world.origin = says.noToken;
    const before = world.authorityCalls;
    for (let tick = 0; tick < 900; tick++) {
      await world.pass(100);
      await ask(world, isolate, token);
    }
    // A minute and a half.
    expect(world.authorityCalls - before).toBeLessThanOrEqual(90);
  });

  it("one that hangs costs a waiting request AUTHORITY_TIMEOUT_MS, and the next nothing", async () => {
    const world = await acme();
    const isolate = world.isolate();
    await ask(world, isolate);
    await world.pass(LEASE_MS);
    world.before = () => new Promise(() => {});
    const startedAtMs = Date.now();
    let endedAtMs = 0;
    const first = ask(world, isolate).then((found) => {
      endedAtMs = Date.now();
      return found;
    });
    await world.pass(SECOND);
    expect([await first, endedAtMs - startedAtMs]).toEqual([{ is: "granted", degraded: true }, SECOND]);
    expect(await ask(world, isolate)).toEqual({ is: "granted", degraded: true });
  });
});

describe("what a tenant's authority is asked by one isolate", () => {
  /** Calls to authorities: of each method, and at most at once. */
  function watchCalls(world: World) {
    const calls = { lease: 0, leaseAll: 0, atOnce: 0, mostAtOnce: 0 };
    world.before = async (method) => {
      if (method !== "lease" && method !== "leaseAll") return;
      calls[method]++;
      calls.mostAtOnce = Math.max(calls.mostAtOnce, ++calls.atOnce);
      await new Promise((resolve) => setTimeout(resolve, 20));
    };
    world.after = (method) => {
      if (method === "lease" || method === "leaseAll") calls.atOnce--;
    };
    return calls;
  }

  /** Acme with so many keys, all of which KV shows. */
  async function acmeShown(vars: Record<string, string>, keys: number): Promise<World> {
    const world = await acme(vars, 600, keys);
    for (let i = 0; i < 20 && world.credentials.stored.size < keys; i++) await world.pass(SECOND);
    return world;
  }

  /** So many keys at once, all seen for the first time. */
  const askAll = (world: World, keys: number) => {
    const isolate = world.isolate();
    return Promise.all(Array.from({ length: keys }, (_, i) => ask(world, isolate, keyOf(i))));
  };

  it("is four calls at once, whatever comes: a thousand new keys are fourteen calls", async () => {
    const world = await acmeShown({}, 1_000);
    const calls = watchCalls(world);
    const asked = askAll(world, 1_000);
    await world.pass(SECOND);
    expect(new Set((await asked).map(({ is }) => is))).toEqual(new Set(["granted"]));
    expect(calls).toEqual({ lease: 4, leaseAll: 10, atOnce: 0, mostAtOnce: 4 });
  });

  it("is four calls while it hangs, then four more", async () => {
    const world = await acmeShown({ AUTHORITY_FAILURE: "deny" }, 300);
    let calls = 0;
    world.before = () => {
      calls++;
      return new Promise(() => {});
    };
    for (const soFar of [4, 8]) {
      const asked = askAll(world, 300);
      await world.pass(SECOND);
      expect(new Set((await asked).map(({ is }) => is))).toEqual(new Set(["authority_unavailable"]));
      expect(calls).toBe(soFar);
    }
  });

  it("is nothing for a second where it says that it is overloaded, also about keys that nobody has seen", async () => {
    const world = await acmeShown({}, 60);
    const isolate = world.isolate();
    const before = world.authorityCalls;
    let isOverloaded = true;
    world.before = () => {
      if (isOverloaded) throw Object.assign(new Error("overloaded"), { overloaded: true, retryable: true });
    };
    for (let i = 0; i < 50; i++) {
      expect((await ask(world, isolate, keyOf(i))).is).toBe("authority_unavailable");
      await world.pass(10);
    }
    expect(world.authorityCalls - before).toBe(1);
    isOverloaded = false;
    await world.pass(SECOND / 2);
    expect((await ask(world, isolate, keyOf(0))).is).toBe("granted");
  });

  it("comes to who joins late as well: the first one's time is not theirs", async () => {
    const world = await acmeShown({}, 10);
    const isolate = world.isolate();
    let hangs = true;
    world.before = () => (hangs ? new Promise(() => {}) : undefined);
    const early = Promise.all(Array.from({ length: 5 }, (_, i) => ask(world, isolate, keyOf(i))));
    await world.pass(0.9 * SECOND);
    const late = Promise.all([5, 6, 7].map((i) => ask(world, isolate, keyOf(i))));
    hangs = false;
    await world.pass(0.2 * SECOND);
    expect(new Set((await early).map(({ is }) => is))).toEqual(new Set(["authority_unavailable"]));
    await world.pass(SECOND);
    expect((await late).map(({ is }) => is)).toEqual(["granted", "granted", "granted"]);
  });

  it("fails for all that go together, and the next are asked as ever", async () => {
    const world = await acmeShown({}, 50);
    world.authorityMs = 20;
    let fails = true;
    world.before = (method) => {
      if (fails && method === "leaseAll") throw new Error("the object was reset");
    };
    const asked = askAll(world, 50);
    await world.pass(SECOND);
    const found = (await asked).map(({ is }) => is);
    expect(found.filter((is) => is === "granted")).toHaveLength(4);
    expect(found.filter((is) => is === "authority_unavailable")).toHaveLength(46);
    fails = false;
    const again = askAll(world, 50);
    await world.pass(SECOND);
    expect(new Set((await again).map(({ is }) => is))).toEqual(new Set(["granted"]));
  });

  it("one that can't be answered does no harm to those that go with it", async () => {
    const world = await acmeShown({}, 2);
    muteConsole("error");
    const about = (i: number) => {
      const question = { policy: "api", scope: "read", clientAddress: null, entrance: null } as const;
      const digest = digestOf(keyOf(i).secret);
      return {
        v: 1,
        tenantId: ACME,
        digest,
        nonce: `n${i}`,
        settleWithinMs: 0,
        wish: 1,
        ...question,
      } as const;
    };
    const odd = { ...about(1), policy: "no policy" } as unknown as ReturnType<typeof about>;
    const [first, second, third] = world.authority(ACME).leaseAll([about(0), odd, about(1)]);
    expect([first?.verdict, second, third?.verdict]).toEqual(["granted", null, "granted"]);
  });

  it("goes one by one to an authority of the version before", async () => {
    const world = await acmeShown({}, 10);
    world.authorityMs = 20;
    world.before = (method) => {
      if (method !== "leaseAll") return;
      throw new TypeError('The RPC receiver does not implement the method "leaseAll".');
    };
    const asked = askAll(world, 10);
    await world.pass(SECOND);
    expect(new Set((await asked).map(({ is }) => is))).toEqual(new Set(["granted"]));
  });
});

describe("what the authority answers", () => {
  const OPEN = { scopes: null, allowedNetworks: [], allowedHosts: [] };
  let asks = 0;
  const said = (world: World, more: Partial<LeaseAsk> = {}) =>
    world.authority(ACME).lease({
      ...{ v: 1, tenantId: ACME, digest: digestOf(KEY.secret), nonce: `said-${asks++}`, policy: "api" },
      ...{ scope: "read", clientAddress: null, entrance: null, settleWithinMs: 0, wish: 8 },
      ...more,
    });

  it("tells for how long each part of it may be used: the lease, several tokens, and a single one", async () => {
    const world = await acme();
    const lasting = { forMs: LEASE_MS, endsInMs: null, renewInMs: null, refusedForMs: 0, terms: OPEN };
    expect(await said(world)).toMatchObject({
      ...{ verdict: "granted", tokens: 8, usableForMs: LEASE_MS },
      lease: { ...lasting, tokensForMs: 30 * SECOND },
    });
    expect(await said(world, { wish: 1 })).toMatchObject({
      ...{ tokens: 1, usableForMs: SECOND },
      lease: { ...lasting, tokensForMs: SECOND },
    });
  });

  it("on a key that expires ends when the key does, in all its parts", async () => {
    const world = await acme();
    const expiresAtMs = Date.now() + 3 * SECOND;
    await world.authority(ACME).changeKey("k0", { expiresAtMs }, null, "tests");
    expect(await said(world)).toMatchObject({ usableForMs: 3 * SECOND, lease: { endsInMs: 3 * SECOND } });
    await world.pass(3 * SECOND - 500);
    expect(await said(world, { wish: 1 })).toMatchObject({ usableForMs: 500, lease: { endsInMs: 500 } });
  });

  it("to who wishes for no tokens is none, counts nothing, and can be held as long as the lease", async () => {
    const world = await acme();
    const grant = await said(world, { wish: 0 });
    expect(grant).toMatchObject({ verdict: "granted", tokens: 0, usableForMs: LEASE_MS });
    expect(grant.quota?.remaining).toBe(600);
    const usage = world.authority(ACME).usage(null);
    expect(usage.ok && usage.value.keys[0]?.api).toMatchObject({ outstanding: 0 });
  });

  it("is of a single token where the origin counts, without leases or without a wish, however many are left", async () => {
    const vars = { API_LIMIT: "100000" };
    const [world, without] = [await acme(vars, 100_000), await acme({ ...vars, LEASE_TTL: "0" }, 100_000)];
    expect((await said(world)).tokens).toBe(64);
    expect((await said(world, { policy: "posts" })).tokens).toBe(1);
    expect((await said(without)).tokens).toBe(1);
    const asked = { v: 1, tenantId: ACME, digest: digestOf(KEY.secret), settleWithinMs: 0 } as const;
    const byOld = await world.authority(ACME).lease({ ...asked, policy: "api", nonce: "old" });
    expect(byOld.tokens).toBe(1);
  });

  it("says what the shadow has let in, and only of that", async () => {
    const world = await acme({ SHADOW_POLICIES: "api" }, 1);
    expect(await said(world)).not.toHaveProperty("wouldHaveBeen");
    expect(await said(world)).toMatchObject({ verdict: "granted", tokens: 1, wouldHaveBeen: "rate_limited" });
    const strict = await acme({}, 1);
    await said(strict);
    expect(await said(strict)).not.toHaveProperty("wouldHaveBeen");
  });

  it("where it refuses stands for every request for as long as it is sure to", async () => {
    const world = await acme({}, 1);
    await said(world);
    const limited = await said(world, { wish: 1 });
    expect(limited).toMatchObject({ verdict: "rate_limited", tokens: 0, lease: { refusedForMs: LEASE_MS } });
    expect(limited.lease?.terms).toEqual(OPEN);
    await world.pass(1_000 * (limited.quota?.resetSeconds ?? 0) - 2 * SECOND);
    expect((await said(world, { wish: 1 })).lease?.refusedForMs).toBe(2 * SECOND);
    const elsewhere = { entrance: { host: "h.example", hostOwner: tenantIdOf("rival") } };
    expect(await said(world, elsewhere)).toMatchObject({
      verdict: "host_not_allowed",
      lease: { refusedForMs: 0, terms: null },
    });
    await world.authority(ACME).enableKey("k0", false, "tests");
    expect(await said(world)).toMatchObject({
      verdict: "key_disabled",
      lease: { refusedForMs: LEASE_MS, terms: null },
    });
    expect(await said(world, { digest: digestOf("nobody's") })).not.toHaveProperty("lease");
    expect((await said(world, { tenantId: tenantIdOf("rival") })).verdict).toBe("key_unknown");
  });

  it("about an address or a scope that a key is not good for stands for no other request", async () => {
    const world = await acme({
      KEY_MAC_SECRET: "m".repeat(32),
      SEALING_KEY: Buffer.alloc(32, 1).toString("base64"),
    });
    const authority = world.authority(ACME);
    await authority.setOriginKey("postiz-key", "tests");
    const terms = { scopes: ["read"], allowedNetworks: ["192.0.2.0/24"] } as const;
    const key = { name: "n", ...terms, expiresAtMs: null, apiPerMinute: null };
    const issued = await authority.issueKey(key, null, "tests");
    const digest = digestOf((issued.ok && issued.value.secret) || "");
    const at = { digest, clientAddress: "192.0.2.1" };
    expect((await said(world, at)).verdict).toBe("granted");
    for (const [more, verdict] of [
      [{ clientAddress: "198.51.100.1" }, "network_not_allowed"],
      [{ scope: "posts:write" }, "scope_insufficient"],
    ] as const) {
      expect(await said(world, { ...at, ...more })).toMatchObject({ verdict, lease: { refusedForMs: 0 } });
    }
  });

  it("where it refuses is no use of the key, and nothing that a change has to wait for where it knows no key", async () => {
    const world = await acme();
    const authority = world.authority(ACME);
    const lastUsedAt = () => {
      const usage = authority.usage(null);
      return usage.ok && usage.value.keys[0]?.lastUsedAt;
    };
    await said(world, { digest: digestOf("nobody's") });
    const changed = await authority.enableKey("k0", false, "tests");
    expect(changed).toMatchObject({ effectiveBy: new Date().toISOString() });
    expect(changed).not.toHaveProperty("degradedUntil");
    await said(world);
    expect(lastUsedAt()).toBeNull();
    await authority.enableKey("k0", true, "tests");
    await said(world);
    expect(lastUsedAt()).toBe(new Date().toISOString());
  });

  it("is that the key is unknown where there is no tenant yet, whoever is asked for", async () => {
    const world = new World();
    for (const tenantId of [ACME, null]) {
      expect((await said(world, { tenantId })).verdict).toBe("key_unknown");
    }
  });

  it("to a post that the origin has answered blocks posts for as long as it said, and else not", async () => {
    const world = await acme();
    const post = { policy: "posts", wish: 1 } as const;
    await said(world, { ...post, nonce: "post 1" });
    // Of the tenant, also where one key is asked about.
    for (const digest of [null, digestOf(KEY.secret)]) {
      const usage = world.authority(ACME).usage(digest);
      expect(usage.ok && usage.value.posts).toMatchObject({ remaining: 29, outstanding: 1 });
    }
    await world.authority(ACME).settle({ nonce: "post 1" });
    await said(world, { ...post, nonce: "post 2" });
    await world.authority(ACME).settle({ nonce: "unknown", originRetryAfterSeconds: 60 });
    expect((await said(world, { ...post, nonce: "post 3" })).verdict).toBe("granted");
    await world.authority(ACME).settle({ nonce: "post 3", originRetryAfterSeconds: 60 });
    const refused = await said(world, post);
    expect([refused.verdict, refused.quota?.resetSeconds]).toEqual(["rate_limited", 60]);
    await world.pass(60 * SECOND);
    expect((await said(world, post)).verdict).toBe("granted");
  });

  it("binds a change for as long as it lasts, and none that comes after that", async () => {
    const world = await acme({}, 600, 2);
    expect(await revoke(world, 1)).toEqual({ effectiveByMs: Date.now(), degradedUntilMs: Date.now() });
    const askedAtMs = Date.now();
    await said(world);
    await world.pass(LEASE_MS + MARGIN_MS - 1);
    const inTime = await world.authority(ACME).enableKey("k0", false, "tests");
    expect(inTime.ok && Date.parse(inTime.effectiveBy)).toBe(askedAtMs + LEASE_MS + MARGIN_MS);
    await world.pass(2);
    const late = await world.authority(ACME).enableKey("k0", true, "tests");
    expect(late.ok && Date.parse(late.effectiveBy)).toBe(Date.now());
  });
});

describe("versions side by side", () => {
  it("an isolate of the version before is granted one request, checked, void after AUTHORITY_TIMEOUT_MS", async () => {
    const world = await acme();
    const old = {
      v: 1,
      tenantId: ACME,
      digest: digestOf(KEY.secret),
      policy: "api",
      settleWithinMs: 0,
    } as const;
    const grant = await world.authority(ACME).lease({ ...old, nonce: "old" });
    expect(grant).toMatchObject({ verdict: "granted", tokens: 1, usableForMs: SECOND });
    expect(grant).not.toHaveProperty("lease");
  });

  it("an authority of the version before is asked for every request", async () => {
    const world = await acme();
    const authority = world.authority(ACME);
    const lease = authority.lease.bind(authority);
    // As it answered: it knew nothing of wishes.
    authority.lease = ({ wish: _, done: __, ...asked }) => lease(asked);
    const isolate = world.isolate();
    for (let i = 1; i <= 4; i++) {
      expect((await ask(world, isolate)).is).toBe("granted");
      expect(world.authorityCalls).toBe(i);
    }
  });
});

type Step =
  | { readonly kind: "requests"; readonly isolate: number; readonly key: number; readonly count: number }
  | { readonly kind: "old request"; readonly key: number }
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "clock"; readonly isolate: number; readonly ms: number }
  | { readonly kind: "new isolate"; readonly isolate: number }
  | { readonly kind: "network"; readonly delayMs: number; readonly lost: "nothing" | "asks" | "replies" }
  | { readonly kind: "evict" | "revoke" | "disable" | "enable" | "stale KV"; readonly key: number };

const ISOLATES = 3;
const KEYS = 2;
const isolate = fc.nat(ISOLATES - 1);
const key = fc.nat(KEYS - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("requests" as const),
      isolate,
      key,
      count: fc.integer({ min: 1, max: 30 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("old request" as const), key }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("wait" as const),
      ms: fc.oneof(fc.nat(2_000), fc.nat(8_000), fc.nat(70_000)),
    }),
  },
  // Set back by as much as it likes, while the isolate is awake; asleep, by no more than the margin.
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("clock" as const),
      isolate,
      ms: fc.integer({ min: -1_900, max: 20_000 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("new isolate" as const), isolate }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("network" as const),
      delayMs: fc.constantFrom(0, 0, 300, 900, 1_500),
      lost: fc.constantFrom("nothing", "nothing", "asks", "replies"),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom("evict", "revoke", "disable", "enable", "stale KV"), key }),
  },
);

/** Plays a schedule and holds everything that is let in against what was promised. */
class Schedule {
  readonly #world: World;
  readonly #limit: number;
  readonly #offsetsMs = Array.from({ length: ISOLATES }, () => 0);
  readonly #isolates: Deps[];
  readonly #stale: ReadonlyMap<string, string>;
  /** Instants at which each key was let in by what the authority granted. */
  readonly #admittedMs = Array.from({ length: KEYS }, (): number[] => []);
  readonly #effectiveByMs = Array.from({ length: KEYS }, () => Number.POSITIVE_INFINITY);
  readonly #degradedUntilMs = Array.from({ length: KEYS }, () => Number.POSITIVE_INFINITY);
  readonly #setBack = new Set<number>();
  #old = 0;

  constructor(world: World, limit: number) {
    this.#world = world;
    this.#limit = limit;
    this.#stale = new Map(world.credentials.stored);
    this.#isolates = this.#offsetsMs.map((_, i) => this.#isolate(i));
  }

  async play(step: Step): Promise<void> {
    const world = this.#world;
    switch (step.kind) {
      case "requests": {
        const isolate = this.#isolates[step.isolate];
        if (isolate === undefined) return;
        const asked = Array.from({ length: step.count }, () => this.#request(isolate, step.key));
        await world.pass(4_000);
        await Promise.all(asked);
        return;
      }
      case "old request":
        return this.#oldRequest(step.key);
      case "wait":
        return world.pass(step.ms);
      case "clock":
        if (step.ms < 0 && this.#setBack.has(step.isolate)) return;
        if (step.ms < 0) this.#setBack.add(step.isolate);
        this.#offsetsMs[step.isolate] = (this.#offsetsMs[step.isolate] ?? 0) + step.ms;
        return;
      case "new isolate":
        this.#isolates[step.isolate] = this.#isolate(step.isolate);
        return;
      case "network": {
        const pause = () => new Promise<void>((resolve) => setTimeout(resolve, step.delayMs / 2));
        world.before = async (method) => {
          if (method !== "lease") return;
          if (step.lost === "asks") throw new Error("lost on its way");
          if (step.delayMs > 0) await pause();
        };
        world.after = async (method) => {
          if (method !== "lease") return;
          if (step.lost === "replies") throw new Error("lost on its way back");
          if (step.delayMs > 0) await pause();
        };
        return;
      }
      case "evict":
        return world.evict(ACME);
      case "stale KV":
        for (const [name, record] of this.#stale) world.credentials.stored.set(name, record);
        return;
      default:
        return this.#change(step.kind, step.key);
    }
  }

  async #change(kind: "revoke" | "disable" | "enable", key: number): Promise<void> {
    const authority = this.#world.authority(ACME);
    const changed =
      kind === "revoke"
        ? await authority.revokeKeyById(`k${key}`, "tests")
        : await authority.enableKey(`k${key}`, kind === "enable", "tests");
    if (!changed.ok) return;
    const isEnabled = kind === "enable";
    this.#effectiveByMs[key] = isEnabled ? Number.POSITIVE_INFINITY : Date.parse(changed.effectiveBy);
    const degradedUntil = changed.degradedUntil ?? changed.effectiveBy;
    this.#degradedUntilMs[key] = isEnabled ? Number.POSITIVE_INFINITY : Date.parse(degradedUntil);
  }

  #isolate(i: number): Deps {
    return this.#world.isolate({}, new SteadyClock(() => Date.now() + (this.#offsetsMs[i] ?? 0)));
  }

  async #request(isolate: Deps, key: number): Promise<void> {
    const { is, degraded } = await ask(this.#world, isolate, keyOf(key));
    if (is === "granted") this.#admit(key, degraded);
  }

  /** As the version before asked, and admitted. */
  async #oldRequest(key: number): Promise<void> {
    const askedAtMs = Date.now();
    const asked = { v: 1, tenantId: ACME, digest: digestOf(keyOf(key).secret), policy: "api" } as const;
    const grant = await this.#world
      .authority(ACME)
      .lease({ ...asked, nonce: `old-${this.#old++}`, settleWithinMs: 0 });
    if (grant.verdict !== "granted" || Date.now() - askedAtMs >= grant.usableForMs) return;
    this.#admit(key, false);
  }

  #admit(key: number, degraded: boolean): void {
    const nowMs = Date.now();
    const untilMs = (degraded ? this.#degradedUntilMs : this.#effectiveByMs)[key] ?? 0;
    if (nowMs >= untilMs) throw new Error(`key ${key} was let in ${nowMs - untilMs} ms after its end`);
    // Nobody counts where the authority can't be asked.
    if (degraded) return;
    const admitted = this.#admittedMs[key] ?? [];
    const inTheWindow = admitted.filter((atMs) => nowMs - atMs < WINDOW_MS).length;
    if (inTheWindow >= this.#limit) throw new Error(`${inTheWindow + 1} of ${this.#limit} in one window`);
    admitted.push(nowMs);
  }
}

it("in any schedule no limit is exceeded and nothing is let in after effectiveBy", async () => {
  const limit = fc.constantFrom(1, 3, 20, 200);
  await fc.assert(
    fc.asyncProperty(limit, fc.array(step, { minLength: 1, maxLength: 40 }), async (apiPerMinute, steps) => {
      const world = await acme({}, apiPerMinute, KEYS);
      const schedule = new Schedule(world, apiPerMinute);
      for (const each of steps) await schedule.play(each);
      vi.useRealTimers();
    }),
    { numRuns: Number(process.env["RUNS"] ?? 60) },
  );
}, 300_000);
