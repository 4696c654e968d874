import { createHmac } from "node:crypto";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { tagOf } from "../../src/authority/tag.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import {
  authenticityOf,
  hintOf,
  mintGatewayKey,
  nameOf,
  readGatewayKey,
} from "../../src/gateway-key/format.ts";
import { isSealedUnder, seal, unseal } from "../../src/gateway-key/seal.ts";
import { base62, DIGITS, withCrc } from "../support/base62.ts";

const SECRETS = { current: "s".repeat(40), previous: null };
const TAG = tagOf(tenantIdOf("acme"));

/** Of a name that differs from the other secrets'. */
function secretNamed(differently: string): string {
  for (let i = 0; ; i++) if (nameOf(`other secret ${i}`) !== nameOf(differently)) return `other secret ${i}`;
}

describe("a gateway key", () => {
  const key = mintGatewayKey(TAG, SECRETS);
  const parsed = readGatewayKey(key);

  it("has the documented form: prefix, secret's name, tag, entropy, MAC, checksum", () => {
    expect(key).toMatch(/^pgw_live_[0-9A-Za-z]{50}_[0-9A-Za-z]{6}$/);
    expect(key.slice("pgw_live_".length + 1, "pgw_live_".length + 17)).toBe(TAG);
    const [body = ""] = key.split(/_(?=[^_]*$)/);
    expect(key).toBe(withCrc(body));
    const signed = body.slice(0, -6);
    const digest = createHmac("sha256", SECRETS.current).update(signed).digest();
    expect(body.slice(-6)).toBe(base62(Math.floor(digest.readUIntBE(0, 5) / 32), 6));
  });

  it("is another one each time", () => {
    expect(new Set(Array.from({ length: 1_000 }, () => mintGatewayKey(TAG, SECRETS))).size).toBe(1_000);
  });

  it("is read back, and genuine", () => {
    expect(parsed).toMatchObject({ tag: TAG, secretName: nameOf(SECRETS.current) });
    expect(parsed && authenticityOf(parsed, SECRETS)).toBe("genuine");
  });

  it("with any one character changed is not read: the checksum finds it", () => {
    fc.assert(
      fc.property(fc.nat(key.length - 1), fc.constantFrom(...DIGITS, "_"), (at, digit) => {
        fc.pre(key[at] !== digit);
        expect(readGatewayKey(key.slice(0, at) + digit + key.slice(at + 1))).toBeNull();
      }),
    );
  });

  it.each([
    ["cut off", key.slice(0, -1)],
    ["with something after it", `${key}0`],
    ["with a line feed after it", `${key}\n`],
    ["of another mode", withCrc(key.slice(0, -7).replace("live", "prod"))],
    ["nothing", ""],
    ["the prefix alone", "pgw_live_"],
  ])("%s is none", (_, text) => {
    expect(readGatewayKey(text)).toBeNull();
  });

  it("made up, its checksum right, is forged: the MAC is over tag and entropy", () => {
    for (const at of ["pgw_live_".length + 1, "pgw_live_".length + 20, key.length - 10]) {
      const body = key.slice(0, -7);
      const digit = body[at] === "0" ? "1" : "0";
      const made = readGatewayKey(withCrc(body.slice(0, at) + digit + body.slice(at + 1)));
      expect(made && authenticityOf(made, SECRETS)).toBe("forged");
    }
  });

  it("for tests is another than the live one with the same digits", () => {
    const made = readGatewayKey(withCrc(key.slice(0, -7).replace("live", "test")));
    expect(made && authenticityOf(made, SECRETS)).toBe("forged");
  });

  it("stays genuine under the previous secret, and is retired when that has gone", () => {
    const next = secretNamed(SECRETS.current);
    expect(parsed && authenticityOf(parsed, { current: next, previous: SECRETS.current })).toBe("genuine");
    expect(parsed && authenticityOf(parsed, { current: next, previous: null })).toBe("retired");
    expect(parsed && authenticityOf(parsed, null)).toBe("retired");
  });

  it("is hinted at by what is no secret and its last four characters", () => {
    expect(hintOf(key)).toBe(`pgw_live_…${key.slice(-4)}`);
  });
});

describe("a sealed Postiz key", () => {
  const keys = { current: new Uint8Array(32).fill(1), previous: null };
  const sealed = seal("postiz-key", tenantIdOf("acme"), keys);

  it("opens for its tenant under its key, and tells nothing", () => {
    expect(unseal(sealed, tenantIdOf("acme"), keys)).toBe("postiz-key");
    expect(sealed).toMatch(/^[0-9a-f]{8}\.[\w-]{16}\.[\w-]+$/);
    expect(sealed).not.toContain(Buffer.from("postiz-key").toString("base64url"));
    expect(seal("postiz-key", tenantIdOf("acme"), keys)).not.toBe(sealed);
  });

  it("opens for no other tenant", () => {
    expect(unseal(sealed, tenantIdOf("acme2"), keys)).toBeNull();
  });

  it("opens under the previous key, and then is to be sealed anew", () => {
    const rotated = { current: new Uint8Array(32).fill(2), previous: keys.current };
    expect(unseal(sealed, tenantIdOf("acme"), rotated)).toBe("postiz-key");
    expect([isSealedUnder(sealed, rotated.current), isSealedUnder(sealed, keys.current)]).toEqual([
      false,
      true,
    ]);
    expect(unseal(sealed, tenantIdOf("acme"), { current: rotated.current, previous: null })).toBeNull();
  });

  it("with any one character changed, or none left, does not open, and does not throw", () => {
    fc.assert(
      fc.property(fc.nat(sealed.length - 2), fc.constantFrom(..."Ab0-_."), (at, digit) => {
        fc.pre(sealed[at] !== digit);
        expect(
          unseal(sealed.slice(0, at) + digit + sealed.slice(at + 1), tenantIdOf("acme"), keys),
        ).toBeNull();
      }),
    );
    for (const text of ["", ".", "..", sealed.slice(0, 30)])
      expect(unseal(text, tenantIdOf("acme"), keys)).toBeNull();
  });
});
