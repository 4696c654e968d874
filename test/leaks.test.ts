/** Runs last: everything that the gateway wrote during the suite, searched for everything that must not be in it. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { DEMO } from "../demo/tenants.ts";
import { readGatewayKey } from "../src/gateway-key/format.ts";
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

it("has something to search: logs, answers, stores, Analytics Engine points, consoles and disks of the whole suite", () => {
  const sizes = Object.fromEntries(written.map(({ name, text }) => [name, text.length]));
  const names = ["log", "response", "kv", "point", "console", "unit", "disk"];
  for (const name of names) expect(sizes[`${name}.txt`], name).toBeGreaterThan(500);
});

describe.each(written)("$name", ({ text }) => {
  it("holds none of the suite's secrets", () => {
    expect(SECRETS.length).toBeGreaterThan(100);
    const leaked = SECRETS.filter((secret) => text.includes(secret)).map((secret) => secret.slice(0, 6));
    expect(leaked).toEqual([]);
  });

  it("holds nothing that is a gateway key, whoever made it", () => {
    const found = text.match(/pgw_(?:live|test)_\w{57}/g) ?? [];
    expect(found.filter((key) => readGatewayKey(key) !== null).map((key) => key.slice(0, 12))).toEqual([]);
  });
});
