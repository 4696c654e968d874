/**
 * SQLite schema of a tenant's authority, and how numbered migrations are applied when the object wakes up. A migration
 * that has been deployed is never edited; a change is a new one at the end. The version before it goes on running
 * on its tables: a new column needs a default, and writers name the columns they set.
 */

/** What `Outbox` keeps its rows in. */
export const outboxTable = (name: string): string => `CREATE TABLE ${name} (
     digest TEXT PRIMARY KEY,
     record TEXT NOT NULL,
     generation INTEGER NOT NULL,
     writes_left INTEGER NOT NULL,
     failures INTEGER NOT NULL,
     due_at_ms INTEGER NOT NULL
   ) WITHOUT ROWID;`;

export const AUTHORITY_MIGRATIONS: readonly string[] = [
  `CREATE TABLE tenant (
     id TEXT PRIMARY KEY,
     name TEXT NOT NULL,
     subscription_status TEXT NOT NULL,
     current_period_end_ms INTEGER,
     limits TEXT NOT NULL
   ) WITHOUT ROWID;
   CREATE TABLE key (
     digest TEXT PRIMARY KEY,
     key_id TEXT NOT NULL,
     kind TEXT NOT NULL,
     state TEXT NOT NULL,
     expires_at_ms INTEGER,
     limits TEXT NOT NULL,
     generation INTEGER NOT NULL
   ) WITHOUT ROWID;
   -- Every grant, from before it is answered until its tokens no longer count.
   CREATE TABLE grant_log (
     nonce TEXT PRIMARY KEY,
     policy TEXT NOT NULL,
     partition TEXT NOT NULL,
     tokens INTEGER NOT NULL,
     usable_until_ms INTEGER NOT NULL,
     counts_until_ms INTEGER NOT NULL
   ) WITHOUT ROWID;
   CREATE INDEX grant_log_counts_until ON grant_log (counts_until_ms);
   CREATE INDEX grant_log_window ON grant_log (policy, partition, counts_until_ms);
   -- The origin's own limiter has refused a policy until then.
   CREATE TABLE origin_block (
     policy TEXT PRIMARY KEY,
     until_ms INTEGER NOT NULL
   ) WITHOUT ROWID;
   -- Writes that KV has not acknowledged yet.
   CREATE TABLE outbox (
     digest TEXT PRIMARY KEY,
     record TEXT NOT NULL,
     generation INTEGER NOT NULL,
     writes_left INTEGER NOT NULL,
     failures INTEGER NOT NULL,
     due_at_ms INTEGER NOT NULL
   ) WITHOUT ROWID;`,
  `-- What the origin or an introspection endpoint has said about a credential, and who is to ask again.
   CREATE TABLE introspection (
     digest TEXT PRIMARY KEY,
     active INTEGER,
     obtained_at_ms INTEGER NOT NULL,
     expires_at_ms INTEGER,
     generation INTEGER NOT NULL,
     refusals INTEGER NOT NULL,
     ask_after_ms INTEGER NOT NULL,
     appointed_until_ms INTEGER NOT NULL,
     appointed_to TEXT NOT NULL,
     mirrored_at_ms INTEGER NOT NULL
   ) WITHOUT ROWID;
   -- Like outbox, of the other namespace.
   CREATE TABLE introspection_outbox (
     digest TEXT PRIMARY KEY,
     record TEXT NOT NULL,
     generation INTEGER NOT NULL,
     writes_left INTEGER NOT NULL,
     failures INTEGER NOT NULL,
     due_at_ms INTEGER NOT NULL
   ) WITHOUT ROWID;
   -- When the origin last said that a tenant of unknown subscription has none.
   ALTER TABLE tenant ADD COLUMN unsubscribed_at_ms INTEGER;`,
  `ALTER TABLE tenant ADD COLUMN status TEXT NOT NULL DEFAULT 'active';
   ALTER TABLE tenant ADD COLUMN tier TEXT;
   ALTER TABLE tenant ADD COLUMN allowed_hosts TEXT NOT NULL DEFAULT '[]';
   -- The tenant's own Postiz key, which its gateway keys are swapped for.
   ALTER TABLE tenant ADD COLUMN sealed_origin_key TEXT;
   ALTER TABLE tenant ADD COLUMN created_at_ms INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE tenant ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
   ALTER TABLE key ADD COLUMN name TEXT NOT NULL DEFAULT '';
   ALTER TABLE key ADD COLUMN hint TEXT NOT NULL DEFAULT '';
   -- NULL: everything.
   ALTER TABLE key ADD COLUMN scopes TEXT;
   ALTER TABLE key ADD COLUMN allowed_networks TEXT NOT NULL DEFAULT '[]';
   ALTER TABLE key ADD COLUMN created_at_ms INTEGER NOT NULL DEFAULT 0;
   -- Whether another secret has taken its place; it then expires when its grace does.
   ALTER TABLE key ADD COLUMN superseded INTEGER NOT NULL DEFAULT 0;
   ALTER TABLE key ADD COLUMN last_used_at_ms INTEGER;
   ALTER TABLE key ADD COLUMN last_used_country TEXT;
   CREATE INDEX key_by_id ON key (key_id);
   -- What operators have done, never with a secret; the operators' own log is told of it in the background.
   CREATE TABLE audit (
     id INTEGER PRIMARY KEY AUTOINCREMENT,
     entry TEXT NOT NULL,
     told INTEGER NOT NULL DEFAULT 0
   );
   CREATE INDEX audit_untold ON audit (id) WHERE told = 0;
   -- Creations that may be asked for again under the same Idempotency-Key.
   CREATE TABLE replay (
     idempotency_key TEXT PRIMARY KEY,
     body_digest TEXT NOT NULL,
     key_id TEXT NOT NULL,
     at_ms INTEGER NOT NULL
   ) WITHOUT ROWID;`,
  `-- The tenant that its credential was linked to: this one grants no more.
   ALTER TABLE tenant ADD COLUMN moved_to TEXT;
   -- Like outbox; what the directory is to hear.
   ${outboxTable("directory_outbox")}`,
  `-- What would have been refused, had it not been in shadow, is a grant without tokens.
   ALTER TABLE tenant ADD COLUMN shadow_policies TEXT NOT NULL DEFAULT '[]';`,
  `-- Until when isolates may decide by themselves: one row.
   CREATE TABLE latest_deadline (until_ms INTEGER NOT NULL);
   INSERT INTO latest_deadline SELECT COALESCE(MAX(usable_until_ms), 0) FROM grant_log;`,
  `-- Another one after any change that decisions rest on, by whatever version it is made: one row.
   CREATE TABLE epoch (id TEXT NOT NULL, changes INTEGER NOT NULL);
   INSERT INTO epoch VALUES (lower(hex(randomblob(8))), 0);
   CREATE TRIGGER tenant_made AFTER INSERT ON tenant BEGIN UPDATE epoch SET changes = changes + 1; END;
   CREATE TRIGGER tenant_changed AFTER UPDATE ON tenant BEGIN UPDATE epoch SET changes = changes + 1; END;
   CREATE TRIGGER key_changed
     AFTER UPDATE OF key_id, kind, state, scopes, allowed_networks, expires_at_ms, superseded, limits, generation
     ON key BEGIN UPDATE epoch SET changes = changes + 1; END;
   CREATE TRIGGER key_dropped AFTER DELETE ON key BEGIN UPDATE epoch SET changes = changes + 1; END;`,
  `-- It was read once a minute and written with every grant, each time a row that is paid for.
   DROP INDEX grant_log_counts_until;`,
  `-- When the tenant was busy enough for branches: one row, or none. And the keys whose requests they count.
   CREATE TABLE branched (at_ms INTEGER NOT NULL);
   CREATE TABLE entrusted (key_id TEXT PRIMARY KEY) WITHOUT ROWID;`,
];

export function migrate(storage: DurableObjectStorage, migrations: readonly string[]): void {
  const { sql } = storage;
  sql.exec("CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL)");
  const current =
    sql.exec<{ version: number }>("SELECT version FROM schema_version").toArray()[0]?.version ?? 0;
  if (current >= migrations.length) return;
  storage.transactionSync(() => {
    for (const migration of migrations.slice(current)) sql.exec(migration);
    sql.exec("DELETE FROM schema_version");
    sql.exec("INSERT INTO schema_version (version) VALUES (?)", migrations.length);
  });
}
