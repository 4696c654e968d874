/** A tenant's authority under other secrets, over the same database: what a rotation of the gateway's own secrets does. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DIRECTORY_MIGRATIONS, Directory } from "../../src/authority/directory.ts";
import type { LeaseAsk } from "../../src/authority/protocol.ts";
import { TenantAuthority } from "../../src/authority/tenant-authority.ts";
import { type TenantId, tenantIdOf } from "../../src/authority/tenant-id.ts";
import { digestOf } from "../../src/credential/credential.ts";
import type { Env } from "../../src/env.ts";
import { authenticityOf, readGatewayKey } from "../../src/gateway-key/format.ts";
import { muteConsole } from "../support/mute-console.ts";
import { memoryStorage } from "../support/sqlite.ts";
import { WISH } from "../support/wish.ts";
import { contextOf } from "../support/world.ts";

const base64 = (byte: number) => Buffer.alloc(32, byte).toString("base64");
const OLD = { KEY_MAC_SECRET: "a".repeat(32), SEALING_KEY: base64(1) };
const ROTATED = {
  KEY_MAC_SECRET: "b".repeat(32),
  KEY_MAC_SECRET_PREVIOUS: OLD.KEY_MAC_SECRET,
  SEALING_KEY: base64(2),
  SEALING_KEY_PREVIOUS: OLD.SEALING_KEY,
};
const NEW = { KEY_MAC_SECRET: ROTATED.KEY_MAC_SECRET, SEALING_KEY: ROTATED.SEALING_KEY };

let storage: ReturnType<typeof memoryStorage>;
let directory: Directory;
let directoryFails: boolean;

beforeEach(() => {
  storage = memoryStorage();
  directoryFails = false;
  directory = new Directory(contextOf(memoryStorage(DIRECTORY_MIGRATIONS)), {} as Env);
  muteConsole("error");
});
afterEach(() => vi.restoreAllMocks());

/** The object as it wakes up with these variables. */
function authority(vars: object): TenantAuthority {
  const reachable = {
    claim: async (digest: string, tenantId: TenantId) => directory.claim(digest, tenantId),
    confirm: async (digest: string, tenantId: TenantId) => directory.confirm(digest, tenantId),
    tell: async (...told: Parameters<Directory["tell"]>) => {
      if (directoryFails) throw new Error("the directory was reset");
      directory.tell(...told);
    },
  };
  const env = {
    CREDENTIALS: { put: async () => {} },
    INTROSPECTION: { put: async () => {} },
    TENANT_AUTHORITY: {},
    DIRECTORY: { getByName: () => reachable },
    ORIGIN_URL: "https://postiz.example.com/api",
    ...vars,
  };
  return new TenantAuthority(contextOf(storage), env as unknown as Env);
}

async function issue(vars: object): Promise<string> {
  const issued = await authority(vars).issueKey(WISH, null, "tests");
  return (issued.ok && issued.value.secret) || "";
}

let nonces = 0;
const ask = (secret: string, more: Partial<LeaseAsk> = {}): LeaseAsk => ({
  ...{ v: 1, tenantId: null, digest: digestOf(secret), policy: "api", settleWithinMs: 0, scope: "read" },
  nonce: `n${nonces++}`,
  ...more,
});

async function acme(): Promise<void> {
  await authority(OLD).createTenant(tenantIdOf("acme"), "Acme", "tests");
  await authority(OLD).setOriginKey("postiz-key", "tests");
}

describe("rotating SEALING_KEY", () => {
  it("opens what the previous key sealed, and seals it anew when it is used: then the previous may go", async () => {
    await acme();
    const secret = await issue(OLD);
    expect((await authority(NEW).lease(ask(secret))).verdict).toBe("origin_key_unreadable");
    expect(authority(ROTATED).lease(ask(secret))).toMatchObject({
      verdict: "granted",
      originKey: "postiz-key",
    });
    expect(authority(NEW).lease(ask(secret))).toMatchObject({ verdict: "granted", originKey: "postiz-key" });
    expect((await authority(OLD).lease(ask(secret))).verdict).toBe("origin_key_unreadable");
  });

  it("an idle tenant is moved by asking for it, again and again without harm", async () => {
    await acme();
    expect([authority(ROTATED).reseal(), authority(ROTATED).reseal(), authority(NEW).reseal()]).toEqual([
      true,
      true,
      true,
    ]);
    expect(authority(OLD).reseal()).toBe(false);
  });

  it("a tenant without a Postiz key has nothing to move", async () => {
    await authority(OLD).createTenant(tenantIdOf("acme"), "Acme", "tests");
    expect(authority(NEW).reseal()).toBeNull();
  });
});

describe("rotating KEY_MAC_SECRET", () => {
  it("keys of either secret are genuine meanwhile, and the authority lets both in", async () => {
    await acme();
    const secrets = [await issue(OLD), await issue(ROTATED)];
    for (const secret of secrets) {
      const key = readGatewayKey(secret);
      const macSecrets = { current: ROTATED.KEY_MAC_SECRET, previous: ROTATED.KEY_MAC_SECRET_PREVIOUS };
      expect(key && authenticityOf(key, macSecrets)).toBe("genuine");
      expect((await authority(ROTATED).lease(ask(secret))).verdict).toBe("granted");
    }
  });
});

describe("a lease of a gateway key", () => {
  it("without a word about scope or address, as the version before asks, gives no more than the key allows", async () => {
    await acme();
    const narrow = await authority(OLD).issueKey({ ...WISH, scopes: ["read"] }, null, "tests");
    const secret = (narrow.ok && narrow.value.secret) || "";
    const { scope: _, ...silent } = ask(secret);
    expect((await authority(OLD).lease(silent)).verdict).toBe("scope_insufficient");
    await authority(OLD).putKey({ digest: digestOf("plain"), keyId: "plain" });
    expect(
      (await authority(OLD).lease({ ...silent, tenantId: tenantIdOf("acme"), digest: digestOf("plain") }))
        .verdict,
    ).toBe("granted");
  });

  it("refused uses nothing up", async () => {
    await acme();
    const wish = { ...WISH, scopes: ["read"], apiPerMinute: 1, allowedNetworks: ["192.0.2.0/24"] } as const;
    const issued = await authority(OLD).issueKey(wish, null, "tests");
    const secret = (issued.ok && issued.value.secret) || "";
    const object = authority(OLD);
    const inside = { clientAddress: "192.0.2.1" };
    expect((await object.lease(ask(secret, { ...inside, scope: "posts:write" }))).verdict).toBe(
      "scope_insufficient",
    );
    expect((await object.lease(ask(secret))).verdict).toBe("network_not_allowed");
    expect((await object.lease(ask(secret, inside))).verdict).toBe("granted");
    expect((await object.lease(ask(secret, inside))).verdict).toBe("rate_limited");
  });

  it("ends no later than the key does", async () => {
    await acme();
    const nowMs = Date.now();
    const issued = await authority(OLD).issueKey({ ...WISH, expiresAtMs: nowMs + 400 }, null, "tests");
    const secret = (issued.ok && issued.value.secret) || "";
    expect((await authority(OLD).lease(ask(secret))).usableForMs).toBeLessThanOrEqual(400);
  });
});

describe("a deleted tenant", () => {
  it("lets nobody in any more, whatever is put in or learnt afterwards", async () => {
    await acme();
    const secret = await issue(OLD);
    await authority(OLD).deleteTenant(null, "tests");
    const object = authority(OLD);
    expect((await object.lease(ask(secret))).verdict).toBe("key_revoked");
    await expect(object.putTenant({ id: tenantIdOf("acme"), name: "Acme" })).rejects.toThrow("was deleted");
    await expect(object.putKey({ digest: digestOf("late"), keyId: "late" })).rejects.toThrow();
    const nowMs = Date.now();
    const yes = {
      active: true,
      subscribed: true,
      expiresAtMs: null,
      ageMs: 0,
      askedAtMs: nowMs,
      generation: 0,
    };
    const told = {
      v: 1,
      tenantId: tenantIdOf("acme"),
      digest: digestOf("learnt"),
      kind: "api_key",
      ...yes,
    } as const;
    expect((await object.testify(told)).counts).toBe(false);
    for (const each of ["late", "learnt"])
      expect((await object.lease(ask(each))).verdict).toBe("key_revoked");
    expect((await object.issueKey(WISH, null, "tests")).ok).toBe(false);
  });
});

describe("the audit", () => {
  it("reaches the operators once their directory answers again, each line once", async () => {
    directoryFails = true;
    await acme();
    await issue(OLD);
    expect(directory.audit(Number.MAX_SAFE_INTEGER, 10)).toEqual([]);
    expect(storage.alarmAtMs).not.toBeNull();
    directoryFails = false;
    const object = authority(OLD);
    await object.alarm();
    await object.alarm();
    const told = directory.audit(Number.MAX_SAFE_INTEGER, 10).map(({ entry }) => entry.action);
    expect(told).toEqual(["key.create", "tenant.origin_key", "tenant.create"]);
  });

  it("holds no secret, before or after", async () => {
    await acme();
    const secret = await issue(OLD);
    const text = JSON.stringify(authority(OLD).audit(Number.MAX_SAFE_INTEGER, 10));
    for (const each of [secret, digestOf(secret), "postiz-key"]) expect(text).not.toContain(each);
  });
});

describe("a directory that does not confirm", () => {
  it("costs nobody the key that has just been made", async () => {
    await acme();
    vi.spyOn(directory, "confirm").mockImplementation(() => {
      throw new TypeError("confirm is not a function");
    });
    const secret = await issue(OLD);
    expect((await authority(OLD).lease(ask(secret))).verdict).toBe("granted");
  });
});

describe("a key with a predecessor", () => {
  it("that is ended ends both", async () => {
    await acme();
    const issued = await authority(OLD).issueKey(WISH, null, "tests");
    const [id, first] = issued.ok ? [issued.value.key.id, issued.value.secret ?? ""] : ["", ""];
    const rotated = await authority(OLD).rotateKey(id, 2_592_000_000, "tests");
    const second = ("secret" in rotated && rotated.secret) || "";
    await authority(OLD).changeKey(id, { expiresAtMs: 1 }, null, "tests");
    const object = authority(OLD);
    for (const secret of [first, second])
      expect((await object.lease(ask(secret))).verdict).toBe("key_expired");
  });

  it("that is changed writes nothing about those that were revoked before", async () => {
    await acme();
    const issued = await authority(OLD).issueKey(WISH, null, "tests");
    const id = issued.ok ? issued.value.key.id : "";
    for (let i = 0; i < 3; i++) await authority(OLD).rotateKey(id, 0, "tests");
    await authority(OLD).alarm();
    const before = storage.sql.exec("SELECT digest FROM outbox").toArray().length;
    await authority(OLD).changeKey(id, { name: "renamed" }, null, "tests");
    expect(storage.sql.exec("SELECT digest FROM outbox").toArray().length).toBe(before + 1);
  });

  it("keeps the limits that a change says nothing of", async () => {
    await acme();
    await authority(OLD).putKey({ digest: digestOf("k"), keyId: "k", limits: { postsPerHour: 1 } });
    await authority(OLD).changeKey("k", { apiPerMinute: 5 }, null, "tests");
    const object = authority(OLD);
    const posts = { tenantId: tenantIdOf("acme"), digest: digestOf("k"), policy: "posts" } as const;
    expect((await object.lease(ask("k", posts))).verdict).toBe("granted");
    expect((await object.lease(ask("k", posts))).verdict).toBe("rate_limited");
  });
});

describe("a deleted tenant's data", () => {
  it("is gone, but for digests, ids and the audit", async () => {
    await acme();
    const named = { ...WISH, name: "a name that tells", allowedNetworks: ["192.0.2.0/24"] };
    await authority(OLD).issueKey(named, { idempotencyKey: "i", bodyDigest: "b" }, "tests");
    await authority(OLD).deleteTenant(null, "tests");
    const left = ["tenant", "key", "replay", "introspection"].map((table) =>
      JSON.stringify(storage.sql.exec(`SELECT * FROM ${table}`).toArray()),
    );
    for (const secret of ["a name that tells", "192.0.2.0", "Acme"])
      expect(left.join()).not.toContain(secret);
  });
});

describe("a credential that another tenant has claimed meanwhile", () => {
  it("is taken back: the directory's word is the last", async () => {
    await acme();
    vi.spyOn(directory, "confirm").mockReturnValue(false);
    const secret = await issue(OLD);
    expect((await authority(OLD).lease(ask(secret))).verdict).toBe("key_unknown");
    // Neither a record nor a tombstone of this tenant's may be written over the other's.
    expect(storage.sql.exec("SELECT digest FROM outbox").toArray()).toEqual([]);
  });
});
