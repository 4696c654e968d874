/** In every test file: what it writes, and leaves in its stores, is kept for the search at the end. */
import { afterAll, afterEach } from "vitest";
import { flushRecord, flushStores, record } from "./record.ts";

for (const method of ["log", "info", "warn", "error"] as const) {
  const write = console[method].bind(console);
  console[method] = (...words: unknown[]) => {
    record("console", words.map(String).join(" "));
    write(...words);
  };
}

afterEach(() => flushStores());
afterAll(() => flushRecord());
