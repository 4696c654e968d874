/** One KV namespace: a table in one Durable Object. Knows nothing of the protocol, and is told the time. */
import { DurableObject } from "cloudflare:workers";

export interface Entry {
  readonly value: ArrayBuffer;
  /** JSON, as the binding sent it. */
  readonly metadata: string | null;
  /** Seconds since the epoch. */
  readonly expiration: number | null;
}

export interface ListedKey {
  readonly name: string;
  readonly metadata: string | null;
  readonly expiration: number | null;
}

const ALIVE = "(expiration IS NULL OR expiration > ?)";

export class KvStore extends DurableObject<unknown> {
  readonly #sql = this.ctx.storage.sql;

  constructor(ctx: DurableObjectState, env: unknown) {
    super(ctx, env);
    this.#sql.exec(`
      CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value BLOB NOT NULL, metadata TEXT, expiration INTEGER);
      CREATE INDEX IF NOT EXISTS entries_by_expiration ON entries (expiration) WHERE expiration IS NOT NULL;
    `);
  }

  /** In the order asked for; null for what is absent or has expired. */
  get(keys: readonly string[], nowSeconds: number): (Entry | null)[] {
    const select = `SELECT value, metadata, expiration FROM entries WHERE key = ? AND ${ALIVE}`;
    return keys.map((key) => this.#sql.exec<Row>(select, key, nowSeconds).toArray()[0] ?? null);
  }

  put(key: string, { value, metadata, expiration }: Entry, nowSeconds: number): void {
    // Here rather than by an alarm: what nobody reads any more takes no room after the next write.
    this.#sql.exec("DELETE FROM entries WHERE expiration <= ?", nowSeconds);
    const insert = "INSERT OR REPLACE INTO entries (key, value, metadata, expiration) VALUES (?, ?, ?, ?)";
    this.#sql.exec(insert, key, value, metadata, expiration);
  }

  delete(key: string): void {
    this.#sql.exec("DELETE FROM entries WHERE key = ?", key);
  }

  /** In the order of the keys' UTF-8 bytes, as the platform lists them. */
  list(prefix: string, after: string, limit: number, nowSeconds: number): ListedKey[] {
    const query = `SELECT key AS name, metadata, expiration FROM entries
      WHERE key >= ? AND substr(key, 1, ?) = ? AND key > ? AND ${ALIVE} ORDER BY key LIMIT ?`;
    const prefixLength = [...prefix].length;
    return this.#sql.exec<ListedRow>(query, prefix, prefixLength, prefix, after, nowSeconds, limit).toArray();
  }
}

type Row = Entry & Record<string, SqlStorageValue>;
type ListedRow = ListedKey & Record<string, SqlStorageValue>;
