/**
 * What operators do to a tenant: each change with its line in the audit. Synchronous; called inside the transaction that
 * also holds the projection. What can't be done is said, not thrown.
 */
import type { Subscription } from "../entitlement/subscription.ts";
import { type SealingKeys, seal } from "../gateway-key/seal.ts";
import type { PolicyName } from "../quota/policy.ts";
import type { Audit, By } from "./audit.ts";
import type { Passing } from "./claims.ts";
import { hostKey } from "./host-names.ts";
import { type KeyPatch, type KeyRing, type KeyWish, newKeyId, type Secrets } from "./key-ring.ts";
import type { LeaseRule, Leases } from "./leases.ts";
import type { LedgerUsage } from "./ledger.ts";
import type { Outbox } from "./outbox.ts";
import { type Key, newTenant, type Registry, type Tenant } from "./registry.ts";
import { isUnlinked, type TenantId } from "./tenant-id.ts";
import {
  type KeyView,
  type Self,
  type TenantView,
  timeOf,
  type Usage,
  viewOfKey,
  viewOfTenant,
  viewOfUsage,
} from "./views.ts";

export type Problem =
  | "not_found"
  | "already_exists"
  | "not_possible"
  | "precondition_failed"
  | "idempotency_mismatch"
  | "config_invalid"
  | "directory_unavailable";

export type Outcome<T> = { readonly ok: true; readonly value: T } | Failure;

export interface Failure {
  readonly ok: false;
  readonly problem: Problem;
  readonly detail: string;
}

export const NO_TENANT = "There is no such tenant";

/** It is to become part of another one day, which could not take these along. */
const ONLY_ITS_CREDENTIAL =
  "The tenant stands for one credential whose organization nobody has told: import that to a tenant first";

export const done = <T>(value: T): Outcome<T> => ({ ok: true, value });
export const cannot = (problem: Problem, detail: string): Failure => ({ ok: false, problem, detail });

export interface TenantPatch {
  readonly name?: string;
  /** Null: as for everybody. */
  readonly postsPerHour?: number | null;
  readonly apiPerMinute?: number | null;
  readonly shadowPolicies?: readonly PolicyName[];
  /** Claimed already. */
  readonly allowedHosts?: readonly string[];
}

/** The same creation asked for again: `bodyDigest` tells whether it is the same. */
export interface Replay {
  readonly idempotencyKey: string;
  readonly bodyDigest: string;
}

function isLate(tenant: Tenant, version: number | null): Failure | null {
  if (version === null || version === tenant.version) return null;
  return cannot("precondition_failed", `The tenant is at version ${tenant.version}, not ${version}`);
}

const REPLAY_MS = 86_400_000;
const USAGE_KEYS = 1_000;

export class Administration {
  readonly #sql: SqlStorage;
  readonly #registry: Registry;
  readonly #ring: KeyRing;
  readonly #audit: Audit;
  readonly #directoryOutbox: Outbox;

  constructor(sql: SqlStorage, registry: Registry, ring: KeyRing, audit: Audit, directoryOutbox: Outbox) {
    this.#sql = sql;
    this.#registry = registry;
    this.#ring = ring;
    this.#audit = audit;
    this.#directoryOutbox = directoryOutbox;
  }

  createTenant(id: TenantId, name: string, by: By): Outcome<TenantView> {
    const existing = this.#registry.tenant();
    if (existing?.status === "deleted") {
      return cannot(
        "already_exists",
        `A tenant "${id}" has existed; a deleted tenant's id is not given out again`,
      );
    }
    if (existing !== null) return cannot("already_exists", `There is a tenant "${id}" already`);
    this.#registry.putTenant(newTenant(id, name, by.nowMs));
    return this.#noted("tenant.create", null, by);
  }

  tenant(): Outcome<TenantView> {
    const tenant = this.#alive();
    return tenant.ok ? done(viewOfTenant(tenant.value)) : tenant;
  }

  /** `version`: what the change is based on; null for whatever there is. */
  changeTenant(patch: TenantPatch, version: number | null, by: By): Outcome<TenantView> {
    const { name, postsPerHour, apiPerMinute } = patch;
    const bindsHosts = patch.allowedHosts !== undefined && patch.allowedHosts.length > 0;
    if (bindsHosts && isUnlinked(this.#registry.tenant()?.id ?? "")) {
      return cannot("not_possible", ONLY_ITS_CREDENTIAL);
    }
    return this.#change("tenant.change", version, by, (tenant) => {
      const limits: { postsPerHour?: number; apiPerMinute?: number } = { ...tenant.limits };
      for (const [limit, value] of Object.entries({ postsPerHour, apiPerMinute })) {
        if (value === undefined) continue;
        if (value === null) delete limits[limit as keyof typeof limits];
        else limits[limit as keyof typeof limits] = value;
      }
      const allowedHosts = patch.allowedHosts ?? tenant.allowedHosts;
      const shadowPolicies = patch.shadowPolicies ?? tenant.shadowPolicies;
      return { ...tenant, name: name ?? tenant.name, limits, shadowPolicies, allowedHosts };
    });
  }

  setSubscription(subscription: Subscription, tier: string | null, by: By): Outcome<TenantView> {
    return this.#change("tenant.subscription", null, by, (tenant) => {
      return { ...tenant, subscription, tier, unsubscribedAtMs: null };
    });
  }

  setOriginKey(secret: string, keys: SealingKeys, by: By): Outcome<TenantView> {
    return this.#change("tenant.origin_key", null, by, (tenant) => {
      return { ...tenant, sealedOriginKey: seal(secret, tenant.id, keys) };
    });
  }

  /** Its keys with it, for good. */
  deleteTenant(version: number | null, by: By): Outcome<TenantView> {
    const tenant = this.#alive();
    if (!tenant.ok) return tenant;
    const late = isLate(tenant.value, version);
    if (late !== null) return late;
    this.#ring.revoke(this.#registry.usable());
    this.#registry.scrubKeys();
    this.#sql.exec("DELETE FROM replay");
    this.#sql.exec("DELETE FROM introspection");
    this.#sql.exec("DELETE FROM grant_log");
    this.#sql.exec("DELETE FROM origin_block");
    return this.#change("tenant.delete", null, by, ({ id, createdAtMs, version }) => ({
      ...newTenant(id, "", createdAtMs),
      status: "deleted",
      subscription: { status: "none", currentPeriodEndMs: null },
      version,
    }));
  }

  /** The id of the key that was made under this Idempotency-Key; null where none was. */
  replayed({ idempotencyKey, bodyDigest }: Replay, nowMs: number): Outcome<string | null> {
    this.#sql.exec("DELETE FROM replay WHERE at_ms <= ?", nowMs - REPLAY_MS);
    const [row] = this.#sql
      .exec<{ body_digest: string; key_id: string }>(
        "SELECT body_digest, key_id FROM replay WHERE idempotency_key = ?",
        idempotencyKey,
      )
      .toArray();
    if (row === undefined) return done(null);
    if (row.body_digest === bodyDigest) return done(row.key_id);
    return cannot("idempotency_mismatch", "This Idempotency-Key came with another body before");
  }

  issueKey(secret: string, wish: KeyWish, replay: Replay | null, by: By): Outcome<KeyView> {
    const tenant = this.#alive();
    if (!tenant.ok) return tenant;
    if (isUnlinked(tenant.value.id)) return cannot("not_possible", ONLY_ITS_CREDENTIAL);
    const keyId = newKeyId(by.nowMs);
    if (replay !== null) {
      this.#sql.exec(
        "INSERT INTO replay (idempotency_key, body_digest, key_id, at_ms) VALUES (?, ?, ?, ?)",
        replay.idempotencyKey,
        replay.bodyDigest,
        keyId,
        by.nowMs,
      );
    }
    this.#ring.issue(keyId, secret, wish, by.nowMs);
    return this.#notedKey("key.create", keyId, null, by);
  }

  key(keyId: string, nowMs: number): Outcome<KeyView> {
    const secrets = this.#secrets(keyId);
    return secrets.ok ? done(this.#viewOfKey(secrets.value, nowMs)) : secrets;
  }

  keys(after: string, limit: number, nowMs: number): KeyView[] {
    return this.#registry.page(after, limit).map((current) => {
      return this.#viewOfKey(this.#ring.find(current.keyId) ?? [current], nowMs);
    });
  }

  changeKey(keyId: string, patch: KeyPatch, version: number | null, by: By): Outcome<KeyView> {
    return this.#changeKey("key.change", keyId, by, (secrets) => {
      if (secrets[0].state === "revoked") return cannot("not_possible", "A revoked key can't be changed");
      if (version !== null && version !== secrets[0].generation) {
        return cannot(
          "precondition_failed",
          `The key is at version ${secrets[0].generation}, not ${version}`,
        );
      }
      this.#ring.change(secrets, patch);
      return null;
    });
  }

  enableKey(keyId: string, enabled: boolean, by: By): Outcome<KeyView> {
    return this.#changeKey(enabled ? "key.enable" : "key.disable", keyId, by, (secrets) => {
      if (secrets[0].state === "revoked") return cannot("not_possible", "A revoked key stays revoked");
      this.#ring.enable(secrets, enabled);
      return null;
    });
  }

  rotateKey(keyId: string, secret: string, graceMs: number, by: By): Outcome<KeyView> {
    return this.#changeKey("key.rotate", keyId, by, (secrets) => {
      const [{ kind, state, expiresAtMs }] = secrets;
      if (kind !== "gateway_key")
        return cannot("not_possible", "Only Postiz itself can rotate its keys and tokens");
      if (state === "revoked") return cannot("not_possible", "A revoked key can't be rotated");
      if (expiresAtMs !== null && by.nowMs >= expiresAtMs) {
        return cannot("not_possible", "An expired key can't be rotated; give it a later expiresAt first");
      }
      this.#ring.rotate(secrets, secret, graceMs, by.nowMs);
      return null;
    });
  }

  revokeKey(keyId: string, by: By): Outcome<KeyView> {
    return this.#changeKey("key.revoke", keyId, by, (secrets) => {
      this.#ring.revoke(secrets);
      return null;
    });
  }

  revokeAll(by: By): Outcome<TenantView> {
    const tenant = this.#alive();
    if (!tenant.ok) return tenant;
    const usable = this.#registry.usable();
    this.#ring.revoke(usable);
    const keyIds = [...new Set(usable.map(({ keyId }) => keyId))];
    this.#note("key.revoke_all", null, { keyIds }, { keyIds: [] }, by);
    return done(viewOfTenant(tenant.value));
  }

  /** Those whose usage is shown; `digest`: one only. */
  usedKeys(digest: string | null): readonly Key[] {
    if (digest === null) return this.#registry.page("", USAGE_KEYS);
    const only = this.#registry.key(digest);
    return only === null ? [] : [only];
  }

  /** `digest`: of one key only. `elsewhere`: what branches have counted, by the ids of keys; null: unknown. */
  usage(
    digest: string | null,
    rule: LeaseRule,
    leases: Leases,
    elsewhere: ReadonlyMap<string, LedgerUsage | null>,
    nowMs: number,
  ): Outcome<Usage> {
    const tenant = this.#alive();
    if (!tenant.ok) return tenant;
    const keys = this.usedKeys(digest);
    const only = digest === null ? null : (keys[0] ?? null);
    return done({
      posts: viewOfUsage(leases.usage("posts", tenant.value, only, rule, nowMs)),
      keys: keys.map((key) => {
        const counted = elsewhere.get(key.keyId);
        const usage = counted === null ? null : leases.usage("api", tenant.value, key, rule, nowMs, counted);
        return {
          id: key.keyId,
          name: key.name,
          api: usage && viewOfUsage(usage),
          lastUsedAt: timeOf(this.#registry.lastUseOf(key.keyId)?.atMs ?? null),
        };
      }),
    });
  }

  self(digest: string, nowMs: number): Outcome<Self> {
    const tenant = this.tenant();
    if (!tenant.ok) return tenant;
    const key = this.key(this.#registry.key(digest)?.keyId ?? "", nowMs);
    if (!key.ok) return key;
    const { id, name, subscription } = tenant.value;
    return done({ tenant: { id, name, subscription }, key: key.value });
  }

  #alive(): Outcome<Tenant> {
    const tenant = this.#registry.tenant();
    if (tenant?.status === "active") return done(tenant);
    if (tenant?.status === "moved")
      return cannot("not_found", `It is part of tenant "${tenant.movedTo}" now`);
    return cannot("not_found", NO_TENANT);
  }

  #change(
    action: string,
    version: number | null,
    by: By,
    work: (tenant: Tenant) => Tenant,
  ): Outcome<TenantView> {
    const tenant = this.#alive();
    if (!tenant.ok) return tenant;
    const late = isLate(tenant.value, version);
    if (late !== null) return late;
    const changed = work(tenant.value);
    if (JSON.stringify(changed) === JSON.stringify(tenant.value)) return done(viewOfTenant(tenant.value));
    this.#registry.putTenant({ ...changed, version: tenant.value.version + 1 });
    this.#passHosts(tenant.value, changed);
    return this.#noted(action, viewOfTenant(tenant.value), by);
  }

  /** The directory hears what names the tenant has now, and what it has no more. */
  #passHosts({ id, allowedHosts: before }: Tenant, { allowedHosts: after }: Tenant): void {
    for (const host of new Set([...before, ...after])) {
      if (before.includes(host) && after.includes(host)) continue;
      const record: Passing = { from: id, to: after.includes(host) ? id : null };
      this.#directoryOutbox.enqueue({ name: hostKey(host), record, twice: false });
    }
  }

  #noted(action: string, before: TenantView | null, by: By): Outcome<TenantView> {
    const tenant = this.#registry.tenant();
    if (tenant === null) return cannot("not_found", NO_TENANT);
    const after = viewOfTenant(tenant);
    this.#note(action, null, before, after, by);
    return done(after);
  }

  #changeKey(
    action: string,
    keyId: string,
    by: By,
    work: (secrets: Secrets) => Failure | null,
  ): Outcome<KeyView> {
    const secrets = this.#secrets(keyId);
    if (!secrets.ok) return secrets;
    return work(secrets.value) ?? this.#notedKey(action, keyId, this.#viewOfKey(secrets.value, by.nowMs), by);
  }

  #notedKey(action: string, keyId: string, before: KeyView | null, by: By): Outcome<KeyView> {
    const after = this.key(keyId, by.nowMs);
    if (after.ok) this.#note(action, keyId, before, after.value, by);
    return after;
  }

  #note(action: string, keyId: string | null, before: object | null, after: object, by: By): void {
    const tenantId = this.#registry.tenant()?.id ?? "";
    this.#audit.record(by, { action, tenantId, keyId, before, after });
  }

  #secrets(keyId: string): Outcome<Secrets> {
    const tenant = this.#alive();
    if (!tenant.ok) return tenant;
    const secrets = this.#ring.find(keyId);
    return secrets === null ? cannot("not_found", "The tenant has no such key") : done(secrets);
  }

  #viewOfKey(secrets: Secrets, nowMs: number): KeyView {
    return viewOfKey(secrets, this.#registry.lastUseOf(secrets[0].keyId), nowMs);
  }
}
