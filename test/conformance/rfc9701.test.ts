/** RFC 9701, signed answers to introspection: only what that server has signed, for this gateway and just now, counts. */
import { randomBytes } from "node:crypto";
import { base64url, CompactEncrypt, exportJWK, generateKeyPair, SignJWT, UnsecuredJWT } from "jose";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  AUDIENCE,
  type Endpoint,
  ISSUER,
  introspectionEndpoint,
  restore,
} from "../support/introspection-endpoint.ts";

const TYPE = "token-introspection+jwt";

type Key = Awaited<ReturnType<typeof generateKeyPair>>["privateKey"];
let signer: Key;
let stranger: Key;
let jwks: { keys: object[] };

beforeAll(async () => {
  const { publicKey, privateKey } = await generateKeyPair("ES256");
  signer = privateKey;
  stranger = (await generateKeyPair("ES256")).privateKey;
  jwks = { keys: [{ ...(await exportJWK(publicKey)), kid: "1", alg: "ES256", use: "sig" }] };
});
afterEach(restore);

interface Wrong {
  readonly typ?: string | undefined;
  readonly alg?: string;
  readonly kid?: string;
  readonly key?: Key | Uint8Array;
  readonly claims?: Record<string, unknown>;
  readonly introspection?: unknown;
  readonly contentType?: string;
}

const now = (): number => Math.floor(Date.now() / 1_000);
const inform = (text: string, type = `application/${TYPE}`): Response =>
  new Response(text, { headers: { "Content-Type": type } });

/** An answer that is right but for what is said; a claim that is undefined is left out. */
async function jwt(wrong: Wrong = {}): Promise<string> {
  const introspection = "introspection" in wrong ? wrong.introspection : { active: true };
  const claims = {
    iss: ISSUER,
    aud: AUDIENCE,
    iat: now(),
    token_introspection: introspection,
    ...wrong.claims,
  };
  const payload = JSON.parse(JSON.stringify(claims)) as Record<string, unknown>;
  const typ = "typ" in wrong ? wrong.typ : TYPE;
  return new SignJWT(payload)
    .setProtectedHeader({
      alg: wrong.alg ?? "ES256",
      kid: wrong.kid ?? "1",
      ...(typ !== undefined && { typ }),
    })
    .sign(wrong.key ?? signer);
}

const signed = async (wrong: Wrong = {}): Promise<Response> => inform(await jwt(wrong), wrong.contentType);

function endpoint(answer: Endpoint["answer"]): Endpoint {
  const made = introspectionEndpoint(jwks);
  made.answer = answer;
  return made;
}

describe("RFC 9701, an answer that counts", () => {
  it("§4 is asked for by its type", async () => {
    const asked = endpoint(() => signed());
    expect(await asked.decide()).toBe("granted");
    expect(new Headers(asked.questions[0]?.init.headers).get("Accept")).toBe(`application/${TYPE}`);
  });

  it.each<[string, () => Wrong, string]>([
    ["§5 active", () => ({}), "granted"],
    ["§5 not active", () => ({ introspection: { active: false } }), "token_inactive"],
    ["§5 active, exp to come", () => ({ introspection: { active: true, exp: now() + 60 } }), "granted"],
    ["§5 active, exp passed", () => ({ introspection: { active: true, exp: now() } }), "token_inactive"],
    ["§5 aud, this gateway among others", () => ({ claims: { aud: ["other", AUDIENCE] } }), "granted"],
    ["§5 iat a minute ago", () => ({ claims: { iat: now() - 60 } }), "granted"],
    ["§5 typ written in full (RFC 7515 §4.1.9)", () => ({ typ: `application/${TYPE}` }), "granted"],
    ["§5 typ in upper case", () => ({ typ: TYPE.toUpperCase() }), "granted"],
    ["§5 the media type with a parameter", () => ({ contentType: `Application/${TYPE}; x=y` }), "granted"],
  ])("%s", async (_, wrong, outcome) => {
    expect(await endpoint(() => signed(wrong())).decide()).toBe(outcome);
  });
});

describe("RFC 9701, an answer that does not says nothing about the token: 503, and asked again", () => {
  it.each<[string, () => Response | Promise<Response>]>([
    ["§5 typ of any other token", () => signed({ typ: "JWT" })],
    ["§5 typ of an access token (§8.1)", () => signed({ typ: "at+jwt" })],
    ["§5 no typ", () => signed({ typ: undefined })],
    ["§5 another issuer", () => signed({ claims: { iss: "https://elsewhere.example" } })],
    ["§5 an issuer that begins like it", () => signed({ claims: { iss: `${ISSUER}.evil.example` } })],
    ["§5 no issuer", () => signed({ claims: { iss: undefined } })],
    ["§5 for somebody else", () => signed({ claims: { aud: "somebody else" } })],
    ["§5 for nobody", () => signed({ claims: { aud: undefined } })],
    ["§5 iat more than a minute ago", () => signed({ claims: { iat: now() - 66 } })],
    ["§5 iat to come", () => signed({ claims: { iat: now() + 30 } })],
    ["§5 no iat", () => signed({ claims: { iat: undefined } })],
    ["§5 iat as text", () => signed({ claims: { iat: String(now()) } })],
    ["§5 nothing in token_introspection", () => signed({ introspection: {} })],
    ["§5 text in it", () => signed({ introspection: "active" })],
    ['§5 "true" in it', () => signed({ introspection: { active: "true" } })],
    ["§5 active beside it", () => signed({ introspection: undefined, claims: { active: true } })],
    ["§5 the media type of plain answers", () => signed({ contentType: "application/json" })],
    ["§5 the media type of any token", () => signed({ contentType: "application/jwt" })],
    ["§8.2 signed by somebody else", () => signed({ key: stranger })],
    ["§8.2 under a key that is not published", () => signed({ kid: "2" })],
    ["§8.2 with a shared secret", () => signed({ alg: "HS256", key: randomBytes(32) })],
    [
      "§8.2 with the public key as a shared secret",
      () => signed({ alg: "HS256", key: new TextEncoder().encode(JSON.stringify(jwks.keys[0])) }),
    ],
    [
      "§8.2 not signed (alg none)",
      () =>
        inform(
          new UnsecuredJWT({ token_introspection: { active: true } })
            .setIssuer(ISSUER)
            .setAudience(AUDIENCE)
            .encode(),
        ),
    ],
    [
      "§8.2 signed, and changed afterwards",
      async () => {
        const [head = "", , signature = ""] = (await jwt({ introspection: { active: false } })).split(".");
        const [, payload = ""] = (await jwt()).split(".");
        return inform([head, payload, signature].join("."));
      },
    ],
    [
      "§5 encrypted, which was not agreed",
      async () => {
        const header = { alg: "dir", enc: "A256GCM", typ: TYPE };
        const text = new TextEncoder().encode(await jwt());
        return inform(await new CompactEncrypt(text).setProtectedHeader(header).encrypt(randomBytes(32)));
      },
    ],
    ["no token at all", () => inform(base64url.encode("active"))],
    ["a plain yes", () => Response.json({ active: true })],
    ["a plain no", () => Response.json({ active: false })],
  ])("%s", async (_, answer) => {
    const asked = endpoint(answer);
    expect(await asked.decide()).toBe("introspection_unavailable");
    asked.answer = () => signed();
    expect(await asked.decide()).toBe("granted");
  });
});
