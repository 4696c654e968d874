/**
 * From the authority's truth to its projection in KV. A change is queued in the transaction that makes it and
 * written by the object's alarm until KV has acknowledged it, so that no acknowledged change is ever lost.
 *
 * One write is in flight per key, because the alarm awaits each. A tombstone is written a second time later: an
 * earlier write that timed out may have landed after the first.
 */
import { within } from "../timeout.ts";
import type { CredentialRecord } from "./credential-record.ts";

const WRITE_TIMEOUT_MS = 10_000;
const REWRITE_AFTER_MS = 60_000;
const BACKOFF_MIN_MS = 1_000;
const BACKOFF_MAX_MS = 300_000;
/** A fraction of the writes that one alarm may make (1,000 a Worker invocation). */
const BATCH = 100;

interface OutboxRow extends Record<string, SqlStorageValue> {
  readonly digest: string;
  readonly record: string;
  readonly generation: number;
  readonly writes_left: number;
  readonly failures: number;
}

export class Outbox {
  readonly #storage: DurableObjectStorage;
  readonly #kv: KVNamespace;

  constructor(storage: DurableObjectStorage, kv: KVNamespace) {
    this.#storage = storage;
    this.#kv = kv;
  }

  /** Call inside the transaction of the change; `arm` after it. */
  enqueue(digest: string, record: CredentialRecord, nowMs: number): void {
    this.#storage.sql.exec(
      `INSERT OR REPLACE INTO outbox (digest, record, generation, writes_left, failures, due_at_ms)
       VALUES (?, ?, ?, ?, 0, ?)`,
      digest,
      JSON.stringify(record),
      record.generation,
      record.state === "revoked" ? 2 : 1,
      nowMs,
    );
  }

  /** Sets the alarm for the earliest write that is due, if there is one. */
  async arm(): Promise<void> {
    const dueAtMs = this.#storage.sql
      .exec<{ due: number | null }>("SELECT MIN(due_at_ms) AS due FROM outbox")
      .one().due;
    if (dueAtMs !== null) await this.#storage.setAlarm(dueAtMs);
  }

  /** Writes what is due. Never throws for KV's sake: the runtime gives up on an alarm that keeps failing. */
  async drain(nowMs: number): Promise<void> {
    const due = this.#storage.sql
      .exec<OutboxRow>("SELECT * FROM outbox WHERE due_at_ms <= ? ORDER BY due_at_ms LIMIT ?", nowMs, BATCH)
      .toArray();
    for (const row of due) {
      const failure = await this.#write(row);
      if (failure === null) this.#written(row, nowMs);
      else this.#failed(row, failure, nowMs);
    }
  }

  async #write(row: OutboxRow): Promise<unknown> {
    try {
      await within(WRITE_TIMEOUT_MS, this.#kv.put(row.digest, row.record));
      return null;
    } catch (error) {
      return error;
    }
  }

  /** The generation guards a row that was replaced by a newer change while the write was under way. */
  #written(row: OutboxRow, nowMs: number): void {
    const { sql } = this.#storage;
    if (row.writes_left > 1) {
      sql.exec(
        "UPDATE outbox SET writes_left = ?, failures = 0, due_at_ms = ? WHERE digest = ? AND generation = ?",
        row.writes_left - 1,
        nowMs + REWRITE_AFTER_MS,
        row.digest,
        row.generation,
      );
    } else {
      sql.exec("DELETE FROM outbox WHERE digest = ? AND generation = ?", row.digest, row.generation);
    }
  }

  #failed(row: OutboxRow, failure: unknown, nowMs: number): void {
    const delayMs = Math.min(BACKOFF_MIN_MS * 2 ** row.failures, BACKOFF_MAX_MS);
    this.#storage.sql.exec(
      "UPDATE outbox SET failures = failures + 1, due_at_ms = ? WHERE digest = ? AND generation = ?",
      nowMs + delayMs,
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
