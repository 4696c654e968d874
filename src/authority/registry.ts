/** The rows of a tenant and of its keys: the truth that the rest of the authority decides on. */
import { LRUCache } from "lru-cache";
import type { Subscription, SubscriptionStatus } from "../entitlement/subscription.ts";
import type { LimitOverrides } from "../quota/policy.ts";
import { type CredentialRecord, RECORD_VERSION, type RecordState } from "./credential-record.ts";

export interface Tenant {
  readonly id: string;
  readonly name: string;
  readonly subscription: Subscription;
  readonly limits: LimitOverrides;
  /** When (ms) the origin last said that it has no subscription, where nobody else told; null: it has not. */
  readonly unsubscribedAtMs: number | null;
}

export interface Key {
  /** SHA-256 hex of the key. */
  readonly digest: string;
  readonly keyId: string;
  readonly kind: CredentialRecord["kind"];
  readonly state: RecordState;
  readonly expiresAtMs: number | null;
  readonly limits: LimitOverrides;
  readonly generation: number;
}

const MAX_REMEMBERED_KEYS = 10_000;

interface TenantRow extends Record<string, SqlStorageValue> {
  readonly id: string;
  readonly name: string;
  readonly subscription_status: SubscriptionStatus;
  readonly current_period_end_ms: number | null;
  readonly limits: string;
  readonly unsubscribed_at_ms: number | null;
}

interface KeyRow extends Record<string, SqlStorageValue> {
  readonly digest: string;
  readonly key_id: string;
  readonly kind: CredentialRecord["kind"];
  readonly state: RecordState;
  readonly expires_at_ms: number | null;
  readonly limits: string;
  readonly generation: number;
}

/** Rows are remembered as they were read last, and forgotten when they are written: nobody else writes them. */
export class Registry {
  readonly #sql: SqlStorage;
  #tenant: Tenant | null = null;
  readonly #keys = new LRUCache<string, Key>({ max: MAX_REMEMBERED_KEYS });

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  tenant(): Tenant | null {
    this.#tenant ??= this.#readTenant();
    return this.#tenant;
  }

  /** After a transaction that was rolled back, what was read in it never was. */
  forget(): void {
    this.#tenant = null;
    this.#keys.clear();
  }

  #readTenant(): Tenant | null {
    const row = this.#sql.exec<TenantRow>("SELECT * FROM tenant").toArray()[0];
    if (row === undefined) return null;
    return {
      id: row.id,
      name: row.name,
      subscription: { status: row.subscription_status, currentPeriodEndMs: row.current_period_end_ms },
      limits: JSON.parse(row.limits) as LimitOverrides,
      unsubscribedAtMs: row.unsubscribed_at_ms,
    };
  }

  /** Names every column it sets, so that those of a later version keep what they hold. */
  putTenant(tenant: Tenant): void {
    this.#tenant = null;
    this.#sql.exec(
      `INSERT INTO tenant (id, name, subscription_status, current_period_end_ms, limits, unsubscribed_at_ms)
       VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET name = excluded.name, subscription_status = excluded.subscription_status,
         current_period_end_ms = excluded.current_period_end_ms, limits = excluded.limits,
         unsubscribed_at_ms = excluded.unsubscribed_at_ms`,
      tenant.id,
      tenant.name,
      tenant.subscription.status,
      tenant.subscription.currentPeriodEndMs,
      JSON.stringify(tenant.limits),
      tenant.unsubscribedAtMs,
    );
  }

  key(digest: string): Key | null {
    const remembered = this.#keys.get(digest);
    if (remembered !== undefined) return remembered;
    const key = this.#readKey(digest);
    if (key !== null) this.#keys.set(digest, key);
    return key;
  }

  #readKey(digest: string): Key | null {
    const row = this.#sql.exec<KeyRow>("SELECT * FROM key WHERE digest = ?", digest).toArray()[0];
    if (row === undefined) return null;
    return {
      digest: row.digest,
      keyId: row.key_id,
      kind: row.kind,
      state: row.state,
      expiresAtMs: row.expires_at_ms,
      limits: JSON.parse(row.limits) as LimitOverrides,
      generation: row.generation,
    };
  }

  putKey(key: Key): void {
    this.#keys.delete(key.digest);
    this.#sql.exec(
      `INSERT INTO key (digest, key_id, kind, state, expires_at_ms, limits, generation)
       VALUES (?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (digest) DO UPDATE SET key_id = excluded.key_id, kind = excluded.kind, state = excluded.state,
         expires_at_ms = excluded.expires_at_ms, limits = excluded.limits, generation = excluded.generation`,
      key.digest,
      key.keyId,
      key.kind,
      key.state,
      key.expiresAtMs,
      JSON.stringify(key.limits),
      key.generation,
    );
  }
}

export function recordOf(tenantId: string, key: Key): CredentialRecord {
  const { keyId, kind, state, generation } = key;
  return { v: RECORD_VERSION, tenantId, keyId, kind, state, generation };
}
