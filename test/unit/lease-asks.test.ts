/** What an isolate asks a tenant's authority, and what it is answered, in virtual time. */
import { afterEach, describe, expect, it, vi } from "vitest";
import type { LeaseAsk } from "../../src/authority/protocol.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { digestOf } from "../../src/credential/credential.ts";
import {
  ACME,
  acme,
  ask,
  KEY,
  keyOf,
  LEASE_MS,
  MARGIN_MS,
  makeBusy,
  revoke,
  SECOND,
} from "../support/leases.ts";
import { muteConsole } from "../support/mute-console.ts";
import { World } from "../support/world.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
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

  it("is nothing further where it says that it is overloaded while others wait for their turn", async () => {
    const world = await acmeShown({ AUTHORITY_FAILURE: "deny" }, 404);
    const before = world.authorityCalls;
    world.before = async () => {
      await new Promise((resolve) => setTimeout(resolve, 20));
      throw Object.assign(new Error("overloaded"), { overloaded: true, retryable: true });
    };
    const asked = askAll(world, 404);
    await world.pass(0.9 * SECOND);
    expect(new Set((await asked).map(({ is }) => is))).toEqual(new Set(["authority_unavailable"]));
    expect(world.authorityCalls - before).toBe(4);
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
    const [first, second, third] = await world.authority(ACME).leaseAll([about(0), odd, about(1)]);
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
    const usage = await world.authority(ACME).usage(null);
    expect(usage.ok && usage.value.keys[0]?.api).toMatchObject({ outstanding: 0 });
  });

  it("near the limit is of a single token while it is asked seldom, of more the more it is asked, and of none ahead", async () => {
    const world = await acme({}, 160);
    // An eighth of what is left is more than that.
    let remaining = 160;
    while (remaining >= 40) remaining = (await said(world, { wish: 20 })).quota?.remaining ?? 0;
    const near = { wish: 4 } as const;
    expect(await said(world, { wish: 5 })).toMatchObject({ verdict: "granted", tokens: 4 });
    expect(await said(world, { ...near, ahead: true })).toMatchObject({ verdict: "granted", tokens: 0 });
    expect(await said(world, near)).toMatchObject({ verdict: "granted", tokens: 1 });
    await makeBusy(world, 125);
    expect(await said(world, { wish: 4, ahead: true })).toMatchObject({ verdict: "granted", tokens: 2 });
    await makeBusy(world, 250);
    expect(await said(world, near)).toMatchObject({ verdict: "granted", tokens: 4 });
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
    const lastUsedAt = async () => {
      const usage = await authority.usage(null);
      return usage.ok && usage.value.keys[0]?.lastUsedAt;
    };
    await said(world, { digest: digestOf("nobody's") });
    const changed = await authority.enableKey("k0", false, "tests");
    expect(changed).toMatchObject({ effectiveBy: new Date().toISOString() });
    expect(changed).not.toHaveProperty("degradedUntil");
    await said(world);
    expect(await lastUsedAt()).toBeNull();
    await authority.enableKey("k0", true, "tests");
    await said(world);
    expect(await lastUsedAt()).toBe(new Date().toISOString());
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
      const usage = await world.authority(ACME).usage(digest);
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
