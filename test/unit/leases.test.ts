/**
 * Leases: many isolates that decide by themselves, and one authority that has promised what they may. The real code of both,
 * over a real SQLite, in virtual time.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { afterEach, describe, expect, it, vi } from "vitest";
import { claimFor } from "../../src/authority/claim.ts";
import { unlinkedIdOf } from "../../src/authority/tenant-id.ts";
import { SteadyClock } from "../../src/clock.ts";
import { type Credential, digestOf } from "../../src/credential/credential.ts";
import { deny } from "../../src/denial.ts";
import {
  ACME,
  acme,
  admitted,
  ask,
  cutOff,
  KEY,
  keyOf,
  LEASE_MS,
  MARGIN_MS,
  revoke,
  SECOND,
  WINDOW_MS,
} from "../support/leases.ts";
import { says, World } from "../support/world.ts";

/** Enough to fill every memory twice over; a million with `npm run test:full`. */
const CREDENTIALS = Number(process.env["CREDENTIALS"] ?? 40_000);

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

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
      // Every call of the clock is written down by the tests' own.
      if (i % 1_000 === 0) vi.mocked(performance.now).mockClear();
      await isolate.leases.ask(credential, claim, question, { nonce: `n${i}`, ...occasion });
    }
    vi.mocked(performance.now).mockClear();
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
        const { usage } = { usage: await world.authority(ACME).usage(null) };
        const outstanding = usage.ok ? (usage.value.keys[0]?.api?.outstanding ?? 0) : 0;
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
    const usage = await world.authority(ACME).usage(null);
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
    const usage = await world.authority(ACME).usage(null);
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

  it.each([
    ["two thirds", 300, 0],
    ["nine tenths, when a window or two have passed,", 222, 12],
  ])(
    "%s of one can be used from many isolates, each of which is asked seldom",
    async (_, limit, unwatched) => {
      const [isolates, everyMs] = [40, 12_000];
      const world = await acme({}, limit);
      const some = Array.from({ length: isolates }, () => world.isolate());
      const outcomes = new Set<string>();
      for (let turn = 0; turn < 25; turn++) {
        for (const isolate of some) {
          await world.pass(everyMs / isolates);
          const { is } = await ask(world, isolate);
          if (turn >= unwatched) outcomes.add(is);
        }
      }
      expect(outcomes).toEqual(new Set(["granted"]));
    },
  );

  it("near one a busy isolate still waits seldom", async () => {
    const world = await acme({}, 600);
    const isolate = world.isolate();
    await ask(world, isolate);
    let waited = 0;
    for (let tick = 0; tick < 1_000; tick++) {
      await world.pass(120);
      if ((await world.ask(isolate, KEY)).decidedBy !== "lease") waited++;
    }
    expect(waited).toBeLessThanOrEqual(20);
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
    const usage = await world.authority(ACME).usage(null);
    expect(usage.ok && usage.value.keys[0]?.api?.remaining).toBe(0);
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
    const usage = await authority.usage(null);
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
