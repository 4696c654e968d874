import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { digestOf, readCredential } from "../../src/credential/credential.ts";
import { denialOf, passed, reasonOf } from "./result.ts";

const KEY = "0b5a3c6e9d21f478".repeat(4);
const TOKEN = `pos_${"aZ9".repeat(13)}b`;

const sent = (authorization: string): Headers => new Headers({ Authorization: authorization });
/** For values that Node's own Headers do not hold: workerd turns bytes that are no UTF-8 into U+FFFD. */
const received = (authorization: string): Headers => ({ get: () => authorization }) as unknown as Headers;

describe("a credential is read from Authorization", () => {
  it.each([
    ["raw, as Postiz documents it", KEY, "api_key", KEY],
    ["with Bearer", `Bearer ${KEY}`, "api_key", KEY],
    ["with bearer in lower case", `bearer ${KEY}`, "api_key", KEY],
    ["with BEARER in upper case", `BEARER ${KEY}`, "api_key", KEY],
    ["with several spaces after Bearer", `Bearer   ${KEY}`, "api_key", KEY],
    ["with white space around it", `  ${KEY}\t`, "api_key", KEY],
    ["free text, as the column allows", "!my~key+/=", "api_key", "!my~key+/="],
    ["a key that only begins like a scheme", "BearerX", "api_key", "BearerX"],
    ["a key that only ends like a scheme", "XBearer", "api_key", "XBearer"],
    ["a token, raw", TOKEN, "oauth_token", TOKEN],
    ["a token with Bearer", `bEaReR ${TOKEN}`, "oauth_token", TOKEN],
    ["a token's prefix in another case, which is a key", TOKEN.toUpperCase(), "api_key", TOKEN.toUpperCase()],
    ["a prefix that is not at the start", `x${TOKEN}`, "api_key", `x${TOKEN}`],
    ["a gateway key", "pgw_live_1abc", "gateway_key", "pgw_live_1abc"],
    ["a gateway key with Bearer", "Bearer pgw_", "gateway_key", "pgw_"],
  ])("%s", (_, authorization, kind, secret) => {
    expect(passed(readCredential(sent(authorization)))).toEqual({ kind, secret });
  });

  it("and nowhere else", () => {
    const headers = new Headers({
      "X-Api-Key": KEY,
      Cookie: `auth=${KEY}`,
      "Proxy-Authorization": KEY,
      auth: KEY,
    });
    expect(reasonOf(readCredential(headers))).toBe("credential_missing");
  });

  it("an empty header is no credential", () => {
    expect(reasonOf(readCredential(sent("")))).toBe("credential_missing");
    expect(reasonOf(readCredential(sent("   ")))).toBe("credential_missing");
  });
});

describe("a malformed credential is refused before anyone is asked about it", () => {
  const twoHeaders = sent(KEY);
  twoHeaders.append("Authorization", KEY);

  it.each([
    ["two headers", twoHeaders],
    ["a comma", sent(`${KEY},${KEY}`)],
    ["a comma at the end", sent(`${KEY},`)],
    ["only a comma", sent(",")],
    ["an inner space", sent("abc def")],
    ["an inner tab", sent("abc\tdef")],
    ["a scheme that is not at the start", sent(`X-Bearer ${KEY}`)],
    ["another scheme", sent("Basic dXNlcjpwYXNz")],
    ["Bearer twice", sent(`Bearer Bearer ${KEY}`)],
    ["Bearer followed by a tab", sent(`Bearer\t${KEY}`)],
    ["Bearer alone", sent("Bearer")],
    ["Bearer and a space", received("Bearer ")],
    ["a control byte", sent("abc\x01def")],
    ["a delete byte", sent("abc\x7f")],
    ["Latin-1", sent("clé")],
    ["bytes that are no UTF-8", received("abc\ufffd")],
    ["a character outside the BMP", received("abc😀")],
  ])("%s", (_, headers) => {
    const denial = denialOf(readCredential(headers));
    expect(denial).toMatchObject({ reason: "credential_malformed", aboutToken: false });
  });

  it("512 bytes pass, 513 do not, with Bearer or without", () => {
    for (const prefix of ["", "Bearer "]) {
      expect(passed(readCredential(sent(prefix + "k".repeat(512)))).secret).toHaveLength(512);
      expect(reasonOf(readCredential(sent(prefix + "k".repeat(513))))).toBe("credential_malformed");
    }
  });

  it.each([
    ["spaces after Bearer, to 64 bytes with it", `Bearer${" ".repeat(58)}`, "passed"],
    ["one more", `Bearer${" ".repeat(59)}`, "credential_malformed"],
  ])("%s, before 512 bytes: %s", (_, scheme, outcome) => {
    expect(reasonOf(readCredential(sent(scheme + "k".repeat(512))))).toBe(outcome);
  });

  it.each([
    ["spaces after Bearer", `Bearer${" ".repeat(10_000_000)}${KEY}`],
    ["a key", "k".repeat(10_000_000)],
    ["commas", ",".repeat(10_000_000)],
    ["what begins like a token", `pos_${"a".repeat(10_000_000)}`],
  ])("ten megabytes of %s are not looked at", (_, authorization) => {
    const headers = received(authorization);
    const startedAt = performance.now();
    for (let i = 0; i < 1_000; i++) readCredential(headers);
    // Reading it all would take a thousand times ten milliseconds.
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    expect(reasonOf(readCredential(headers))).toBe("credential_malformed");
  });

  it.each([
    ["too short", TOKEN.slice(0, -1)],
    ["too long", `${TOKEN}x`],
    ["whose prefix is there twice", `pos_${TOKEN}`],
    ["with another character", `pos_${"a".repeat(39)}-`],
    ["empty", "pos_"],
    ["with an inner space", `Bearer ${TOKEN} x`],
    ["sent twice", `${TOKEN}, ${TOKEN}`],
    ["beyond 512 bytes", `pos_${"a".repeat(509)}`],
  ])("a token %s is a malformed token, not a key", (_, authorization) => {
    const denial = denialOf(readCredential(sent(authorization)));
    expect(denial).toMatchObject({ reason: "credential_malformed", aboutToken: true });
  });

  it("whatever bytes arrive: one well-formed value, or a refusal that does not repeat them", () => {
    const secretChars = fc.string({ unit: "binary", minLength: 8, maxLength: 600 });
    fc.assert(
      fc.property(secretChars, fc.constantFrom("", "Bearer ", "pos_", "pgw_"), (text, prefix) => {
        const result = readCredential(received(prefix + text));
        if (result.ok) expect(result.value.secret).toMatch(/^[!-+\--~]{1,512}$/);
        else expect(result.denial.detail).not.toContain(text);
      }),
    );
  });
});

describe("the digest", () => {
  it.each([
    // FIPS 180-2, appendix B.1, and the demo key of the tenant acme.
    ["abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"],
    ["acme-demo-key", "8676d15d94dabdd1283e6c407e2bb08a7b5c13b4e3667d4795c17172e080a3d4"],
  ])("of %s is its SHA-256 in lower-case hex", (secret, digest) => {
    expect(digestOf(secret)).toBe(digest);
  });
});
