/** A credential that was a tenant of its own is imported to a tenant: schedules that could break it. */
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { ImportLine, ImportResult } from "../../src/authority/import-writer.ts";
import { tagOf } from "../../src/authority/tag.ts";
import { type TenantId, tenantIdOf, unlinkedIdOf } from "../../src/authority/tenant-id.ts";
import { type Credential, digestOf } from "../../src/credential/credential.ts";
import type { PolicyName } from "../../src/quota/policy.ts";
import { says, World } from "../support/world.ts";

const KEY: Credential = { kind: "api_key", secret: "a".repeat(64) };
const OTHER: Credential = { kind: "api_key", secret: "b".repeat(64) };
const TOKEN: Credential = { kind: "oauth_token", secret: `pos_${"Tk1".repeat(13)}A` };
const ACME = tenantIdOf("acme");
const RIVAL = tenantIdOf("rival");
const UNLINKED = unlinkedIdOf(digestOf(KEY.secret));
const HOUR_MS = 3_600_000;
const LEASE_MS = 5_000;

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const line = (credential: Credential, more: Partial<{ tenantId: TenantId; keyId: string }> = {}) =>
  ({
    type: credential.kind === "oauth_token" ? "token" : "api_key",
    tenantId: ACME,
    digest: digestOf(credential.secret),
    keyId: `key-${credential.secret.slice(0, 5)}`,
    name: "",
    expiresAtMs: null,
    ...more,
  }) as const;

/** Tenant acme has a key of its own; `KEY` has been learnt. */
async function learnt(): Promise<World> {
  const world = new World({ LEARN_FROM_ORIGIN: "true" });
  await importTo(world, ACME, [{ type: "tenant", tenantId: ACME, name: "Acme" }, line(OTHER)]);
  expect(await outcome(world, KEY)).toBe(`granted to ${UNLINKED}`);
  await world.pass(0);
  return world;
}

const importTo = (world: World, tenantId: TenantId, lines: ImportLine[]): Promise<ImportResult[]> =>
  world.authority(tenantId).import(tenantId, lines, "tests");

const link = async (world: World): Promise<ImportResult | undefined> =>
  (await importTo(world, ACME, [line(KEY)]))[0];

async function outcome(
  world: World,
  credential: Credential,
  policy: PolicyName = "api",
  isolate = world.isolate(),
): Promise<string> {
  const { result } = await world.ask(isolate, credential, { policy });
  if (!result.ok) return result.denial.reason;
  const { grant, tenantId } = result.value;
  return grant.verdict === "granted" ? `granted to ${tenantId}` : grant.verdict;
}

describe("a learnt credential that is imported", () => {
  it("goes on working, as its tenant's: at once, in KV, and for the directory", async () => {
    const world = await learnt();
    expect(await link(world)).toEqual({ result: "created" });
    expect(await outcome(world, KEY)).toBe("granted to acme");
    await world.pass(1);
    expect(world.ownerOf(digestOf(KEY.secret))).toBe("acme");
    expect(JSON.parse(world.credentials.stored.get(digestOf(KEY.secret)) ?? "")).toMatchObject({
      tenantId: "acme",
      state: "active",
    });
    expect(await link(world)).toEqual({ result: "unchanged" });
    const key = world.authority(ACME).key(line(KEY).keyId);
    expect(key.ok && key.value.lastUsedAt).not.toBeNull();
  });

  it("works where KV names the old tenant for ever, and after the first request without any", async () => {
    const world = await learnt();
    const stale = new Map(world.credentials.stored);
    await link(world);
    for (let minute = 0; minute < 3; minute++) {
      await world.pass(60_000);
      for (const [digest, record] of stale) world.credentials.stored.set(digest, record);
      const isolate = world.isolate();
      world.authorityCalls = 0;
      expect(await outcome(world, KEY, "api", isolate)).toBe("granted to acme");
      expect(world.authorityCalls).toBe(2);
      expect(await outcome(world, KEY, "api", isolate)).toBe("granted to acme");
      expect(world.authorityCalls).toBe(2);
    }
  });

  it("takes a token's answer along: its origin is not asked again", async () => {
    const world = await learnt();
    await outcome(world, TOKEN);
    await world.pass(1);
    world.originCalls = 0;
    await importTo(world, ACME, [line(TOKEN)]);
    expect(await outcome(world, TOKEN)).toBe("granted to acme");
    expect(world.originCalls).toBe(0);
    await world.pass(60_000);
    expect(await outcome(world, TOKEN)).toBe("granted to acme");
    expect(world.originCalls).toBe(1);
  });

  it("is not let go of where it could not be taken in", async () => {
    const world = await learnt();
    const [clash] = await importTo(world, ACME, [line(KEY, { keyId: line(OTHER).keyId })]);
    const [nobody] = await importTo(world, RIVAL, [line(KEY, { tenantId: RIVAL })]);
    const asToken = { ...line(KEY), type: "token" } as const;
    const [kind] = await importTo(world, ACME, [asToken]);
    expect([clash?.result, nobody?.result, kind]).toEqual([
      "rejected",
      "rejected",
      { result: "rejected", reason: "the gateway knows it as an api_key" },
    ]);
    expect(await outcome(world, KEY)).toBe(`granted to ${UNLINKED}`);
  });

  it("is linked once: another tenant is refused, before the directory knows and after", async () => {
    const world = await learnt();
    await link(world);
    const rival = () =>
      importTo(world, RIVAL, [
        { type: "tenant", tenantId: RIVAL, name: "Rival" },
        line(KEY, { tenantId: RIVAL }),
      ]);
    for (let twice = 0; twice < 2; twice++) {
      expect((await rival())[1]).toEqual({ result: "rejected", reason: "it belongs to another tenant" });
      await world.pass(1);
    }
    expect(await outcome(world, KEY)).toBe("granted to acme");
  });

  it("of two tenants at the same time, becomes one's", async () => {
    const world = await learnt();
    await importTo(world, RIVAL, [{ type: "tenant", tenantId: RIVAL, name: "Rival" }]);
    const results = await Promise.all([
      link(world),
      importTo(world, RIVAL, [line(KEY, { tenantId: RIVAL })]).then(([result]) => result),
    ]);
    expect(results.map((each) => each?.result).sort()).toEqual(["created", "rejected"]);
  });
});

describe("an import", () => {
  it("that lasts, and another of the same credential meanwhile, leave it with one of the two", async () => {
    for (const hangsMs of [5_000, 61_000]) {
      const world = await learnt();
      await importTo(world, RIVAL, [{ type: "tenant", tenantId: RIVAL, name: "Rival" }]);
      const fresh: Credential = { kind: "api_key", secret: "c".repeat(64) };
      let others: ImportResult[] = [];
      world.after = async (method) => {
        if (method !== "handOver") return;
        world.after = () => {};
        await world.pass(hangsMs);
        others = await importTo(world, RIVAL, [line(fresh, { tenantId: RIVAL })]);
      };
      const [, mine] = await importTo(world, ACME, [line(KEY), line(fresh)]);
      await world.pass(100_000);
      expect([mine?.result, others[0]?.result].sort()).toEqual(["created", "rejected"]);
      expect(await outcome(world, fresh)).toBe(`granted to ${mine?.result === "created" ? ACME : RIVAL}`);
      vi.useRealTimers();
    }
  });

  it("leaves what it does not mention as it is, and takes away only what it says is none", async () => {
    const world = await learnt();
    const authority = world.authority(ACME);
    const { keyId } = line(OTHER);
    const expiresAtMs = Date.now() + HOUR_MS;
    await authority.changeKey(
      keyId,
      { name: "mine", expiresAtMs, apiPerMinute: 5, scopes: ["read"] },
      null,
      "tests",
    );
    const { name: _, expiresAtMs: __, ...short } = line(OTHER);
    expect(await importTo(world, ACME, [short])).toEqual([{ result: "unchanged" }]);
    const key = authority.key(keyId);
    expect(key.ok && key.value).toMatchObject({ name: "mine", apiPerMinute: 5, scopes: ["read"] });
    await importTo(world, ACME, [{ ...short, expiresAtMs: null }]);
    const ended = authority.key(keyId);
    expect(ended.ok && [ended.value.expiresAt, ended.value.name]).toEqual([null, "mine"]);
  });

  it("changes neither the kind nor the id of what is there", async () => {
    const world = await learnt();
    const [kind] = await importTo(world, ACME, [{ ...line(OTHER), type: "token" }]);
    expect(kind).toEqual({ result: "rejected", reason: "the gateway knows it as an api_key" });
    const [id] = await importTo(world, ACME, [line(OTHER, { keyId: "else" })]);
    expect(id).toEqual({ result: "rejected", reason: `its key id is "${line(OTHER).keyId}"` });
  });

  it("without the directory leaves the credentials for the next time, and takes the rest", async () => {
    const world = await learnt();
    world.before = (method) => {
      if (method === "directory.claim") throw new Error("the directory was reset");
    };
    const fresh: Credential = { kind: "api_key", secret: "c".repeat(64) };
    const [tenant, key] = await importTo(world, ACME, [
      { type: "tenant", tenantId: ACME, name: "Renamed" },
      line(fresh),
    ]);
    expect([tenant?.result, key?.reason]).toEqual(["updated", expect.stringMatching(/bring the line again/)]);
  });
});

describe("what was used before counts afterwards", () => {
  const post = (world: World, credential: Credential) => outcome(world, credential, "posts");

  it("30 posts and 30 posts are 60: no more until the hour is over", async () => {
    const world = await learnt();
    for (let i = 0; i < 30; i++) {
      expect(await post(world, KEY)).toBe(`granted to ${UNLINKED}`);
      expect(await post(world, OTHER)).toBe("granted to acme");
    }
    await link(world);
    for (const each of [KEY, OTHER]) expect(await post(world, each)).toBe("rate_limited");
    // None was settled: each counts from the last instant at which it could have reached the origin.
    await world.pass(HOUR_MS);
    for (const each of [KEY, OTHER]) expect(await post(world, each)).toBe("rate_limited");
    await world.pass(60_000);
    for (let i = 0; i < 30; i++) expect(await post(world, i % 2 ? KEY : OTHER)).toBe("granted to acme");
    for (const each of [KEY, OTHER]) expect(await post(world, each)).toBe("rate_limited");
  });

  it("10 and 10 leave 10, also where both objects have left memory", async () => {
    const world = await learnt();
    for (let i = 0; i < 10; i++) await Promise.all([post(world, KEY), post(world, OTHER)]);
    world.evict(UNLINKED);
    await link(world);
    world.evict(ACME);
    const outcomes = [];
    for (let i = 0; i < 20; i++) outcomes.push(await post(world, KEY));
    expect(outcomes.filter((each) => each === "granted to acme")).toHaveLength(10);
  });

  it("a post that was on its way is settled, and the origin's own 429 is heard", async () => {
    const world = await learnt();
    const isolate = world.isolate();
    const { result } = await world.ask(isolate, KEY, { policy: "posts" });
    if (!result.ok) throw new Error("not granted");
    await link(world);
    await isolate.authority.settle(tagOf(UNLINKED), {
      nonce: "nonce-1",
      originRetryAfterSeconds: 100,
    });
    expect(await post(world, OTHER)).toBe("rate_limited");
    await world.pass(100_001);
    expect(await post(world, OTHER)).toBe("granted to acme");
  });

  it("what the old authority granted last bounds the new one's revocations", async () => {
    const world = await learnt();
    await outcome(world, KEY, "posts");
    const grantedAtMs = Date.now();
    await link(world);
    const revoked = await world.authority(ACME).revokeKeyById(line(KEY).keyId, "tests");
    expect(revoked.ok && Date.parse(revoked.effectiveBy)).toBe(grantedAtMs + LEASE_MS + 2_000);
  });
});

describe("between letting go and taking over", () => {
  /** Runs once the old authority has let go, before the new one hears of it. */
  function whenLetGo(world: World, work: () => Promise<void>): void {
    world.after = async (method) => {
      if (method !== "handOver") return;
      world.after = () => {};
      await work();
    };
  }

  it("a request waits, and is not refused", async () => {
    const world = await learnt();
    let waiting: Promise<string> | null = null;
    whenLetGo(world, async () => {
      waiting = outcome(world, KEY);
      await world.pass(500);
    });
    await link(world);
    await world.pass(100);
    expect(await waiting).toBe("granted to acme");
  });

  it("neither grants: where the answer is lost requests are 503, until the line is brought again", async () => {
    const world = await learnt();
    for (let i = 0; i < 30; i++) await outcome(world, KEY, "posts");
    whenLetGo(world, async () => {
      throw new Error("the object was reset");
    });
    expect((await link(world))?.reason).toMatch(/bring the line again/);
    const asked = outcome(world, KEY);
    await world.pass(5_000);
    expect(await asked).toBe("authority_unavailable");
    expect(await link(world)).toEqual({ result: "created" });
    expect(await outcome(world, KEY)).toBe("granted to acme");
    expect(await outcome(world, OTHER, "posts")).toBe("rate_limited");
  });

  it("a revocation before is kept, one in between is refused aloud, and one after holds everywhere", async () => {
    const before = await learnt();
    const [key] = before.authority(UNLINKED).imported("", 1);
    await before.authority(UNLINKED).revokeKeyById(key?.keyId ?? "", "tests");
    expect(await link(before)).toEqual({ result: "rejected", reason: "it was revoked, for good" });
    expect(await outcome(before, KEY)).toBe("key_revoked");

    const world = await learnt();
    const stale = new Map(world.credentials.stored);
    const isolate = world.isolate();
    await outcome(world, KEY, "api", isolate);
    let between: unknown;
    whenLetGo(world, async () => {
      between = await world.authority(UNLINKED).revokeKeyById(key?.keyId ?? "", "tests");
    });
    await link(world);
    expect(between).toMatchObject({ ok: false, detail: 'It is part of tenant "acme" now' });
    const { effectiveBy } = (await world.authority(ACME).revokeKeyById(line(KEY).keyId, "tests")) as {
      effectiveBy: string;
    };
    await world.pass(Date.parse(effectiveBy) - Date.now());
    for (const [digest, record] of stale) world.credentials.stored.set(digest, record);
    for (const each of [isolate, world.isolate()])
      expect(await outcome(world, KEY, "api", each)).toBe("key_revoked");
    expect(await link(world)).toEqual({ result: "rejected", reason: "it was revoked, for good" });
  });

  it("a token that is forgotten meanwhile is introspected anew, and Postiz's own limit is heard", async () => {
    const world = await learnt();
    const from = unlinkedIdOf(digestOf(TOKEN.secret));
    await outcome(world, TOKEN);
    const { result } = await world.ask(world.isolate(), TOKEN, { policy: "posts" });
    if (!result.ok) throw new Error("not granted");
    await world.pass(1);
    whenLetGo(world, async () => {
      await world.authority(from).forgetToken(digestOf(TOKEN.secret));
      const nonce = "nonce-2";
      await world.authority(from).settle({ nonce, originRetryAfterSeconds: 100 });
    });
    world.originCalls = 0;
    await importTo(world, ACME, [line(TOKEN)]);
    expect(await outcome(world, TOKEN)).toBe("granted to acme");
    expect(world.originCalls).toBe(1);
    expect(await outcome(world, OTHER, "posts")).toBe("rate_limited");
  });

  it("the version before lets nobody in, should it come back", async () => {
    const world = await learnt();
    await link(world);
    // What it looks at: the state of the key's row, of which it knows "active" and "revoked".
    const authority = world.authority(UNLINKED);
    expect(authority.has(digestOf(KEY.secret))).toBe(true);
    expect(authority.imported("", 9).map(({ disabled }) => disabled)).toEqual([true]);
  });

  it("the tenant may be deleted: the credential is refused by both", async () => {
    const world = await learnt();
    whenLetGo(world, async () => {
      await world.authority(ACME).deleteTenant(null, "tests");
    });
    expect(await link(world)).toEqual({ result: "rejected", reason: "the tenant was deleted" });
    expect(await outcome(world, KEY)).toBe("key_revoked");
    expect(await link(world)).toMatchObject({ result: "rejected" });
  });

  it("Postiz may refuse the key: that is heard by the new tenant's authority", async () => {
    const world = await learnt();
    const isolate = world.isolate();
    const { result } = await world.ask(isolate, KEY);
    if (!result.ok) throw new Error("not granted");
    await link(world);
    world.origin = says.noKey;
    isolate.leases.forget(KEY);
    await isolate.inquiries.confirm(KEY, result.value, result.value.grant.generation ?? 0, () => {});
    expect(await outcome(world, KEY, "api", isolate)).toBe("key_unknown");
    expect(await outcome(world, OTHER)).toBe("granted to acme");
  });
});

it("in any order of requests, link, revocation and evictions, no post is let in beyond the limit or after effectiveBy", async () => {
  const steps = fc.array(
    fc.constantFrom("post", "post elsewhere", "other post", "link", "evict", "wait", "late KV", "revoke"),
    { maxLength: 60 },
  );
  await fc.assert(
    fc.asyncProperty(steps, async (schedule) => {
      const world = await learnt();
      const stale = new Map(world.credentials.stored);
      const isolates = [world.isolate(), world.isolate()] as const;
      const granted: number[] = [];
      let linked = false;
      let effectiveByMs = Number.POSITIVE_INFINITY;
      const post = async (credential: Credential, isolate = isolates[0]) => {
        if (!(await outcome(world, credential, "posts", isolate)).startsWith("granted")) return;
        const nowMs = Date.now();
        const inTheHour = granted.filter((atMs) => nowMs - atMs < HOUR_MS);
        if (linked) expect(inTheHour.length).toBeLessThan(30);
        if (credential === KEY) expect(nowMs).toBeLessThan(effectiveByMs);
        granted.push(nowMs);
      };
      for (const step of schedule) {
        if (step === "post") for (let i = 0; i < 9; i++) await post(KEY);
        if (step === "post elsewhere") for (let i = 0; i < 9; i++) await post(KEY, isolates[1]);
        if (step === "other post") for (let i = 0; i < 9; i++) await post(OTHER);
        if (step === "link") linked = (await link(world))?.result !== "rejected" || linked;
        if (step === "evict") for (const id of [UNLINKED, ACME]) world.evict(id);
        if (step === "wait") await world.pass(20 * 60_000);
        if (step === "late KV") for (const [name, text] of stale) world.credentials.stored.set(name, text);
        if (step === "revoke") {
          const holder = world.authority(linked ? ACME : UNLINKED);
          const keyId = holder.imported("", 9).find(({ digest }) => digest === digestOf(KEY.secret))?.keyId;
          const revoked = await holder.revokeKeyById(keyId ?? "", "tests");
          if (revoked.ok) effectiveByMs = Math.min(effectiveByMs, Date.parse(revoked.effectiveBy));
        }
      }
      vi.useRealTimers();
    }),
    { numRuns: 40 },
  );
});
