/** Events that a gateway on one machine has kept, read from its folder. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, expect, it } from "vitest";
import { EVENT_LOG_FOLDER } from "../../local/gateway.ts";
import { readEvents } from "../../local/read-events.ts";

let dataDir: string;
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), "read-events-"));
});
afterEach(() => rmSync(dataDir, { recursive: true }));

/** The store's file, as far as it is made. */
function storeWith(...statements: readonly string[]): void {
  const folder = join(dataDir, "storage", EVENT_LOG_FOLDER);
  mkdirSync(folder, { recursive: true });
  const database = new DatabaseSync(join(folder, `${"0".repeat(64)}.sqlite`));
  for (const statement of statements) database.exec(statement);
  database.close();
}

const TABLE = "CREATE TABLE event (id INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL)";

it("there are none yet where the store has only just been made, and has no table", () => {
  storeWith();
  expect([...readEvents(dataDir)]).toEqual([]);
});

it("they come in the order in which they were kept", () => {
  storeWith(TABLE, `INSERT INTO event (json) VALUES ('{"status":200}'), ('{"status":401}')`);
  expect([...readEvents(dataDir)]).toEqual([{ status: 200 }, { status: 401 }]);
});

it("a folder that is no gateway's is said to be none", () => {
  expect(() => [...readEvents(dataDir)]).toThrow(`${dataDir} is not the data folder of a gateway.`);
});
