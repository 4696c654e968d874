/** Keeps everything the gateway writes during the suite, so that the last test can look for secrets in it. */
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

export const RECORD_DIR = join(import.meta.dirname, "../../dist/test-record");
/** Outside the folder that is searched. */
export const SECRETS_FILE = join(import.meta.dirname, "../../dist/test-secrets.txt");

/**
 * `log`: events and diagnostic lines; `response`: what clients got; `kv`, `point`: what was stored there; `console`: of
 * commands and of the tests' own processes; `unit`: console, KV and SQLite of the code run in Node; `disk`: data of the
 * standalone gateway.
 */
type Kind = "log" | "response" | "kv" | "point" | "console" | "unit" | "disk";

const FLUSH_CHARACTERS = 262_144;
const pending = new Map<Kind, string>();
const known = new Set<string>();

export function record(kind: Kind, text: string): void {
  const all = `${pending.get(kind) ?? ""}${text}\n`;
  pending.set(kind, all);
  if (all.length > FLUSH_CHARACTERS) flushRecord();
}

/** A credential that the suite uses, which nothing it records may hold. */
export function recordSecret(secret: string): void {
  if (known.has(secret)) return;
  known.add(secret);
  mkdirSync(join(RECORD_DIR, ".."), { recursive: true });
  appendFileSync(SECRETS_FILE, `${secret}\n`);
}

/** After each file; see `setup.ts`. */
export function flushRecord(): void {
  if (pending.size === 0) return;
  mkdirSync(RECORD_DIR, { recursive: true });
  for (const [kind, text] of pending) appendFileSync(join(RECORD_DIR, `${kind}.txt`), text);
  pending.clear();
}

/** Stores in memory of the test under way. The latest are enough: a property makes hundreds, all alike. */
const stores: (() => string)[] = [];
const MAX_STORES = 20;

export function recordStore(dump: () => string): void {
  stores.push(dump);
  if (stores.length > MAX_STORES) stores.shift();
}

/** After each test. */
export function flushStores(): void {
  for (const dump of stores.splice(0)) record("unit", dump());
}
