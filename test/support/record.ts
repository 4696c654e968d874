/** Keeps everything the gateway writes during the suite, so that the last test can look for secrets in it. */
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

export const RECORD_DIR = join(import.meta.dirname, "../../dist/test-record");

export function record(kind: "log" | "response" | "kv-key" | "start", text: string): void {
  mkdirSync(RECORD_DIR, { recursive: true });
  appendFileSync(join(RECORD_DIR, `${kind}.txt`), `${text}\n`);
}
