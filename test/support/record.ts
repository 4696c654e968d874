/** Keeps everything the gateway writes during the suite, so that the last test can look for secrets in it. */
import { appendFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

export const RECORD_DIR = join(import.meta.dirname, "../../dist/test-record");
/** Outside the folder that is searched. */
export const SECRETS_FILE = join(import.meta.dirname, "../../dist/test-secrets.txt");

export function record(kind: "log" | "response" | "kv" | "point" | "console", text: string): void {
  mkdirSync(RECORD_DIR, { recursive: true });
  appendFileSync(join(RECORD_DIR, `${kind}.txt`), `${text}\n`);
}

/** A credential that the suite uses, which nothing it records may hold. */
export function recordSecret(secret: string): void {
  appendFileSync(SECRETS_FILE, `${secret}\n`);
}
