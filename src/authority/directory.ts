/**
 * Which tenant owns a credential: one, whoever claimed it first. And, in an object of its own, what operators see of
 * all tenants at once: their list, and the audit. Asked when something is put in, learnt or looked up, never by a request,
 * so that one object for each of 256 shards will do.
 */
import { DurableObject } from "cloudflare:workers";
import { steadyNowMs } from "../clock.ts";
import type { Env } from "../env.ts";
import type { AuditEntry, NumberedEntry } from "./audit.ts";
import { authorityOf } from "./find-authority.ts";
import { migrate } from "./schema.ts";
import type { TenantId } from "./tenant-id.ts";

export const DIRECTORY_MIGRATIONS: readonly string[] = [
  "CREATE TABLE owner (digest TEXT PRIMARY KEY, tenant_id TEXT NOT NULL) WITHOUT ROWID",
  `-- A claim is pending until the tenant's authority has written the credential down.
   ALTER TABLE owner ADD COLUMN pending_since_ms INTEGER;
   CREATE TABLE tenant (
     id TEXT PRIMARY KEY,
     name TEXT NOT NULL,
     status TEXT NOT NULL,
     version INTEGER NOT NULL
   ) WITHOUT ROWID;
   CREATE TABLE audit (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     tenant_id TEXT NOT NULL,
     tenant_entry_id INTEGER NOT NULL,
     entry TEXT NOT NULL,
     UNIQUE (tenant_id, tenant_entry_id)
   );
   CREATE TABLE replay (
     idempotency_key TEXT PRIMARY KEY,
     body_digest TEXT NOT NULL,
     at_ms INTEGER NOT NULL
   ) WITHOUT ROWID;`,
];

export interface TenantSummary {
  readonly id: TenantId;
  readonly name: string;
  readonly status: string;
}

/** A tenant as its authority tells of it: what was told later may arrive earlier. */
export interface ToldTenant extends TenantSummary {
  readonly version: number;
}

/** A claim that was never confirmed may be somebody else's after that long, if its tenant does not have it. */
const PENDING_MS = 60_000;
const REPLAY_MS = 86_400_000;

interface OwnerRow extends Record<string, SqlStorageValue> {
  readonly tenant_id: TenantId;
  readonly pending_since_ms: number | null;
}

export class Directory extends DurableObject<Env> {
  readonly #sql: SqlStorage;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    migrate(ctx.storage, DIRECTORY_MIGRATIONS);
    this.#sql = ctx.storage.sql;
  }

  /** Id of the tenant that owns the credential from now on: the one that asks, unless another was first. */
  async claim(digest: string, tenantId: TenantId): Promise<TenantId> {
    const owner = this.#owner(digest);
    if (owner !== null && owner.tenant_id !== tenantId && (await this.#isAbandoned(digest, owner))) {
      // Only the claim that was looked at: it may have been confirmed, or another have come, meanwhile.
      this.#sql.exec(
        "DELETE FROM owner WHERE digest = ? AND tenant_id = ? AND pending_since_ms = ?",
        digest,
        owner.tenant_id,
        owner.pending_since_ms,
      );
    }
    this.#sql.exec(
      `INSERT INTO owner (digest, tenant_id, pending_since_ms) VALUES (?, ?, ?)
       ON CONFLICT (digest) DO UPDATE SET pending_since_ms = excluded.pending_since_ms
       WHERE tenant_id = excluded.tenant_id AND pending_since_ms IS NOT NULL`,
      digest,
      tenantId,
      steadyNowMs(),
    );
    return this.#owner(digest)?.tenant_id ?? tenantId;
  }

  /** The credential is written down. False: it has become another's meanwhile. */
  confirm(digest: string, tenantId: TenantId): boolean {
    this.#sql.exec(
      "UPDATE owner SET pending_since_ms = NULL WHERE digest = ? AND tenant_id = ?",
      digest,
      tenantId,
    );
    return this.#owner(digest)?.tenant_id === tenantId;
  }

  /** Another tenant has taken the credential over. Whose it is then. */
  pass(digest: string, from: TenantId, to: TenantId): TenantId | null {
    this.#sql.exec(
      `INSERT INTO owner (digest, tenant_id) VALUES (?, ?)
       ON CONFLICT (digest) DO UPDATE SET tenant_id = excluded.tenant_id, pending_since_ms = NULL
       WHERE tenant_id = ?`,
      digest,
      to,
      from,
    );
    return this.ownerOf(digest);
  }

  ownerOf(digest: string): TenantId | null {
    return this.#owner(digest)?.tenant_id ?? null;
  }

  /** What a tenant's authority has to tell; telling it twice changes nothing. */
  tell(tenant: ToldTenant, entries: readonly NumberedEntry[]): void {
    this.#sql.exec(
      `INSERT INTO tenant (id, name, status, version) VALUES (?, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET name = excluded.name, status = excluded.status, version = excluded.version
       WHERE excluded.version >= version`,
      tenant.id,
      tenant.name,
      tenant.status,
      tenant.version,
    );
    for (const { id, entry } of entries) {
      this.#sql.exec(
        "INSERT INTO audit (tenant_id, tenant_entry_id, entry) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
        tenant.id,
        id,
        JSON.stringify(entry),
      );
    }
  }

  /** In the order of their ids; `after`: the id that the last page ended with. */
  tenants(after: string, limit: number): TenantSummary[] {
    return this.#sql
      .exec<{ id: TenantId; name: string; status: string }>(
        "SELECT id, name, status FROM tenant WHERE status = 'active' AND id > ? ORDER BY id LIMIT ?",
        after,
        limit,
      )
      .toArray();
  }

  /** The newest first. */
  audit(before: number, limit: number): NumberedEntry[] {
    const rows = this.#sql.exec<{ id: number; entry: string }>(
      "SELECT id, entry FROM audit WHERE id < ? ORDER BY id DESC LIMIT ?",
      before,
      limit,
    );
    return rows.toArray().map(({ id, entry }) => ({ id, entry: JSON.parse(entry) as AuditEntry }));
  }

  /** Whether this Idempotency-Key is new, or came with the same body before, or with another. */
  remember(idempotencyKey: string, bodyDigest: string): "new" | "same" | "other" {
    const nowMs = steadyNowMs();
    this.#sql.exec("DELETE FROM replay WHERE at_ms <= ?", nowMs - REPLAY_MS);
    const [row] = this.#sql
      .exec<{ body_digest: string }>(
        "SELECT body_digest FROM replay WHERE idempotency_key = ?",
        idempotencyKey,
      )
      .toArray();
    if (row !== undefined) return row.body_digest === bodyDigest ? "same" : "other";
    this.#sql.exec(
      "INSERT INTO replay (idempotency_key, body_digest, at_ms) VALUES (?, ?, ?)",
      idempotencyKey,
      bodyDigest,
      nowMs,
    );
    return "new";
  }

  /** What was remembered has come to nothing. */
  forget(idempotencyKey: string): void {
    this.#sql.exec("DELETE FROM replay WHERE idempotency_key = ?", idempotencyKey);
  }

  #owner(digest: string): OwnerRow | null {
    const rows = this.#sql.exec<OwnerRow>(
      "SELECT tenant_id, pending_since_ms FROM owner WHERE digest = ?",
      digest,
    );
    return rows.toArray()[0] ?? null;
  }

  async #isAbandoned(digest: string, { tenant_id, pending_since_ms }: OwnerRow): Promise<boolean> {
    if (pending_since_ms === null || steadyNowMs() - pending_since_ms < PENDING_MS) return false;
    return !(await authorityOf(this.env, tenant_id).has(digest));
  }
}
