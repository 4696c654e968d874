/** Runs last: everything that the gateway wrote during the suite, searched for everything that must not be in it. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { DEMO } from "../demo/tenants.ts";
import { RECORD_DIR, SECRETS_FILE } from "./support/record.ts";

/** Credentials of the demo and of all the suite's tenants, and the secret that the suite configures. */
const SECRETS: readonly string[] = [
  ...Object.values(DEMO.acme),
  ...Object.values(DEMO.lapsed),
  ...new Set(readFileSync(SECRETS_FILE, "utf8").trim().split("\n")),
  "access-secret-of-the-suite",
];

const written = readdirSync(RECORD_DIR).map((name) => ({
  name,
  text: readFileSync(join(RECORD_DIR, name), "utf8"),
}));

it("has something to search: logs, answers, KV, Analytics Engine points and the console of the whole suite", () => {
  const sizes = Object.fromEntries(written.map(({ name, text }) => [name, text.length]));
  for (const name of ["log.txt", "response.txt", "kv.txt", "point.txt", "console.txt"])
    expect(sizes[name], name).toBeGreaterThan(500);
});

it("never wrote a secret", () => {
  expect(SECRETS.length).toBeGreaterThan(30);
  for (const { name, text } of written) {
    const leaked = SECRETS.filter((secret) => text.includes(secret)).map((secret) => secret.slice(0, 6));
    expect(leaked, name).toEqual([]);
  }
});
