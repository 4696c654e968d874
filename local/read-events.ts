/** `npm run standalone -- events`: what the gateway has kept about its requests, also while it runs. */
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { GatewayEvent } from "../src/telemetry/event.ts";
import { EVENT_LOG_FOLDER } from "./gateway.ts";
import { UserError } from "./project.ts";

/** Oldest first. */
export function* readEvents(dataDir: string): Generator<GatewayEvent> {
  const storage = join(dataDir, "storage");
  if (!existsSync(storage)) throw new UserError(`${dataDir} is not the data folder of a gateway.`);
  const folder = join(storage, EVENT_LOG_FOLDER);
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const files = names.filter((name) => /^[0-9a-f]{64}\.sqlite$/.test(name));
  for (const file of files) {
    const database = new DatabaseSync(join(folder, file), { readOnly: true });
    // The store makes its file first, and its table a moment later.
    const isMade = database.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'event'").get() !== undefined;
    const rows = isMade ? database.prepare("SELECT json FROM event ORDER BY id").iterate() : [];
    for (const row of rows) yield JSON.parse(String(row["json"])) as GatewayEvent;
    database.close();
  }
}

const COLUMNS = [
  "time",
  "status",
  "outcome",
  "tenant",
  "keyId",
  "method",
  "route",
  "gatewayMs",
  "originMs",
] as const;

/** A line of text, in columns. */
export function renderEvent(event: GatewayEvent): string {
  const widths = [24, 3, 22, 20, 12, 6, 24, 5, 5];
  return COLUMNS.map((name, i) => String(event[name] || "-").padEnd(widths[i] ?? 0))
    .join(" ")
    .trimEnd();
}
