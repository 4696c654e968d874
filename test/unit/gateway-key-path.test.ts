/** Which stores a gateway key costs: none but its own authority, unless its MAC secret has gone. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { tagOf } from "../../src/authority/tag.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import type { Credential } from "../../src/credential/credential.ts";
import { mintGatewayKey, nameOf } from "../../src/gateway-key/format.ts";
import { withCrc } from "../support/base62.ts";
import { WISH } from "../support/wish.ts";
import { World } from "../support/world.ts";
import { passed, reasonOf } from "./result.ts";

const CURRENT = "c".repeat(32);
/** Of another name, so that a key says which it was made under. */
const LATER =
  ["d", "e"].map((letter) => letter.repeat(32)).find((secret) => nameOf(secret) !== nameOf(CURRENT)) ?? "";

let world: World;

beforeEach(() => {
  world = new World({ KEY_MAC_SECRET: CURRENT, SEALING_KEY: Buffer.alloc(32, 1).toString("base64") });
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const presented = (secret: string): Credential => ({ kind: "gateway_key", secret });

async function issued(): Promise<Credential> {
  const authority = world.authority("acme");
  await authority.createTenant(tenantIdOf("acme"), "Acme", "tests");
  await authority.setOriginKey("postiz-key", "tests");
  const made = await authority.issueKey(WISH, null, "tests");
  return presented((made.ok && made.value.secret) || "");
}

describe("a gateway key", () => {
  it("costs no read of KV, from its first use on, and one call to its authority for as long as a lease lasts", async () => {
    const key = await issued();
    world.credentials.lagging = true;
    const isolate = world.isolate();
    for (let i = 1; i <= 2; i++) {
      const { result, decidedBy } = await world.ask(isolate, key);
      expect(passed(result)).toMatchObject({ tenantId: "acme", originKey: "postiz-key" });
      const decided = [decidedBy, world.credentials.reads, world.authorityCalls];
      expect(decided).toEqual([i === 1 ? "authority" : "lease", 0, 1]);
    }
  });

  it("made up costs nothing at all", async () => {
    const forged = mintGatewayKey(tagOf(tenantIdOf("acme")), { current: LATER, previous: null });
    const name = nameOf(CURRENT);
    const isolate = world.isolate();
    // Of the right secret's name, and with the checksum made anew, but the MAC of another.
    const { result } = await world.ask(
      isolate,
      presented(withCrc(forged.slice(0, 9) + name + forged.slice(10, -7))),
    );
    expect(reasonOf(result)).toBe("key_unknown");
    expect([world.credentials.reads, world.authorityCalls]).toEqual([0, 0]);
  });

  it("whose secret has gone is found in KV, once, and goes on working", async () => {
    const key = await issued();
    await world.pass(1);
    const isolate = world.isolate({ KEY_MAC_SECRET: LATER });
    for (let i = 0; i < 3; i++) passed((await world.ask(isolate, key)).result);
    expect(world.credentials.reads).toBe(1);
  });

  it("that nobody has made, under a secret that nobody knows, is unknown after one look, and asks no origin", async () => {
    const learning = world.isolate({ LEARN_FROM_ORIGIN: "true" });
    const stranger = presented(mintGatewayKey(tagOf(tenantIdOf("acme")), { current: LATER, previous: null }));
    for (let i = 0; i < 3; i++)
      expect(reasonOf((await world.ask(learning, stranger)).result)).toBe("key_unknown");
    expect([world.credentials.reads, world.authorityCalls, world.originCalls]).toEqual([1, 0, 0]);
  });
});
