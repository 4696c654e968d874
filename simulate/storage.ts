/** A Durable Object's SQLite storage, in memory, which counts the rows that the platform would charge for. */
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import { cursorOf, inTransaction } from "../test/support/database.ts";
import type { Usage } from "./tally.ts";

interface Prepared {
  readonly statement: StatementSync;
  /** Rows written for each row changed; null for what only reads. */
  readonly writes: number | null;
}

class CountingStorage {
  readonly sql = { exec: (text: string, ...values: SQLInputValue[]) => this.#exec(text, values) };
  readonly #db = new DatabaseSync(":memory:");
  readonly #prepared = new Map<string, Prepared>();
  readonly #usage: () => Usage;
  readonly #alarm: (atMs: number) => void;
  readonly #written: () => void;

  constructor(usage: () => Usage, alarm: (atMs: number) => void, written: () => void) {
    this.#usage = usage;
    this.#alarm = alarm;
    this.#written = written;
    this.#db.exec("PRAGMA page_size = 1024; PRAGMA cache_size = 64; PRAGMA synchronous = OFF");
  }

  async setAlarm(atMs: number): Promise<void> {
    this.#alarm(atMs);
  }

  transactionSync<T>(work: () => T): T {
    return inTransaction(this.#db, work);
  }

  #exec(text: string, values: SQLInputValue[]) {
    if (text.trim().split(";").length > 1) {
      this.#db.exec(text);
      return cursorOf([]);
    }
    const { statement, writes } = this.#prepare(text);
    const usage = this.#usage();
    if (writes === null) {
      const rows = statement.all(...values);
      usage.rowsRead += rows.length;
      return cursorOf(rows);
    }
    const changes = Number(statement.run(...values).changes);
    usage.rowsWritten += changes * writes;
    if (changes > 0) this.#written();
    return cursorOf([]);
  }

  /** The table's row, and that of each index that is written along. */
  #writesOf(text: string): number | null {
    const [, verb, table] = /^\s*(INSERT INTO|UPDATE|DELETE FROM) (\w+)/.exec(text) ?? [];
    if (verb === undefined || table === undefined) return null;
    const indexes = this.#db
      .prepare("SELECT sql FROM sqlite_master WHERE type = 'index' AND tbl_name = ? AND sql IS NOT NULL")
      .all(table)
      .map(({ sql }) => /\(([^)]*)\)/.exec(String(sql))?.[1]?.split(", ") ?? []);
    const written = indexes.filter(
      (columns) => verb !== "UPDATE" || columns.some((name) => text.includes(`${name} =`)),
    );
    return 1 + written.length;
  }

  #prepare(text: string): Prepared {
    let prepared = this.#prepared.get(text);
    if (prepared === undefined) {
      const writes = this.#writesOf(text);
      prepared = { statement: this.#db.prepare(text), writes };
      this.#prepared.set(text, prepared);
    }
    return prepared;
  }
}

/** `usage`: what is charged to at the moment; `written`: told of each change. */
export function countingStorage(
  usage: () => Usage,
  alarm: (atMs: number) => void,
  written: () => void,
): DurableObjectStorage {
  return new CountingStorage(usage, alarm, written) as unknown as DurableObjectStorage;
}
