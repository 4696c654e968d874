/** A Durable Object's SQLite storage in Node, with the authority's schema: real SQL, without the runtime. */
import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import { AUTHORITY_MIGRATIONS, migrate } from "../../src/authority/schema.ts";
import { cursorOf, inTransaction } from "./database.ts";
import { recordStore } from "./record.ts";

/** What the authority uses of it. */
class SqliteStorage {
  readonly #db = new DatabaseSync(":memory:");
  readonly sql = { exec: (text: string, ...values: SQLInputValue[]) => this.#exec(text, values) };

  constructor() {
    recordStore(() => this.#dump());
  }

  /** When the alarm is set for. */
  alarmAtMs: number | null = null;

  async setAlarm(atMs: number): Promise<void> {
    this.alarmAtMs = atMs;
  }

  clearAlarm(): void {
    this.alarmAtMs = null;
  }

  transactionSync<T>(work: () => T): T {
    return inTransaction(this.#db, work);
  }

  #dump(): string {
    const tables = this.#db.prepare("SELECT name FROM sqlite_master WHERE type = 'table'").all();
    return tables
      .map(({ name }) => JSON.stringify(this.#db.prepare(`SELECT * FROM "${name}" LIMIT 1000`).all()))
      .join("\n");
  }

  #exec(text: string, values: SQLInputValue[]) {
    if (text.trim().split(";").length > 1) {
      this.#db.exec(text);
      return cursorOf([]);
    }
    return cursorOf(this.#db.prepare(text).all(...values));
  }
}

export function memoryStorage(
  migrations = AUTHORITY_MIGRATIONS,
): DurableObjectStorage & Pick<SqliteStorage, "alarmAtMs" | "clearAlarm"> {
  const storage = new SqliteStorage() as unknown as DurableObjectStorage & SqliteStorage;
  migrate(storage, migrations);
  return storage;
}
