/** The rows of a tenant and of its keys: the truth that the rest of the authority decides on. */
import { LRUCache } from "lru-cache";
import type { Scope } from "../entitlement/scopes.ts";
import {
  type Subscription,
  type SubscriptionStatus,
  UNKNOWN_SUBSCRIPTION,
} from "../entitlement/subscription.ts";
import type { LimitOverrides, PolicyName } from "../quota/policy.ts";
import { type CredentialRecord, RECORD_VERSION, type RecordState } from "./credential-record.ts";
import type { TenantId } from "./tenant-id.ts";

export interface Tenant {
  readonly id: TenantId;
  readonly name: string;
  /**
   * `deleted` for good: what is left of it is its id, its tombstones and its audit. `moved`: its one credential was
   * linked to another tenant, which decides from then on.
   */
  readonly status: "active" | "deleted" | "moved";
  /** Null unless moved. */
  readonly movedTo: TenantId | null;
  readonly subscription: Subscription;
  /** The operator's word for what was bought; nothing is decided on it. */
  readonly tier: string | null;
  readonly limits: LimitOverrides;
  /** Besides those that are in shadow for all. */
  readonly shadowPolicies: readonly PolicyName[];
  /** Empty: served under any. */
  readonly allowedHosts: readonly string[];
  /** Its own Postiz key, sealed. */
  readonly sealedOriginKey: string | null;
  readonly createdAtMs: number;
  /** Grows with every change by an operator. */
  readonly version: number;
  /** When (ms) the origin last said that it has no subscription, where nobody else told; null: it has not. */
  readonly unsubscribedAtMs: number | null;
}

/** One secret of a key: rotation gives a key a second one, under the same id. */
export interface Key {
  /** SHA-256 hex of the secret. */
  readonly digest: string;
  readonly keyId: string;
  readonly kind: CredentialRecord["kind"];
  readonly state: RecordState;
  readonly name: string;
  /** For people, to tell secrets apart; empty where only the digest was ever known. */
  readonly hint: string;
  /** Null: everything. */
  readonly scopes: readonly Scope[] | null;
  /** In CIDR notation; empty: from everywhere. */
  readonly allowedNetworks: readonly string[];
  readonly createdAtMs: number;
  readonly expiresAtMs: number | null;
  /** Another secret has taken its place. */
  readonly superseded: boolean;
  readonly limits: LimitOverrides;
  readonly generation: number;
}

export interface LastUse {
  readonly atMs: number;
  /** ISO 3166-1 alpha-2; empty where the platform does not tell. */
  readonly country: string;
}

const MAX_REMEMBERED_KEYS = 10_000;
/** Uses within that long of one another are one use. */
const LAST_USE_MS = 5_000;

interface TenantRow extends Record<string, SqlStorageValue> {
  readonly id: TenantId;
  readonly name: string;
  readonly status: Tenant["status"];
  readonly moved_to: TenantId | null;
  readonly subscription_status: SubscriptionStatus;
  readonly current_period_end_ms: number | null;
  readonly tier: string | null;
  readonly limits: string;
  readonly shadow_policies: string;
  readonly allowed_hosts: string;
  readonly sealed_origin_key: string | null;
  readonly created_at_ms: number;
  readonly version: number;
  readonly unsubscribed_at_ms: number | null;
}

interface KeyRow extends Record<string, SqlStorageValue> {
  readonly digest: string;
  readonly key_id: string;
  readonly kind: CredentialRecord["kind"];
  readonly state: RecordState;
  readonly name: string;
  readonly hint: string;
  readonly scopes: string | null;
  readonly allowed_networks: string;
  readonly created_at_ms: number;
  readonly expires_at_ms: number | null;
  readonly superseded: number;
  readonly limits: string;
  readonly generation: number;
}

const KEY_COLUMNS =
  "digest, key_id, kind, state, name, hint, scopes, allowed_networks, created_at_ms, expires_at_ms, superseded, limits, generation";

/** Rows are remembered as they were read last, and forgotten when they are written: nobody else writes them. */
export class Registry {
  readonly #sql: SqlStorage;
  #epoch: string | null = null;
  #tenant: Tenant | null = null;
  readonly #keys = new LRUCache<string, Key>({ max: MAX_REMEMBERED_KEYS });
  readonly #lastUseWritten = new LRUCache<string, number>({ max: MAX_REMEMBERED_KEYS });
  #entrusted: Set<string> | null = null;
  #isBranched: boolean | null = null;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /**
   * The state of the tenant and its keys: another one after any change. What an isolate has learnt holds as long as it is
   * the same. Kept by the tables themselves.
   */
  get epoch(): string {
    if (this.#epoch === null) {
      const { id, changes } = this.#sql.exec<{ id: string; changes: number }>("SELECT * FROM epoch").one();
      this.#epoch = `${id}.${changes}`;
    }
    return this.#epoch;
  }

  /** Something has changed that is not in these rows, but that decisions rest on. */
  touch(): void {
    this.#epoch = null;
    this.#sql.exec("UPDATE epoch SET changes = changes + 1");
  }

  tenant(): Tenant | null {
    this.#tenant ??= this.#readTenant();
    return this.#tenant;
  }

  /** After a transaction that was rolled back, what was read in it never was. */
  forget(): void {
    this.#epoch = null;
    this.#tenant = null;
    this.#keys.clear();
    this.#lastUseWritten.clear();
    this.#entrusted = null;
    this.#isBranched = null;
  }

  /** Whether branches are to count the requests of its keys, as soon as they ask for them. */
  get isBranched(): boolean {
    this.#isBranched ??= this.#sql.exec("SELECT 1 FROM branched").toArray().length > 0;
    return this.#isBranched;
  }

  branchOut(nowMs: number): void {
    this.#isBranched = null;
    this.#sql.exec("INSERT INTO branched (at_ms) VALUES (?)", nowMs);
  }

  /** Whether a branch counts the key's requests. */
  isEntrusted(keyId: string): boolean {
    if (!this.isBranched) return false;
    this.#entrusted ??= new Set(
      this.#sql
        .exec<{ key_id: string }>("SELECT key_id FROM entrusted")
        .toArray()
        .map((row) => row.key_id),
    );
    return this.#entrusted.has(keyId);
  }

  /** For good. */
  entrust(keyId: string): void {
    this.#entrusted?.add(keyId);
    this.#sql.exec("INSERT INTO entrusted (key_id) VALUES (?)", keyId);
  }

  #readTenant(): Tenant | null {
    const row = this.#sql.exec<TenantRow>("SELECT * FROM tenant").toArray()[0];
    if (row === undefined) return null;
    return {
      id: row.id,
      name: row.name,
      status: row.status,
      movedTo: row.moved_to,
      subscription: { status: row.subscription_status, currentPeriodEndMs: row.current_period_end_ms },
      tier: row.tier,
      limits: JSON.parse(row.limits) as LimitOverrides,
      shadowPolicies: JSON.parse(row.shadow_policies) as PolicyName[],
      allowedHosts: JSON.parse(row.allowed_hosts) as string[],
      sealedOriginKey: row.sealed_origin_key,
      createdAtMs: row.created_at_ms,
      version: row.version,
      unsubscribedAtMs: row.unsubscribed_at_ms,
    };
  }

  /** Names every column it sets, so that those of a later version keep what they hold. */
  putTenant(tenant: Tenant): void {
    this.#epoch = null;
    this.#tenant = null;
    this.#sql.exec(
      `INSERT INTO tenant (id, name, status, subscription_status, current_period_end_ms, tier, limits, allowed_hosts,
         sealed_origin_key, created_at_ms, version, unsubscribed_at_ms, moved_to,
         shadow_policies)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET name = excluded.name, status = excluded.status,
         subscription_status = excluded.subscription_status, current_period_end_ms = excluded.current_period_end_ms,
         tier = excluded.tier, limits = excluded.limits, allowed_hosts = excluded.allowed_hosts,
         sealed_origin_key = excluded.sealed_origin_key, version = excluded.version,
         unsubscribed_at_ms = excluded.unsubscribed_at_ms, moved_to = excluded.moved_to,
         shadow_policies = excluded.shadow_policies`,
      tenant.id,
      tenant.name,
      tenant.status,
      tenant.subscription.status,
      tenant.subscription.currentPeriodEndMs,
      tenant.tier,
      JSON.stringify(tenant.limits),
      JSON.stringify(tenant.allowedHosts),
      tenant.sealedOriginKey,
      tenant.createdAtMs,
      tenant.version,
      tenant.unsubscribedAtMs,
      tenant.movedTo,
      JSON.stringify(tenant.shadowPolicies),
    );
  }

  key(digest: string): Key | null {
    const remembered = this.#keys.get(digest);
    if (remembered !== undefined) return remembered;
    const [key] = this.#readKeys("WHERE digest = ?", digest);
    if (key === undefined) return null;
    this.#keys.set(digest, key);
    return key;
  }

  /** Every secret of a key, the current one first. */
  secretsOf(keyId: string): Key[] {
    return this.#readKeys("WHERE key_id = ? ORDER BY superseded, created_at_ms DESC", keyId);
  }

  /** Current secrets in the order of their ids; `after`: the id that the last page ended with. */
  page(after: string, limit: number): Key[] {
    return this.#readKeys("WHERE superseded = 0 AND key_id > ? ORDER BY key_id LIMIT ?", after, limit);
  }

  /** Of Postiz's own keys and tokens that are not revoked, by their digests; `after`: what the last page ended with. */
  pageOfDigests(after: string, limit: number): Key[] {
    return this.#readKeys(
      "WHERE kind <> 'gateway_key' AND state <> 'revoked' AND digest > ? ORDER BY digest LIMIT ?",
      after,
      limit,
    );
  }

  /** Every secret that a request could still use. */
  usable(): Key[] {
    return this.#readKeys("WHERE state <> 'revoked'");
  }

  dropKey(digest: string): void {
    this.#epoch = null;
    this.#keys.delete(digest);
    this.#sql.exec("DELETE FROM key WHERE digest = ?", digest);
  }

  /** What people called them, and where and when they were used; digests and tombstones stay. */
  scrubKeys(): void {
    this.#epoch = null;
    this.#keys.clear();
    this.#sql.exec(
      `UPDATE key SET name = '', hint = '', scopes = '[]', allowed_networks = '[]', limits = '{}',
         last_used_at_ms = NULL, last_used_country = NULL`,
    );
  }

  putKey(key: Key): void {
    this.#epoch = null;
    this.#keys.delete(key.digest);
    this.#sql.exec(
      `INSERT INTO key (${KEY_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (digest) DO UPDATE SET key_id = excluded.key_id, kind = excluded.kind, state = excluded.state,
         name = excluded.name, hint = excluded.hint, scopes = excluded.scopes,
         allowed_networks = excluded.allowed_networks, expires_at_ms = excluded.expires_at_ms,
         superseded = excluded.superseded, limits = excluded.limits, generation = excluded.generation`,
      key.digest,
      key.keyId,
      key.kind,
      key.state,
      key.name,
      key.hint,
      key.scopes === null ? null : JSON.stringify(key.scopes),
      JSON.stringify(key.allowedNetworks),
      key.createdAtMs,
      key.expiresAtMs,
      Number(key.superseded),
      JSON.stringify(key.limits),
      key.generation,
    );
  }

  /** Accurate to a few seconds: a row is not written for every request. */
  noteUse(digest: string, { atMs, country }: LastUse): void {
    if (atMs - (this.#lastUseWritten.get(digest) ?? 0) < LAST_USE_MS) return;
    this.#lastUseWritten.set(digest, atMs);
    this.#sql.exec(
      "UPDATE key SET last_used_at_ms = ?, last_used_country = ? WHERE digest = ?",
      atMs,
      country,
      digest,
    );
  }

  /** Of any of its secrets. */
  lastUseOf(keyId: string): LastUse | null {
    const [row] = this.#sql
      .exec<{ last_used_at_ms: number; last_used_country: string | null }>(
        `SELECT last_used_at_ms, last_used_country FROM key
         WHERE key_id = ? AND last_used_at_ms IS NOT NULL ORDER BY last_used_at_ms DESC LIMIT 1`,
        keyId,
      )
      .toArray();
    return row === undefined ? null : { atMs: row.last_used_at_ms, country: row.last_used_country ?? "" };
  }

  #readKeys(where: string, ...values: SqlStorageValue[]): Key[] {
    const rows = this.#sql.exec<KeyRow>(`SELECT ${KEY_COLUMNS} FROM key ${where}`, ...values).toArray();
    return rows.map((row) => ({
      digest: row.digest,
      keyId: row.key_id,
      kind: row.kind,
      state: row.state,
      name: row.name,
      hint: row.hint,
      scopes: row.scopes === null ? null : (JSON.parse(row.scopes) as Scope[]),
      allowedNetworks: JSON.parse(row.allowed_networks) as string[],
      createdAtMs: row.created_at_ms,
      expiresAtMs: row.expires_at_ms,
      superseded: row.superseded === 1,
      limits: JSON.parse(row.limits) as LimitOverrides,
      generation: row.generation,
    }));
  }
}

/** Nobody has said anything about its subscription or its limits yet. */
export function newTenant(id: TenantId, name: string, nowMs: number): Tenant {
  return {
    id,
    name,
    status: "active",
    movedTo: null,
    subscription: UNKNOWN_SUBSCRIPTION,
    tier: null,
    limits: {},
    shadowPolicies: [],
    allowedHosts: [],
    sealedOriginKey: null,
    createdAtMs: nowMs,
    version: 1,
    unsubscribedAtMs: null,
  };
}

/** An API key that somebody else has made: all that is known of it is its digest. */
export function newKey(digest: string, keyId: string, nowMs: number): Key {
  return {
    digest,
    keyId,
    kind: "api_key",
    state: "active",
    name: "",
    hint: "",
    scopes: null,
    allowedNetworks: [],
    createdAtMs: nowMs,
    expiresAtMs: null,
    superseded: false,
    limits: {},
    generation: 1,
  };
}

export function recordOf(tenantId: TenantId, key: Key, isEntrusted: boolean): CredentialRecord {
  const { keyId, kind, state, generation } = key;
  const branched = isEntrusted && kind !== "oauth_token" && { branched: true as const };
  return { v: RECORD_VERSION, tenantId, keyId, kind, state, generation, ...branched };
}
