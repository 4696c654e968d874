/** What can be learnt about a credential from how long its refusal takes, and what of it is kept. */
import * as nodeCrypto from "node:crypto";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { unstable_readConfig } from "wrangler";
import { holdsToken } from "../../src/admin/operator.ts";
import { tagOf } from "../../src/authority/tag.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { type Credential, digestOf } from "../../src/credential/credential.ts";
import { authenticityOf, mintGatewayKey, readGatewayKey } from "../../src/gateway-key/format.ts";
import { withCrc } from "../support/base62.ts";
import { WISH } from "../support/wish.ts";
import { World } from "../support/world.ts";
import { reasonOf } from "./result.ts";

vi.mock("node:crypto", { spy: true });
const compare = vi.mocked(nodeCrypto.timingSafeEqual);

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const ACME = tenantIdOf("acme");
const keyOf = (name: string): Credential => ({ kind: "api_key", secret: digestOf(`key ${name}`) });
const MAC = { KEY_MAC_SECRET: "c".repeat(32), SEALING_KEY: Buffer.alloc(32, 1).toString("base64") };

/** A tenant with an API key of every kind, as KV and its authority know them. */
async function tenantWithKeys(): Promise<World> {
  const world: World = new World(MAC, {
    limit: async () => {
      world.steps.push("FLOOD.limit");
      return { success: true };
    },
  });
  const authority = world.authority("acme");
  await authority.createTenant(ACME, "Acme", "tests");
  await authority.setOriginKey("the key that Postiz knows", "tests");
  for (const keyId of ["hit", "disabled", "expired"]) {
    const expiresAtMs = keyId === "expired" ? Date.now() + 1 : null;
    const key = { digest: digestOf(keyOf(keyId).secret), keyId, name: keyId, expiresAtMs };
    await authority.import(ACME, [{ type: "api_key", tenantId: ACME, ...key }], "tests");
  }
  await authority.enableKey("disabled", false, "tests");
  await world.pass(2);
  return world;
}

/** What an isolate awaits that knows the host name, and not the credential. */
async function stepsFor(world: World, credential: Credential): Promise<{ outcome: string; steps: string[] }> {
  const isolate = world.isolate();
  await isolate.hosts.ownerOf("api.example.com", () => {});
  const before = world.steps.length;
  const { result } = await world.ask(isolate, credential);
  return { outcome: reasonOf(result), steps: world.steps.slice(before) };
}

describe("among cold, well-formed credentials", () => {
  it("an API key that is good, unknown, disabled or expired takes the same number of awaited steps", async () => {
    const world = await tenantWithKeys();
    const LOOK = "CREDENTIALS.get";
    const found = [LOOK, "TENANT_AUTHORITY.lease"];
    expect(await stepsFor(world, keyOf("hit"))).toEqual({ outcome: "passed", steps: found });
    expect(await stepsFor(world, keyOf("miss"))).toEqual({
      outcome: "key_unknown",
      steps: [LOOK, "FLOOD.limit"],
    });
    expect(await stepsFor(world, keyOf("disabled"))).toEqual({ outcome: "key_disabled", steps: found });
    expect(await stepsFor(world, keyOf("expired"))).toEqual({ outcome: "key_expired", steps: found });
  });

  it("a gateway key that was made here is good, unknown or disabled in one step; one that was not, in none", async () => {
    const world = await tenantWithKeys();
    const authority = world.authority("acme");
    const issue = async (): Promise<{ keyId: string; credential: Credential }> => {
      const made = await authority.issueKey(WISH, null, "tests");
      if (!made.ok || made.value.secret === null) throw new Error("not issued");
      return { keyId: made.value.key.id, credential: { kind: "gateway_key", secret: made.value.secret } };
    };
    const [good, disabled] = [await issue(), await issue()];
    await authority.enableKey(disabled.keyId, false, "tests");
    const secrets = { current: MAC.KEY_MAC_SECRET, previous: null };
    const unknown: Credential = { kind: "gateway_key", secret: mintGatewayKey(tagOf(ACME), secrets) };
    const steps = ["TENANT_AUTHORITY.lease"];
    expect(await stepsFor(world, good.credential)).toEqual({ outcome: "passed", steps });
    expect(await stepsFor(world, unknown)).toEqual({ outcome: "key_unknown", steps });
    expect(await stepsFor(world, disabled.credential)).toEqual({ outcome: "key_disabled", steps });
    const swapped =
      unknown.secret.slice(0, 30) + (unknown.secret[30] === "a" ? "b" : "a") + unknown.secret.slice(31, -7);
    const forged: Credential = { kind: "gateway_key", secret: withCrc(swapped) };
    expect(await stepsFor(world, forged)).toEqual({ outcome: "key_unknown", steps: [] });
  });
});

describe("a secret is compared in constant time, wherever it is wrong", () => {
  const TOKEN = "an-admin-token-of-some-length-0123";

  it.each([
    ["right", TOKEN, true],
    ["wrong at its first character", `x${TOKEN.slice(1)}`, false],
    ["wrong at its last character", `${TOKEN.slice(0, -1)}x`, false],
    ["too short", TOKEN.slice(0, 5), false],
    ["too long", `${TOKEN}${TOKEN}`, false],
  ])("the admin token, %s: one comparison of digests", (_, presented, holds) => {
    compare.mockClear();
    expect(holdsToken(new Headers({ Authorization: `Bearer ${presented}` }), TOKEN)).toBe(holds);
    expect(compare.mock.calls.map((sides) => sides.map((side) => side.byteLength))).toEqual([[32, 32]]);
  });

  it.each([-1, 0, 5])(
    "the MAC of a gateway key, with character %i of it changed: one comparison",
    (wrongAt) => {
      const secrets = { current: MAC.KEY_MAC_SECRET, previous: null };
      const key = readGatewayKey(mintGatewayKey(tagOf(ACME), secrets));
      if (key === null) throw new Error("not read");
      const mac = [...key.mac]
        .map((digit, i) => (i !== wrongAt ? digit : digit === "0" ? "1" : "0"))
        .join("");
      compare.mockClear();
      expect(authenticityOf({ ...key, mac }, secrets)).toBe(wrongAt === -1 ? "genuine" : "forged");
      expect(compare.mock.calls.map((sides) => sides.map((side) => side.byteLength))).toEqual([[6, 6]]);
    },
  );
});

describe("an admin token", () => {
  it("is no longer than any credential: what is longer is not hashed", () => {
    const hash = vi.mocked(nodeCrypto.createHash).mockClear();
    const presented = (length: number) => new Headers({ Authorization: `Bearer ${"k".repeat(length)}` });
    expect(holdsToken(presented(513), "t".repeat(64))).toBe(false);
    expect(hash).not.toHaveBeenCalled();
    expect(holdsToken(presented(512), "t".repeat(64))).toBe(false);
    expect(hash).toHaveBeenCalled();
    // Who has chosen a longer one can use it.
    expect(holdsToken(presented(600), "k".repeat(600))).toBe(true);
  });
});

it("the platform writes no lines of its own about requests: their URLs may hold a key (/mcp/KEY)", () => {
  const { observability } = unstable_readConfig({ config: join(import.meta.dirname, "../../wrangler.toml") });
  expect(observability).toMatchObject({ enabled: true, logs: { invocation_logs: false } });
});
