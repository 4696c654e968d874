/** Runs last: everything that the gateway wrote during the suite, searched for everything that must not be in it. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { DEMO } from "../demo/tenants.ts";
import { digestOf } from "../src/credential/credential.ts";
import { RECORD_DIR } from "./support/record.ts";

/** Credentials of the demo and of the suite's tenants, and the secrets that the suite configures. */
const SECRETS: readonly string[] = [
  ...Object.values(DEMO.acme),
  ...Object.values(DEMO.lapsed),
  ...["answers", "forwarding", "crowd", "official", "misbehaved", "flooded", "revoked-tenant"].map((id) =>
    digestOf(`key of ${id}`),
  ),
  "access-secret-of-the-suite",
];

const written = readdirSync(RECORD_DIR).map((name) => ({
  name,
  text: readFileSync(join(RECORD_DIR, name), "utf8"),
}));

it("has something to search: logs, answers and KV keys of the whole suite", () => {
  const sizes = Object.fromEntries(written.map(({ name, text }) => [name, text.length]));
  for (const name of ["log.txt", "response.txt", "kv-key.txt"])
    expect(sizes[name], name).toBeGreaterThan(500);
});

it.each(SECRETS.map((secret) => [secret.slice(0, 6), secret]))(
  "never wrote the secret beginning with %s",
  (_, secret) => {
    for (const { name, text } of written) {
      expect(text.includes(secret), name).toBe(false);
    }
  },
);
