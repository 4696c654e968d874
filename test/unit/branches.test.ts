/** Branches: objects that count the requests of a busy tenant's keys, in virtual time. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { type BranchName, branchOf } from "../../src/authority/branch-name.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { type Credential, digestOf } from "../../src/credential/credential.ts";
import type { Deps } from "../../src/deps.ts";
import { pause } from "../../src/timeout.ts";
import {
  ACME,
  acme,
  admitted,
  ask,
  branchedAcme,
  branchOfKey,
  KEY,
  keyOf,
  LEASE_MS,
  MARGIN_MS,
  makeBusy,
  revoke,
  SECOND,
  TENANT,
  WINDOW_MS,
} from "../support/leases.ts";
import { WISH } from "../support/wish.ts";
import { says, World } from "../support/world.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** As KV shows it to those who are behind. */
const UNBRANCHED = JSON.stringify({
  v: 1,
  tenantId: ACME,
  keyId: "k0",
  kind: "api_key",
  state: "active",
  generation: 1,
});

/** A tenant whose authority has opened branches, and to which nothing has been entrusted yet. */
async function busyAcme(vars: Record<string, string> = {}, apiPerMinute = 600, keys = 1): Promise<World> {
  const world = await acme(vars, apiPerMinute, keys);
  await makeBusy(world);
  return world;
}

/** Names of the objects that were called, with the method, in their order. */
function watchCalls(world: World): string[] {
  const calls: string[] = [];
  world.before = (method, name) => void calls.push(`${name} ${method}`);
  return calls;
}

describe("a tenant's authority opens branches", () => {
  const isBranched = async (world: World) => {
    const asked = { v: 1, tenantId: ACME, digest: digestOf(KEY.secret), policy: "api" } as const;
    const grant = await world
      .authority(ACME)
      .lease({ ...asked, nonce: "n", settleWithinMs: 0, wish: 0, canBranch: true });
    return grant.branched === true;
  };

  it("when it has 15,000 calls in a minute, and not for one less", async () => {
    for (const [calls, opens] of [
      [14_999, false],
      [15_000, true],
    ] as const) {
      const world = await acme();
      await makeBusy(world, calls);
      await world.pass(60 * SECOND);
      expect(await isBranched(world)).toBe(opens);
    }
  });

  it("also when what is asked goes together, each call counting once", async () => {
    const world = await acme();
    const about = { v: 1, tenantId: ACME, digest: digestOf(KEY.secret), policy: "api" } as const;
    const asks = [0, 1].map((i) => ({ ...about, nonce: `n${i}`, settleWithinMs: 0, wish: 0 }));
    for (let calls = 0; calls < 14_998; calls++) await world.authority(ACME).leaseAll(asks);
    const [last] = await world.authority(ACME).leaseAll(asks);
    expect(last).not.toHaveProperty("branched");
    expect(await isBranched(world)).toBe(true);
  });

  it("not where as many calls take longer", async () => {
    const world = await acme();
    for (let times = 0; times < 3; times++) {
      await makeBusy(world, 14_999);
      await world.pass(60 * SECOND);
    }
    expect(await isBranched(world)).toBe(false);
  });

  it("for good: also after it has left memory", async () => {
    const world = await busyAcme();
    await world.pass(600 * SECOND);
    world.evict(ACME);
    expect(await isBranched(world)).toBe(true);
  });

  it("not where every request is to ask, and not of a credential that can still be linked", async () => {
    const world = await acme({ LEASE_TTL: "0" });
    await makeBusy(world, 15_000);
    expect(await isBranched(world)).toBe(false);
    const stranger = { kind: "api_key", secret: digestOf("a key of Postiz") } as const;
    const unlinked = new World({ LEARN_FROM_ORIGIN: "true" });
    const { result } = await unlinked.ask(unlinked.isolate(), stranger);
    const { tenantId = "" } = result.ok ? result.value : {};
    const about = {
      v: 1,
      digest: digestOf(stranger.secret),
      policy: "api",
      settleWithinMs: 0,
      wish: 0,
    } as const;
    const once = (i: number) =>
      unlinked.authority(tenantId).lease({ ...about, tenantId: tenantIdOf(tenantId), nonce: `n${i}` });
    for (let i = 0; i < 15_000; i++) await once(i);
    expect(await once(15_000)).toMatchObject({ verdict: "granted" });
    expect(await once(15_001)).not.toHaveProperty("branched");
  });
});

describe("a key of a tenant with branches", () => {
  it("is asked about at its branch; the tenant's own object hears of it no more than what it entrusts", async () => {
    const world = await branchedAcme({}, 600, 2);
    const calls = watchCalls(world);
    const isolates = [world.isolate(), world.isolate()];
    for (const isolate of isolates)
      for (const i of [0, 1]) expect((await ask(world, isolate, keyOf(i))).is).toBe("granted");
    expect(calls.filter((call) => call === `${TENANT} lease`)).toEqual([]);
    expect(calls.toSorted()).toEqual(
      [
        `${TENANT} entrust`,
        `${TENANT} entrust`,
        ...[0, 1].flatMap((i) => Array(2).fill(`${branchOfKey(i)} leaseAtBranch`)),
      ].toSorted(),
    );
  });

  it("is asked about there by an isolate that knew it before, at its next ask", async () => {
    const world = await acme();
    const [early, late] = [world.isolate(), world.isolate()];
    for (const isolate of [early, late]) await ask(world, isolate);
    await makeBusy(world);
    await world.pass(LEASE_MS);
    // One hears of branches with its next answer, and the other is sent there.
    for (let times = 0; times < 2; times++) {
      await ask(world, early);
      await world.pass(30 * SECOND + LEASE_MS);
    }
    const calls = watchCalls(world);
    expect((await ask(world, late)).is).toBe("granted");
    expect(calls).toEqual([`${TENANT} lease`, `${branchOfKey(0)} leaseAtBranch`, `${TENANT} entrust`]);
  });

  it("has one limit, whoever has granted what: before, there, or to who can't be sent there", async () => {
    const limit = 40;
    const world = await acme({}, limit);
    const before = await admitted(world, [world.isolate()], 10);
    expect(before).toBe(10);
    await makeBusy(world);
    const isolates = [world.isolate(), world.isolate(), world.isolate()];
    let count = before + (await admitted(world, isolates, 30));
    const old = {
      v: 1,
      tenantId: ACME,
      digest: digestOf(KEY.secret),
      policy: "api",
      settleWithinMs: 0,
    } as const;
    for (let i = 0; i < 30; i++) {
      const grant = await world.authority(ACME).lease({ ...old, nonce: `old ${i}` });
      if (grant.verdict === "granted") count++;
      await ask(world, isolates[i % 3] as Deps);
    }
    expect(count).toBeLessThanOrEqual(limit);
    expect((await ask(world, world.isolate())).is).toBe("rate_limited");
  });

  it("gets the same tokens for an ask that is repeated at the branch", async () => {
    const world = await acme();
    const about = { v: 1, tenantId: ACME, digest: digestOf(KEY.secret), policy: "api" } as const;
    const asked = { ...about, settleWithinMs: 0, wish: 5, nonce: "once", canBranch: true } as const;
    const first = await world.authority(ACME).lease(asked);
    await makeBusy(world);
    const again = await world.named(branchOfKey(0)).leaseAtBranch(branchOfKey(0), asked);
    expect(again).toMatchObject({ verdict: "granted", tokens: first.tokens });
    const usage = await world.authority(ACME).usage(null);
    expect(usage.ok && usage.value.keys[0]?.api).toMatchObject({ remaining: 595, outstanding: 5 });
  });

  it("that has two secrets has one limit for both", async () => {
    const world = await acme({ KEY_MAC_SECRET: "m".repeat(32), SEALING_KEY: `${"s".repeat(43)}=` });
    const authority = world.authority(ACME);
    await authority.setOriginKey("the key of Postiz's own", "tests");
    const issued = await authority.issueKey({ ...WISH, apiPerMinute: 10 }, null, "tests");
    if (!issued.ok) throw new Error(issued.detail);
    const rotated = await authority.rotateKey(issued.value.key.id, 600 * SECOND, "tests");
    if (!rotated.ok) throw new Error(rotated.detail);
    await makeBusy(world);
    const isolate = world.isolate();
    const keys = [issued.value.secret, rotated.secret].map((secret): Credential => {
      return { kind: "gateway_key", secret: secret ?? "" };
    });
    let count = 0;
    for (let i = 0; i < 40; i++) {
      const { result } = await world.ask(isolate, keys[i % 2] as Credential);
      if (result.ok && result.value.grant.verdict === "granted") {
        expect(result.value.originKey).toBe("the key of Postiz's own");
        count++;
      }
      if (i === 3) await world.pass(LEASE_MS);
    }
    expect(count).toBe(10);
  });

  it("is refused at the latest at effectiveBy, also by isolates that can't ask", async () => {
    for (const cut of [false, true]) {
      const world = await branchedAcme();
      const isolate = world.isolate();
      expect((await ask(world, isolate)).is).toBe("granted");
      const { effectiveByMs, degradedUntilMs } = await revoke(world);
      expect(effectiveByMs - Date.now()).toBeLessThanOrEqual(2 * LEASE_MS + MARGIN_MS);
      if (cut) world.before = () => Promise.reject(new Error("the object can't be reached"));
      const untilMs = cut ? degradedUntilMs : effectiveByMs;
      while (Date.now() + SECOND < untilMs) {
        await ask(world, isolate);
        await world.pass(SECOND);
      }
      await world.pass(untilMs - Date.now());
      expect((await ask(world, isolate)).is).toBe(cut ? "authority_unavailable" : "key_revoked");
    }
  });

  it("is let in again once it is enabled, and unknown once its tenant is deleted", async () => {
    const world = await branchedAcme();
    const authority = world.authority(ACME);
    const isolate = world.isolate();
    for (const [enabled, is] of [
      [false, "key_disabled"],
      [true, "granted"],
    ] as const) {
      await authority.enableKey("k0", enabled, "tests");
      await world.pass(2 * LEASE_MS + MARGIN_MS);
      expect((await ask(world, isolate)).is).toBe(is);
    }
    await authority.deleteTenant(null, "tests");
    await world.pass(2 * LEASE_MS + MARGIN_MS);
    expect((await ask(world, isolate)).is).toBe("key_revoked");
  });

  it("has a new limit when its operator says so", async () => {
    const world = await branchedAcme({}, 100);
    await world.authority(ACME).changeKey("k0", { apiPerMinute: 3 }, null, "tests");
    await world.pass(2 * LEASE_MS + MARGIN_MS);
    expect(await admitted(world, [world.isolate()], 10)).toBe(3);
  });

  it("is shown with what its branch has counted, and when it was used last", async () => {
    const world = await branchedAcme({}, 600, 2);
    const isolate = world.isolate();
    for (let i = 0; i < 5; i++) await ask(world, isolate);
    const usedAt = new Date().toISOString();
    await world.pass(2 * LEASE_MS);
    // With the next renewal of what is entrusted.
    await ask(world, isolate);
    await world.pass(1);
    const usage = await world.authority(ACME).usage(null);
    if (!usage.ok) throw new Error(usage.detail);
    const [first, second] = usage.value.keys;
    expect(first?.api?.remaining).toBeLessThanOrEqual(595);
    expect(first?.lastUsedAt).toBe(usedAt);
    expect(second?.api?.remaining).toBe(600);
    const about = {
      v: 1,
      tenantId: ACME,
      digest: digestOf(KEY.secret),
      policy: "api",
      settleWithinMs: 0,
    } as const;
    const looked = await world.authority(ACME).look({ ...about, entrance: null });
    expect(looked).toMatchObject({ verdict: "granted", quota: { remaining: first?.api?.remaining } });
  });

  it("leaves posts to the tenant's own object, and what became of its tokens to the branch", async () => {
    const world = await branchedAcme();
    const isolate = world.isolate();
    await ask(world, isolate);
    // What it holds is over, and is to be told.
    await world.pass(31 * SECOND);
    const calls = watchCalls(world);
    expect(await admitted(world, [isolate], 32, "posts")).toBe(30);
    expect(new Set(calls)).toEqual(new Set([`${TENANT} lease`]));
    await ask(world, isolate);
    const usage = await world.authority(ACME).usage(null);
    // One was used, the other one not, and one is new.
    expect(usage.ok && usage.value.keys[0]?.api).toMatchObject({ remaining: 598, outstanding: 1 });
  });

  it("that Postiz has refused is left to the tenant's own object, until Postiz accepts it again", async () => {
    const world = await branchedAcme();
    const isolate = world.isolate();
    await ask(world, isolate);
    world.origin = says.noKey;
    const about = { v: 1, tenantId: ACME, digest: digestOf(KEY.secret), kind: "api_key" } as const;
    const heard = { subscribed: null, expiresAtMs: null, ageMs: 0, askedAtMs: Date.now(), generation: 0 };
    await world.authority(ACME).testify({ ...about, ...heard, active: false });
    await world.pass(2 * LEASE_MS + MARGIN_MS);
    expect((await ask(world, isolate)).is).toBe("key_unknown");
    world.origin = says.yes;
    await world.pass(600 * SECOND);
    const calls = watchCalls(world);
    for (let i = 0; i < 2; i++) {
      expect((await ask(world, isolate)).is).toBe("granted");
      await world.pass(2 * LEASE_MS);
    }
    expect(calls.slice(-2)).toEqual([`${branchOfKey(0)} leaseAtBranch`, `${TENANT} entrust`]);
  });

  it("that is a token is left to the tenant's own object, whose answers about it age", async () => {
    const world = await busyAcme();
    const token: Credential = { kind: "oauth_token", secret: `pos_${"t".repeat(40)}` };
    const digest = digestOf(token.secret);
    const line = { type: "token", tenantId: ACME, digest, keyId: "t0", name: "", expiresAtMs: null } as const;
    await world.authority(ACME).import(ACME, [{ ...line, apiPerMinute: null }], "tests");
    await world.pass(1);
    const isolate = world.isolate();
    const calls = watchCalls(world);
    for (let i = 0; i < 3; i++) {
      expect((await ask(world, isolate, token)).is).toBe("granted");
      await world.pass(40 * SECOND);
    }
    expect(calls.filter((call) => !call.startsWith(`${TENANT} `))).toEqual([]);
    const branch = branchOf(TENANT, "t0");
    const trust = await world
      .authority(ACME)
      .entrust({ v: 1, branch, digests: [digest], wishForMs: LEASE_MS, uses: [] });
    expect(trust).toMatchObject({ entrusted: [] });
  });

  it("is asked about in the time of one ask, also where that is sent elsewhere", async () => {
    const world = await branchedAcme({ AUTHORITY_FAILURE: "deny" });
    world.before = () => pause(0.7 * SECOND);
    world.credentials.stored.set(digestOf(KEY.secret), UNBRANCHED);
    const began = Date.now();
    let tookMs = 0;
    const asking = ask(world, world.isolate()).then(({ is }) => {
      tookMs = Date.now() - began;
      return is;
    });
    await world.pass(3 * SECOND);
    expect([await asking, tookMs]).toEqual(["authority_unavailable", SECOND]);
  });

  it("whose branch does not answer goes on degraded, and the tenant's other keys as ever", async () => {
    // So small a limit that tokens are given one by one, and each request asks.
    const world = await branchedAcme({}, 15, 2);
    const isolate = world.isolate();
    for (const i of [0, 1]) await ask(world, isolate, keyOf(i));
    const calls: string[] = [];
    world.before = (method, name) => {
      calls.push(`${name} ${method}`);
      if (name === branchOfKey(0)) throw new Error("the object can't be reached");
    };
    for (let i = 0; i < 3; i++) {
      expect(await ask(world, isolate, keyOf(0))).toEqual({ is: "granted", degraded: true });
      expect(await ask(world, isolate, keyOf(1))).toEqual({ is: "granted", degraded: false });
    }
    // It is asked once a second.
    expect(calls.filter((call) => call.startsWith(branchOfKey(0)))).toHaveLength(1);
  });
});

describe("a branch", () => {
  it("that has left memory has forgotten nothing that it granted", async () => {
    const limit = 12;
    const world = await branchedAcme({}, limit);
    let count = 0;
    for (let life = 0; life < 4; life++) {
      count += await admitted(world, [world.isolate()], 5);
      world.evictNamed(branchOfKey(0));
    }
    expect(count).toBeLessThanOrEqual(limit);
    expect((await ask(world, world.isolate())).is).toBe("rate_limited");
  });

  it("asks the tenant's own object about once in a lease, however many isolates ask it", async () => {
    const world = await branchedAcme({}, 100_000);
    const isolates = Array.from({ length: 50 }, () => world.isolate());
    const calls = watchCalls(world);
    for (let second = 0; second < 60; second++) {
      await Promise.all(isolates.map((isolate) => ask(world, isolate)));
      await world.pass(SECOND);
    }
    const entrusted = calls.filter((call) => call === `${TENANT} entrust`).length;
    expect(calls.length - entrusted).toBeGreaterThan(500);
    expect(entrusted).toBeLessThanOrEqual(60 / 5 + 1);
  });

  const tookMs = 900;
  const ASKED = {
    v: 1,
    tenantId: ACME,
    digest: digestOf(KEY.secret),
    policy: "api",
    settleWithinMs: 0,
    wish: 1,
  } as const;
  let asked = 0;
  const askBranch = (world: World) =>
    world.named(branchOfKey(0)).leaseAtBranch(branchOfKey(0), { ...ASKED, nonce: `asked ${asked++}` });

  it("that hears nothing from the tenant's own object goes on until what it heard is over, counted from its ask", async () => {
    const world = await branchedAcme();
    world.after = (method) => (method === "entrust" ? pause(tookMs) : undefined);
    const first = askBranch(world);
    await world.pass(tookMs);
    expect(await first).toMatchObject({ verdict: "granted", lease: { forMs: LEASE_MS } });
    world.before = (method) => {
      if (method === "entrust") throw new Error("the object can't be reached");
    };
    await world.pass(2 * LEASE_MS - SECOND - tookMs);
    expect(await askBranch(world)).toMatchObject({ verdict: "granted", lease: { forMs: SECOND } });
    await world.pass(1);
    await expect(askBranch(world)).rejects.toThrow("the tenant's object failed a moment ago");
    await world.pass(SECOND);
    await expect(askBranch(world)).rejects.toThrow("the object can't be reached");
  });

  it("decides on what is entrusted when it decides, and not when it was told", async () => {
    const world = await busyAcme({}, 600, 60);
    await world.pass(10 * SECOND);
    const names = Array.from({ length: 60 }, (_, i) => branchOfKey(i));
    const second = names.findIndex((name, i) => names.indexOf(name) < i);
    const [first, name] = [names.indexOf(names[second] as BranchName), names[second] as BranchName];
    const told: (() => void)[] = [];
    world.after = (method) =>
      method === "entrust" ? new Promise((resolve) => told.push(resolve)) : undefined;
    const askAbout = (i: number) => {
      const about = { ...ASKED, digest: digestOf(keyOf(i).secret), nonce: `about ${i}` };
      return world.named(name).leaseAtBranch(name, about);
    };
    const asking = [askAbout(first)];
    await world.pass(1);
    await world.authority(ACME).changeTenant({ name: "Another" }, null, "tests");
    asking.push(askAbout(second));
    await world.pass(1);
    world.after = () => {};
    // Both are told at once, of one epoch each.
    for (const tell of told) tell();
    await world.pass(1);
    expect((await Promise.all(asking)).map(({ verdict }) => verdict)).toEqual(["granted", "granted"]);
  });

  it("tells again when keys were used, where it was not heard", async () => {
    const world = await branchedAcme();
    await askBranch(world);
    const usedAt = new Date().toISOString();
    await world.pass(LEASE_MS + SECOND);
    const lastUsedAt = async () => {
      const usage = await world.authority(ACME).usage(null);
      return usage.ok && usage.value.keys[0]?.lastUsedAt;
    };
    let isLost = true;
    world.before = (method) => {
      if (isLost && method === "entrust") throw new Error("the object can't be reached");
    };
    await world.named(branchOfKey(0)).lookAtBranch(branchOfKey(0), ASKED);
    await world.pass(SECOND);
    isLost = false;
    await world.named(branchOfKey(0)).lookAtBranch(branchOfKey(0), ASKED);
    await world.pass(1);
    expect(await lastUsedAt()).toBe(usedAt);
  });

  it("believes nothing that it was told before its clock was set back", async () => {
    const world = await branchedAcme();
    await ask(world, world.isolate());
    const calls = watchCalls(world);
    vi.setSystemTime(Date.now() - SECOND);
    await ask(world, world.isolate());
    expect(calls).toContain(`${TENANT} entrust`);
  });

  it("of the version before leaves everything to the tenant's own object", async () => {
    const world = await busyAcme({}, 40);
    world.before = (method) => {
      if (method.endsWith("AtBranch"))
        throw new TypeError(`The RPC receiver does not implement the method "${method}".`);
    };
    const isolates = [world.isolate(), world.isolate()];
    expect(await admitted(world, isolates, 100)).toBeLessThanOrEqual(40);
    await world.pass(2 * WINDOW_MS);
    expect((await ask(world, world.isolate())).is).toBe("granted");
  });

  it("is entrusted with no key that another one counts", async () => {
    const world = await busyAcme({}, 600, 2);
    const digests = [0, 1].map((i) => digestOf(keyOf(i).secret));
    const trust = await world
      .authority(ACME)
      .entrust({ v: 1, branch: branchOfKey(0), digests, wishForMs: LEASE_MS, uses: [] });
    expect(trust?.entrusted.map(({ key }) => key.keyId)).toEqual(["k0"]);
  });
});

describe("what is entrusted", () => {
  const entrust = (world: World, more: { digests?: readonly string[]; wishForMs?: number } = {}) =>
    world.authority(ACME).entrust({
      ...{ v: 1, branch: branchOfKey(0), digests: [digestOf(KEY.secret)], wishForMs: LEASE_MS, uses: [] },
      ...more,
    });

  it("is nothing of a tenant that is not busy, or has been deleted: its own object goes on deciding", async () => {
    const quiet = await acme();
    expect(await entrust(quiet)).toBeNull();
    expect((await ask(quiet, quiet.isolate())).is).toBe("granted");
    const deleted = await busyAcme();
    await deleted.authority(ACME).deleteTenant(null, "tests");
    expect(await entrust(deleted)).toBeNull();
    expect((await ask(deleted, deleted.isolate())).is).toBe("key_revoked");
  });

  it("lasts as long as was wished for, two time-outs at least, LEASE_TTL_MAX at most", async () => {
    const world = await busyAcme();
    for (const [wishForMs, forMs] of [
      [0, 2 * SECOND],
      [2_001, 2_001],
      [1e9, 30 * SECOND],
    ] as const) {
      expect((await entrust(world, { wishForMs }))?.forMs).toBe(forMs);
    }
  });

  it("is told to KV ten keys a second, so that nothing else waits for it", async () => {
    const keys = 300;
    const world = await acme({}, 600, keys);
    // What was imported goes first.
    await world.pass(SECOND);
    await makeBusy(world);
    for (let i = 0; i < keys; i++) {
      const branch = branchOfKey(i);
      const digests = [digestOf(keyOf(i).secret)];
      await world.authority(ACME).entrust({ v: 1, branch, digests, wishForMs: LEASE_MS, uses: [] });
    }
    const before = world.credentials.writes;
    for (let tenth = 0; tenth < 10; tenth++) await world.pass(100);
    expect(world.credentials.writes - before).toBeGreaterThanOrEqual(9);
    expect(world.credentials.writes - before).toBeLessThanOrEqual(11);
  });

  it("of another format is not relied on", async () => {
    const world = await branchedAcme();
    world.garbles = (method) => method === "entrust";
    const isolate = world.isolate({ AUTHORITY_FAILURE: "deny" });
    await world.pass(60 * SECOND);
    expect((await ask(world, isolate)).is).toBe("authority_unavailable");
  });
});
