/** Databases of earlier versions, opened by this one; and this one's, written by an earlier one after a rollback. */
import { describe, expect, it } from "vitest";
import { Registry } from "../../src/authority/registry.ts";
import { AUTHORITY_MIGRATIONS, migrate } from "../../src/authority/schema.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { memoryStorage } from "../support/sqlite.ts";

const DIGEST = "d".repeat(64);

/** What the first version wrote, word for word. */
const FIRST_TENANT =
  "INSERT INTO tenant (id, name, subscription_status, current_period_end_ms, limits) VALUES (?, ?, ?, ?, ?)";
const FIRST_KEY =
  "INSERT INTO key (digest, key_id, kind, state, expires_at_ms, limits, generation) VALUES (?, ?, ?, ?, ?, ?, ?)";

function writeAsFirst(storage: DurableObjectStorage): void {
  storage.sql.exec(FIRST_TENANT, "acme", "Acme", "active", null, '{"apiPerMinute":5}');
  storage.sql.exec(FIRST_KEY, DIGEST, "k1", "api_key", "active", null, "{}", 3);
}

const TENANT = {
  id: tenantIdOf("acme"),
  name: "Acme",
  status: "active",
  subscription: { status: "active", currentPeriodEndMs: null },
  tier: null,
  limits: { apiPerMinute: 5 },
  shadowPolicies: [],
  allowedHosts: [],
  sealedOriginKey: null,
  createdAtMs: 0,
  version: 1,
  unsubscribedAtMs: null,
  movedTo: null,
};
const KEY = {
  digest: DIGEST,
  keyId: "k1",
  kind: "api_key",
  state: "active",
  name: "",
  hint: "",
  scopes: null,
  allowedNetworks: [],
  createdAtMs: 0,
  expiresAtMs: null,
  superseded: false,
  limits: {},
  generation: 3,
};

describe("a tenant's database", () => {
  it("writes a grant with one index and no more: each is a row that is paid for", () => {
    const { sql } = memoryStorage();
    const of =
      "SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'grant_log' AND sql IS NOT NULL";
    expect(sql.exec(of).toArray()).toEqual([expect.objectContaining({ name: "grant_log_window" })]);
  });

  const versions = AUTHORITY_MIGRATIONS.map((_, i) => i + 1);

  it.each(versions)("of version %d is upgraded, and holds what it held", (version) => {
    const storage = memoryStorage(AUTHORITY_MIGRATIONS.slice(0, version));
    writeAsFirst(storage);
    migrate(storage, AUTHORITY_MIGRATIONS);
    migrate(storage, AUTHORITY_MIGRATIONS);
    const registry = new Registry(storage.sql);
    expect([registry.tenant(), registry.key(DIGEST)]).toEqual([TENANT, KEY]);
  });

  it("of this version takes what the version before writes, and keeps what that does not know", () => {
    const storage = memoryStorage(AUTHORITY_MIGRATIONS);
    const registry = new Registry(storage.sql);
    registry.putTenant({
      ...TENANT,
      status: "active",
      movedTo: null,
      subscription: { status: "none", currentPeriodEndMs: null },
      tier: "PRO",
    });
    registry.putKey({ ...KEY, kind: "gateway_key", state: "active", scopes: ["read"] });
    const { epoch } = registry;
    // As the version before writes a change.
    storage.sql.exec("UPDATE tenant SET subscription_status = 'active'");
    storage.sql.exec(
      `${FIRST_KEY} ON CONFLICT (digest) DO UPDATE SET state = excluded.state, generation = excluded.generation`,
      ...[DIGEST, "k1", "gateway_key", "revoked", null, "{}", 4],
    );
    const reopened = new Registry(storage.sql);
    // What isolates have learnt before no longer holds, although that version knows nothing of leases.
    expect(reopened.epoch).not.toBe(epoch);
    const settled = reopened.epoch;
    reopened.noteUse(DIGEST, { atMs: 1_790_000_000_000, country: "DE" });
    expect(new Registry(storage.sql).epoch).toBe(settled);
    expect(reopened.tenant()).toMatchObject({ subscription: { status: "active" }, tier: "PRO" });
    expect(reopened.key(DIGEST)).toMatchObject({ state: "revoked", scopes: ["read"], generation: 4 });
  });
});
