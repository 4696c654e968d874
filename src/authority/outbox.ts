/**
 * From the authority's truth to those who mirror it: KV, or the directory. A change is queued in the transaction that makes
 * it and written by the object's alarm until it has been acknowledged, so that no acknowledged change is ever lost.
 *
 * One write is in flight per key. One that timed out is given up but may still land: it is waited for before the
 * key is written again, as long as the object lives, and a tombstone is written a second time, a minute later, for
 * the case that it did not.
 */
import { within } from "../timeout.ts";

export const WRITE_TIMEOUT_MS = 10_000;
export const REWRITE_AFTER_MS = 60_000;
const BACKOFF_MIN_MS = 1_000;
const BACKOFF_MAX_MS = 300_000;
/** Times the time-out, a fraction of the 15 minutes that an alarm may run. */
const BATCH = 20;

/** One for each who mirrors. */
type OutboxTable = "outbox" | "introspection_outbox" | "directory_outbox";

/** A KV namespace, for one. */
export interface Mirror {
  put(name: string, record: string): Promise<unknown>;
}

/** A state of things to be written under `name`. */
export interface Projection {
  readonly name: string;
  readonly record: object;
  /** Against an earlier write, of this object or another, that lands late. */
  readonly twice: boolean;
  /** It can wait until that instant (ms), and hurries or spares no write of the same record that is due anyway. */
  readonly hintAtMs?: number;
}

interface OutboxRow extends Record<string, SqlStorageValue> {
  readonly digest: string;
  readonly record: string;
  readonly generation: number;
  readonly writes_left: number;
  readonly failures: number;
}

export class Outbox {
  readonly #storage: DurableObjectStorage;
  readonly #table: OutboxTable;
  readonly #mirror: Mirror;
  readonly #nowMs: () => number;
  /** Digests with a write that nobody waits for any more but that has not ended. */
  readonly #inFlight = new Set<string>();

  constructor(storage: DurableObjectStorage, table: OutboxTable, mirror: Mirror, nowMs: () => number) {
    this.#storage = storage;
    this.#table = table;
    this.#mirror = mirror;
    this.#nowMs = nowMs;
  }

  /** Call inside the transaction of the change, and arm the alarm right after it, before anything is awaited. */
  enqueue({ name, record, twice, hintAtMs }: Projection): void {
    const again =
      hintAtMs === undefined
        ? ", writes_left = excluded.writes_left, failures = 0, due_at_ms = MIN(due_at_ms, excluded.due_at_ms)"
        : "";
    this.#storage.sql.exec(
      `INSERT INTO ${this.#table} (digest, record, generation, writes_left, failures, due_at_ms) VALUES (?, ?, 1, ?, 0, ?)
       ON CONFLICT (digest) DO UPDATE SET record = excluded.record, generation = generation + 1${again}`,
      name,
      JSON.stringify(record),
      twice ? 2 : 1,
      hintAtMs ?? this.#nowMs(),
    );
  }

  /** It is not this object's to write any more. */
  drop(name: string): void {
    this.#storage.sql.exec(`DELETE FROM ${this.#table} WHERE digest = ?`, name);
  }

  /** Whether something of it has not been acknowledged yet. */
  holds(name: string): boolean {
    return this.#storage.sql.exec(`SELECT 1 FROM ${this.#table} WHERE digest = ?`, name).toArray().length > 0;
  }

  /** When (ms) the earliest write is due; null where there is none. */
  dueAtMs(): number | null {
    return this.#storage.sql
      .exec<{ due: number | null }>(`SELECT MIN(due_at_ms) AS due FROM ${this.#table}`)
      .one().due;
  }

  /** Writes what is due. Never throws for the mirror's sake: the runtime gives up on an alarm that keeps failing. */
  async drain(): Promise<void> {
    const due = this.#storage.sql
      .exec<OutboxRow>(
        `SELECT * FROM ${this.#table} WHERE due_at_ms <= ? ORDER BY due_at_ms LIMIT ?`,
        this.#nowMs(),
        BATCH,
      )
      .toArray();
    for (const row of due) {
      const failure = await this.#write(row);
      if (failure === null) this.#written(row);
      else this.#failed(row, failure);
    }
  }

  async #write({ digest, record }: OutboxRow): Promise<unknown> {
    if (this.#inFlight.has(digest)) return "an earlier write has not ended";
    this.#inFlight.add(digest);
    try {
      const put = this.#mirror.put(digest, record).finally(() => this.#inFlight.delete(digest));
      await within(WRITE_TIMEOUT_MS, put);
      return null;
    } catch (error) {
      return error;
    }
  }

  /** The generation guards a row that was replaced by a newer change while the write was under way. */
  #written(row: OutboxRow): void {
    const { sql } = this.#storage;
    if (row.writes_left > 1) {
      sql.exec(
        `UPDATE ${this.#table} SET writes_left = ?, failures = 0, due_at_ms = ? WHERE digest = ? AND generation = ?`,
        row.writes_left - 1,
        this.#nowMs() + REWRITE_AFTER_MS,
        row.digest,
        row.generation,
      );
    } else {
      sql.exec(`DELETE FROM ${this.#table} WHERE digest = ? AND generation = ?`, row.digest, row.generation);
    }
  }

  #failed(row: OutboxRow, failure: unknown): void {
    const delayMs = Math.min(BACKOFF_MIN_MS * 2 ** row.failures, BACKOFF_MAX_MS);
    this.#storage.sql.exec(
      `UPDATE ${this.#table} SET failures = failures + 1, due_at_ms = ? WHERE digest = ? AND generation = ?`,
      this.#nowMs() + delayMs,
      row.digest,
      row.generation,
    );
    console.error(
      JSON.stringify({
        event: "projection_failed",
        digest: row.digest,
        retryMs: delayMs,
        error: String(failure),
      }),
    );
  }
}
