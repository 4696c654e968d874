/** What a branch, or who asks it, does when something goes wrong; in virtual time. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { Branch } from "../../src/authority/branch.ts";
import { branchOf } from "../../src/authority/branch-name.ts";
import { Ledger } from "../../src/authority/ledger.ts";
import type { LeaseAsk } from "../../src/authority/protocol.ts";
import { tagOf } from "../../src/authority/tag.ts";
import { unlinkedIdOf } from "../../src/authority/tenant-id.ts";
import { readConfig } from "../../src/config.ts";
import { type Credential, digestOf } from "../../src/credential/credential.ts";
import { pause } from "../../src/timeout.ts";
import {
  ACME,
  acme,
  ask,
  branchedAcme,
  branchOfKey,
  KEY,
  keyOf,
  LEASE_MS,
  makeBusy,
  revoke,
  SECOND,
  TENANT,
  WINDOW_MS,
} from "../support/leases.ts";
import { memoryStorage } from "../support/sqlite.ts";
import { WISH } from "../support/wish.ts";
import type { World } from "../support/world.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const ABOUT = {
  v: 1,
  tenantId: ACME,
  digest: digestOf(KEY.secret),
  policy: "api",
  settleWithinMs: 0,
} as const;
const TOKEN: Credential = { kind: "oauth_token", secret: `pos_${"t".repeat(40)}` };
const SEALING = { KEY_MAC_SECRET: "m".repeat(32), SEALING_KEY: `${"s".repeat(43)}=` };
const BRANCH = branchOfKey(0);
let asked = 0;
const atBranch = (world: World, more: Partial<LeaseAsk> = { wish: 1 }) =>
  world.named(BRANCH).leaseAtBranch(BRANCH, { ...ABOUT, ...more, nonce: `asked ${asked++}` });
const lookAtBranch = (world: World) => world.named(BRANCH).lookAtBranch(BRANCH, ABOUT);

const lineOf = (keyId: string, digest: string, apiPerMinute: number | null = 600) => {
  return { tenantId: ACME, digest, keyId, name: "", expiresAtMs: null, apiPerMinute };
};

/** Acme, with as many keys again that the branch of its first one counts. */
async function crowded(keys: number, apiPerMinute = 600) {
  const world = await acme();
  const ids: string[] = [];
  for (let i = 0; ids.length < keys; i++) if (branchOf(TENANT, `m${i}`) === BRANCH) ids.push(`m${i}`);
  const some = ids.map((keyId): { key: Credential; keyId: string; digest: string } => {
    const key: Credential = { kind: "api_key", secret: digestOf(keyId) };
    return { key, keyId, digest: digestOf(key.secret) };
  });
  const lines = some.map(
    ({ keyId, digest }) => ({ type: "api_key", ...lineOf(keyId, digest, apiPerMinute) }) as const,
  );
  await world.authority(ACME).import(ACME, lines, "tests");
  await world.pass(1);
  return { world, some };
}

async function withToken(world: World, apiPerMinute: number | null = null): Promise<void> {
  const line = { type: "token", ...lineOf("t0", digestOf(TOKEN.secret), apiPerMinute) } as const;
  await world.authority(ACME).import(ACME, [line], "tests");
  await world.pass(1);
}

/** How often the tenant's own object is asked what is entrusted, and may be overloaded by it. */
function countEntrusts(world: World, isOverloaded = false) {
  const seen = { count: 0 };
  world.before = (method) => {
    if (method !== "entrust") return;
    seen.count++;
    if (isOverloaded) throw Object.assign(new Error("overloaded"), { overloaded: true });
  };
  return seen;
}

describe("a branch whose clock was set back", () => {
  it("lets nobody in on what was entrusted before, also no isolate of the version before", async () => {
    const world = await branchedAcme();
    await atBranch(world);
    await revoke(world);
    world.before = (method) => {
      if (method === "entrust") throw new Error("the object can't be reached");
    };
    vi.setSystemTime(Date.now() - SECOND);
    const answer = await atBranch(world, {}).catch(() => null);
    expect(answer?.verdict).not.toBe("granted");
  });

  it("answers the next request all the same", async () => {
    const world = await branchedAcme();
    await ask(world, world.isolate());
    vi.setSystemTime(Date.now() - SECOND);
    expect((await ask(world, world.isolate())).is).toBe("granted");
  });
});

describe("a branch that is down", () => {
  it("takes no other credential of its tenant with it, though the tenant's own object has sent somebody there", async () => {
    const world = await acme(SEALING, 15);
    const authority = world.authority(ACME);
    await authority.setOriginKey("the key of Postiz's own", "tests");
    const issued = await authority.issueKey({ ...WISH, apiPerMinute: 600 }, null, "tests");
    if (!issued.ok || issued.value.secret === null) throw new Error("not issued");
    const gatewayKey: Credential = { kind: "gateway_key", secret: issued.value.secret };
    await withToken(world, 15);
    await makeBusy(world);
    const branch = branchOf(TENANT, issued.value.key.id);
    const digests = [digestOf(gatewayKey.secret)];
    const trust = await authority.entrust({ v: 1, branch, digests, wishForMs: LEASE_MS, uses: [] });
    expect(trust?.entrusted).toHaveLength(1);
    const isolate = world.isolate();
    await ask(world, isolate, TOKEN);
    const calls: string[] = [];
    world.before = (method, name) => {
      calls.push(`${name} ${method}`);
      if (name === branch) throw new Error("the object can't be reached");
    };
    for (let i = 0; i < 6; i++) {
      expect(await ask(world, isolate, gatewayKey)).toEqual({ is: "authority_unavailable", degraded: false });
      expect(await ask(world, isolate, TOKEN)).toEqual({ is: "granted", degraded: false });
    }
    // Once it has been sent there, it goes there by itself.
    expect(calls.filter((call) => call === `${branch} leaseAtBranch`)).toHaveLength(6);
    expect(calls.filter((call) => call === `${TENANT} lease`)).toHaveLength(1 + 6);
  });

  it("delays no other credential that an isolate of the version before asks about in the same call", async () => {
    const world = await branchedAcme({}, 600, 1);
    await withToken(world);
    await ask(world, world.isolate(), TOKEN);
    world.before = (_, name) => (name === BRANCH ? pause(60 * SECOND) : undefined);
    const asks = [
      { ...ABOUT, nonce: "a", wish: 1 },
      { ...ABOUT, digest: digestOf(TOKEN.secret), nonce: "b", wish: 1 },
    ];
    const began = Date.now();
    let tookMs = -1;
    const answered = world
      .authority(ACME)
      .leaseAll(asks)
      .then(() => {
        tookMs = Date.now() - began;
      });
    await world.pass(2 * SECOND);
    expect(tookMs).toBeGreaterThanOrEqual(0);
    expect(tookMs).toBeLessThanOrEqual(SECOND);
    await world.pass(60 * SECOND);
    await answered;
  });

  it("makes its keys' usage unknown, and no other's", async () => {
    const world = await branchedAcme({}, 600, 2);
    for (const fault of [
      () => Promise.reject(new Error("the object can't be reached")),
      () => new Promise<void>(() => {}),
    ]) {
      world.before = (_, name) => (name === BRANCH ? fault() : undefined);
      const asking = world.authority(ACME).usage(null);
      await world.pass(SECOND);
      const usage = await asking;
      expect(usage.ok && usage.value.keys.map(({ api }) => api?.remaining ?? null)).toEqual([null, 600]);
    }
  });
});

describe("a branch asks its tenant's own object", () => {
  it("once a second where that is overloaded, while what it was told lasts", async () => {
    const world = await branchedAcme({}, 100_000);
    await atBranch(world);
    await world.pass(LEASE_MS + SECOND);
    const seen = countEntrusts(world, true);
    for (let i = 0; i < 40; i++) {
      await atBranch(world);
      await world.pass(10);
    }
    expect(seen.count).toBeLessThanOrEqual(2);
  });

  it("once a second where that is overloaded, when what it was told is over", async () => {
    const world = await branchedAcme({}, 100_000);
    const seen = countEntrusts(world, true);
    for (let i = 0; i < 40; i++) {
      await atBranch(world).catch(() => {});
      await world.pass(10);
    }
    expect(seen.count).toBeLessThanOrEqual(2);
  });

  it("no more often where it is told less than it wished for, as by another configuration", async () => {
    const world = await branchedAcme({}, 100_000);
    const authority = world.authority(ACME);
    const entrust = authority.entrust.bind(authority);
    authority.entrust = (asked) => entrust({ ...asked, wishForMs: Math.min(asked.wishForMs, LEASE_MS - 1) });
    const seen = countEntrusts(world, false);
    await atBranch(world);
    for (let i = 0; i < 100; i++) {
      await atBranch(world);
      await world.pass(30);
    }
    expect(seen.count).toBeLessThanOrEqual(4);
  });

  it("in the background, also where leases are short", async () => {
    const world = await branchedAcme({ LEASE_TTL: "1" }, 100_000);
    await atBranch(world);
    world.before = (method) => (method === "entrust" ? pause(300) : undefined);
    let slowest = 0;
    for (let i = 0; i < 40; i++) {
      const began = Date.now();
      const asking = atBranch(world).then(() => {
        slowest = Math.max(slowest, Date.now() - began);
      });
      for (let j = 0; j < 10; j++) await world.pass(50);
      await asking;
    }
    expect(slowest).toBeLessThan(300);
  });

  it("once after a change of the tenant, and not about each key", async () => {
    const { world, some } = await crowded(20);
    await makeBusy(world);
    const askAll = () => Promise.all(some.map(({ digest }) => atBranch(world, { digest, wish: 1 })));
    await askAll();
    const seen = countEntrusts(world);
    await askAll();
    expect(seen.count).toBe(0);
    await world.authority(ACME).changeTenant({ name: "Another" }, null, "tests");
    // What is renewed in the background brings another epoch.
    await world.pass(LEASE_MS + SECOND);
    await askAll();
    await world.pass(1);
    await askAll();
    expect(seen.count).toBe(1);
  });

  it("in vain where that is of the version before, which goes on counting, about any number of keys at once", async () => {
    const { world, some } = await crowded(12);
    for (const { digest, keyId } of some) {
      const record = {
        v: 1,
        tenantId: ACME,
        keyId,
        kind: "api_key",
        state: "active",
        generation: 1,
        branched: true,
      };
      world.credentials.stored.set(digest, JSON.stringify(record));
    }
    world.before = (method) => {
      if (method === "entrust")
        throw new TypeError('The RPC receiver does not implement the method "entrust".');
    };
    const isolate = world.isolate();
    const asking = Promise.all(some.map(({ key }) => ask(world, isolate, key)));
    await world.pass(2 * SECOND);
    expect(new Set((await asking).map(({ is }) => is))).toEqual(new Set(["granted"]));
  });
});

describe("what a branch is told late, or again", () => {
  it("does not set back when a key was used last", async () => {
    const world = await branchedAcme();
    await atBranch(world);
    await world.pass(LEASE_MS + SECOND);
    world.before = async (method) => {
      if (method !== "entrust") return;
      await pause(900);
      throw new Error("the object can't be reached");
    };
    await lookAtBranch(world);
    await world.pass(500);
    const usedAt = new Date().toISOString();
    await atBranch(world);
    await world.pass(500 + SECOND);
    world.before = () => {};
    await lookAtBranch(world);
    await world.pass(1);
    const usage = await world.authority(ACME).usage(null);
    expect(usage.ok && usage.value.keys[0]?.lastUsedAt).toBe(usedAt);
  });

  it("about one key delays no other that was asked about in the same call", async () => {
    const { world, some } = await crowded(1);
    const digest = some[0]?.digest ?? "";
    await makeBusy(world);
    await atBranch(world);
    world.before = (method) => (method === "entrust" ? pause(60 * SECOND) : undefined);
    const began = Date.now();
    let tookMs = -1;
    const asking = world
      .named(BRANCH)
      .leaseAllAtBranch(BRANCH, [
        { ...ABOUT, wish: 1, nonce: "a" },
        { ...ABOUT, digest, wish: 1, nonce: "b" },
      ])
      .then(() => {
        tookMs = Date.now() - began;
      });
    await world.pass(900);
    expect(tookMs).toBeGreaterThanOrEqual(0);
    await world.pass(60 * SECOND);
    await asking;
  });

  it("of grants counts, also where its tenant's own object has counted by itself for a while", async () => {
    const world = await branchedAcme({}, 10);
    await atBranch(world);
    const authority = world.authority(ACME);
    const entrust = authority.entrust.bind(authority);
    const grant = { nonce: "of the version before", policy: "api", partition: "k0", tokens: 10 } as const;
    const untilMs = Date.now() + 30 * SECOND;
    // Its ledger as it is after it has counted by itself.
    authority.entrust = async (asked) => {
      const trust = await entrust(asked);
      if (trust === null) return trust;
      const counted = [{ ...grant, usable_until_ms: untilMs, counts_until_ms: untilMs + WINDOW_MS }];
      return { ...trust, entrusted: trust.entrusted.map((each) => ({ ...each, counted })) };
    };
    await authority.changeTenant({ name: "Another" }, null, "tests");
    await world.pass(2 * LEASE_MS);
    expect((await atBranch(world)).verdict).toBe("rate_limited");
  });
});

describe("a key that is imported", () => {
  it("does not have KV wait for the records of all that are entrusted", async () => {
    const world = await acme({}, 600, 300);
    await world.pass(60 * SECOND);
    await makeBusy(world);
    for (let i = 0; i < 300; i++) {
      const asked = {
        v: 1,
        branch: branchOfKey(i),
        digests: [digestOf(keyOf(i).secret)],
        wishForMs: LEASE_MS,
        uses: [],
      } as const;
      await world.authority(ACME).entrust(asked);
    }
    await vi.advanceTimersByTimeAsync(1);
    const digest = digestOf("a new one".padEnd(64, "x"));
    await world.authority(ACME).import(ACME, [{ type: "api_key", ...lineOf("new", digest) }], "tests");
    let alarms = 0;
    while (!world.credentials.stored.has(digest) && alarms < 50) {
      alarms++;
      await world.authority(ACME).alarm();
    }
    // Each writes 20, one after the other.
    expect(alarms).toBeLessThanOrEqual(2);
  });
});

describe("a tenant's object that is reset", () => {
  it("is asked once more, as for a deployment, and nobody notices", async () => {
    const world = await branchedAcme();
    let times = 0;
    world.before = (method) => {
      if (method === "entrust" && times++ === 0) throw Object.assign(new Error("reset"), { retryable: true });
    };
    expect(await ask(world, world.isolate())).toEqual({ is: "granted", degraded: false });
    expect(times).toBe(2);
  });
});

describe("a key that is new to its branch, while the tenant's object is overloaded,", () => {
  it("does no harm to one that has been entrusted to it", async () => {
    // Of so few, tokens are given one by one: every request asks.
    const { world, some } = await crowded(2, 15);
    const [known, fresh] = some;
    if (known === undefined || fresh === undefined) throw new Error("there are two");
    await makeBusy(world);
    const isolate = world.isolate({ AUTHORITY_FAILURE: "deny" });
    for (let times = 0; times < 2; times++) {
      await ask(world, isolate, known.key);
      await world.pass(LEASE_MS);
    }
    // One answer of the tenant's own object says where the next ask about it is to go.
    await ask(world, isolate, fresh.key);
    await world.pass(LEASE_MS);
    await ask(world, isolate, known.key);
    countEntrusts(world, true);
    expect((await ask(world, isolate, known.key)).is).toBe("granted");
    expect((await ask(world, isolate, fresh.key)).is).toBe("authority_unavailable");
    for (let i = 0; i < 4; i++) {
      expect(await ask(world, isolate, known.key)).toEqual({ is: "granted", degraded: false });
    }
  });
});

describe("a credential that is linked to a tenant with branches", () => {
  it("is served where it was known before, also when a branch counts it already", async () => {
    const world = await branchedAcme({ LEARN_FROM_ORIGIN: "true" });
    const stranger: Credential = { kind: "api_key", secret: digestOf("a key of Postiz") };
    const [knew, other] = [world.isolate(), world.isolate()];
    for (const isolate of [knew, other]) await ask(world, isolate);
    await ask(world, knew, stranger);
    await world.pass(SECOND);
    const line = { type: "api_key", ...lineOf("linked", digestOf(stranger.secret)) } as const;
    await world.authority(ACME).import(ACME, [line], "tests");
    await world.pass(LEASE_MS);
    for (let i = 0; i < 3; i++) {
      await ask(world, other, stranger);
      await world.pass(31 * SECOND);
    }
    const calls: string[] = [];
    world.before = (method, name) => void calls.push(`${name} ${method}`);
    for (let i = 0; i < 3; i++) {
      expect(await ask(world, knew, stranger)).toEqual({ is: "granted", degraded: false });
      await world.pass(31 * SECOND);
    }
    // No object is woken that counts nothing.
    const ownNames = [TENANT, tagOf(unlinkedIdOf(digestOf(stranger.secret))), branchOf(TENANT, "linked")];
    expect(calls.filter((call) => !ownNames.some((name) => call.startsWith(`${name} `)))).toEqual([]);
  });
});

describe("usage of a key whose branch has not heard what it was entrusted", () => {
  it("is a range: what is left for certain is what the tenant's own object knows", async () => {
    const limit = 40;
    const world = await acme({}, limit);
    const some = [world.isolate(), world.isolate(), world.isolate()];
    let count = 0;
    for (let i = 0; i < 30; i++)
      if ((await ask(world, some[i % 3] ?? world.isolate())).is === "granted") count++;
    await makeBusy(world);
    world.after = (method) => {
      if (method === "entrust") throw new Error("lost");
    };
    const isolate = world.isolate();
    for (let i = 0; i < 3; i++) {
      await ask(world, isolate);
      await world.pass(LEASE_MS);
    }
    const usage = await world.authority(ACME).usage(null);
    const api = usage.ok ? usage.value.keys[0]?.api : undefined;
    expect(api?.remaining).toBeLessThanOrEqual(limit - count);
    expect((api?.remaining ?? 0) + (api?.outstanding ?? 0)).toBeGreaterThanOrEqual(limit - count);
  });
});

describe("LEASE_TTL=0, where branches have been opened before", () => {
  it("every request asks the tenant's own object, and a revoked key is refused by the next", async () => {
    const world = await branchedAcme();
    const isolate = world.isolate({ LEASE_TTL: "0" });
    world.before = () => {};
    const without = { ...ABOUT, wish: 1 } as const;
    const branch = new Branch(world.env(), new Ledger(memoryStorage().sql));
    const config = readConfig(world.env({ LEASE_TTL: "0" }));
    if (!config.ok) throw new Error("the configuration is good");
    const at = (nonce: string) => branch.lease(BRANCH, { ...without, nonce }, config.config);
    expect((await at("a")).verdict).toBe("granted");
    await revoke(world);
    expect((await at("b")).verdict).not.toBe("granted");
    expect((await ask(world, isolate)).is).toBe("key_revoked");
  });
});
