/**
 * Which tenant owns a credential, or a host name: one, whoever claimed it first. And, in an object of its own, what operators see of
 * all tenants at once: their list, and the audit. Asked when something is put in, learnt or looked up, never by a request,
 * so that one object for each of 256 shards will do.
 */
import { DurableObject } from "cloudflare:workers";
import { steadyNowMs } from "../clock.ts";
import type { Env } from "../env.ts";
import type { AuditEntry, NumberedEntry } from "./audit.ts";
import { authorityOf } from "./find-authority.ts";
import { hostRecord, isHostKey } from "./host-names.ts";
import { Outbox } from "./outbox.ts";
import { migrate, outboxTable } from "./schema.ts";
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
  `-- Host names, under host:<name>, that KV has not acknowledged yet.
   ${outboxTable("outbox")}`,
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
  readonly #outbox: Outbox;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    migrate(ctx.storage, DIRECTORY_MIGRATIONS);
    this.#sql = ctx.storage.sql;
    this.#outbox = new Outbox(ctx.storage, "outbox", env.CREDENTIALS, steadyNowMs);
    ctx.blockConcurrencyWhile(() => this.#arm());
  }

  override async alarm(): Promise<void> {
    try {
      await this.#outbox.drain();
    } finally {
      await this.#arm();
    }
  }

  /** Id of the tenant that owns it from now on: the one that asks, unless another was first. */
  async claim(name: string, tenantId: TenantId): Promise<TenantId> {
    const owner = this.#owner(name);
    if (owner !== null && owner.tenant_id !== tenantId && (await this.#isAbandoned(name, owner))) {
      // Only the claim that was looked at: it may have been confirmed, or another have come, meanwhile.
      this.#sql.exec(
        "DELETE FROM owner WHERE digest = ? AND tenant_id = ? AND pending_since_ms IS ?",
        name,
        owner.tenant_id,
        owner.pending_since_ms,
      );
    }
    this.#sql.exec(
      `INSERT INTO owner (digest, tenant_id, pending_since_ms) VALUES (?, ?, ?)
       ON CONFLICT (digest) DO UPDATE SET pending_since_ms = excluded.pending_since_ms
       WHERE tenant_id = excluded.tenant_id AND (pending_since_ms IS NOT NULL OR ?)`,
      name,
      tenantId,
      steadyNowMs(),
      // A name that is let go of and wanted again is written down anew.
      Number(isHostKey(name)),
    );
    return this.#owner(name)?.tenant_id ?? tenantId;
  }

  /** It is written down. False: it has become another's meanwhile. */
  confirm(name: string, tenantId: TenantId): boolean {
    this.#sql.exec(
      "UPDATE owner SET pending_since_ms = NULL WHERE digest = ? AND tenant_id = ?",
      name,
      tenantId,
    );
    return this.#owner(name)?.tenant_id === tenantId;
  }

  /**
   * It is another tenant's now, or nobody's, or its claim is confirmed; whose, then. The only one who mirrors host names
   * in KV: of a name that passes from one tenant to the next, no two objects write the record.
   */
  async pass(name: string, from: TenantId, to: TenantId | null): Promise<TenantId | null> {
    this.ctx.storage.transactionSync(() => {
      if (to === null) this.#sql.exec("DELETE FROM owner WHERE digest = ? AND tenant_id = ?", name, from);
      else {
        this.#sql.exec(
          "UPDATE owner SET tenant_id = ?, pending_since_ms = NULL WHERE digest = ? AND tenant_id = ?",
          to,
          name,
          from,
        );
      }
      if (!isHostKey(name)) return;
      const record = hostRecord(this.ownerOf(name));
      this.#outbox.enqueue({ name, record, twice: true });
    });
    await this.#arm();
    return this.ownerOf(name);
  }

  ownerOf(name: string): TenantId | null {
    return this.#owner(name)?.tenant_id ?? null;
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

  async #arm(): Promise<void> {
    const dueAtMs = this.#outbox.dueAtMs();
    if (dueAtMs !== null) await this.ctx.storage.setAlarm(dueAtMs);
  }

  #owner(name: string): OwnerRow | null {
    const rows = this.#sql.exec<OwnerRow>(
      "SELECT tenant_id, pending_since_ms FROM owner WHERE digest = ?",
      name,
    );
    return rows.toArray()[0] ?? null;
  }

  /** Credentials once written down stay; a name is its tenant's as long as that lists it. */
  async #isAbandoned(name: string, { tenant_id, pending_since_ms }: OwnerRow): Promise<boolean> {
    const isYoung = pending_since_ms !== null && steadyNowMs() - pending_since_ms < PENDING_MS;
    if (isYoung || (pending_since_ms === null && !isHostKey(name))) return false;
    return !(await authorityOf(this.env, tenant_id).has(name));
  }
}
