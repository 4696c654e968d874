/** What a Durable Object's storage does and Node's SQLite does otherwise. */
import type { DatabaseSync } from "node:sqlite";

export function inTransaction<T>(db: DatabaseSync, work: () => T): T {
  db.exec("BEGIN");
  try {
    const result = work();
    db.exec("COMMIT");
    return result;
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}

export function cursorOf(rows: unknown[]) {
  return {
    toArray: () => rows,
    [Symbol.iterator]: () => rows[Symbol.iterator](),
    one() {
      if (rows.length !== 1) throw new Error(`expected one row, found ${rows.length}`);
      return rows[0];
    },
  };
}
