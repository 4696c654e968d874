/** Introspection as OAuth has it: RFC 7662 over HTTP Basic, and its signed answers of RFC 9701. */
import { createRemoteJWKSet, type JWTVerifyGetKey, jwtVerify } from "jose";
import { isTenantId, isUnlinked, type TenantId } from "../authority/tenant-id.ts";
import type { Rfc7662Config } from "../config.ts";
import { readText } from "../upstream/read-text.ts";
import { type Answer, INACTIVE, UNKNOWN } from "./answer.ts";

const MAX_BYTES = 65_536;
const JWT_TYPE = "token-introspection+jwt";
/** Asymmetric only: with a shared secret whoever can check an answer could have made it. */
const ALGORITHMS = [
  "RS256",
  "RS384",
  "RS512",
  "PS256",
  "PS384",
  "PS512",
  "ES256",
  "ES384",
  "ES512",
  "EdDSA",
  "Ed25519",
];
/** Seconds that the two clocks may disagree. */
const CLOCK_TOLERANCE = 5;
/** Seconds that a signed answer may have been under way: an older one is being replayed. */
const MAX_AGE = 60;

export class Rfc7662Endpoint {
  readonly #config: Rfc7662Config;
  readonly #timeoutMs: number;
  readonly #keys: JWTVerifyGetKey | null;

  constructor(config: Rfc7662Config, timeoutMs: number) {
    this.#config = config;
    this.#timeoutMs = timeoutMs;
    const { signed } = config;
    this.#keys =
      signed === null ? null : createRemoteJWKSet(new URL(signed.jwksUrl), { timeoutDuration: timeoutMs });
  }

  /** Rejects where there is no usable answer. */
  async ask(token: string): Promise<Answer> {
    const { url, clientId, clientSecret } = this.#config;
    const response = await fetch(url, {
      method: "POST",
      headers: {
        Authorization: basic(clientId, clientSecret),
        Accept: this.#keys === null ? "application/json" : `application/${JWT_TYPE}`,
      },
      body: new URLSearchParams({ token, token_type_hint: "access_token" }),
      redirect: "manual",
      cache: "no-store",
      signal: AbortSignal.timeout(this.#timeoutMs),
    });
    const text = await readText(response, MAX_BYTES);
    if (response.status !== 200 || text === null) return UNKNOWN;
    const type = response.headers.get("Content-Type")?.split(";")[0]?.trim().toLowerCase();
    return readIntrospection(await this.#claims(type, text), this.#config.tenantClaim);
  }

  async #claims(type: string | undefined, text: string): Promise<unknown> {
    const { signed } = this.#config;
    if (signed === null || this.#keys === null) {
      if (type !== "application/json") throw new Error(`an answer of type ${type}, not application/json`);
      return JSON.parse(text);
    }
    if (type !== `application/${JWT_TYPE}`)
      throw new Error(`an answer of type ${type}, not application/${JWT_TYPE}`);
    const { payload } = await jwtVerify(text, this.#keys, {
      typ: JWT_TYPE,
      algorithms: ALGORITHMS,
      issuer: signed.issuer,
      audience: signed.audience,
      clockTolerance: CLOCK_TOLERANCE,
      maxTokenAge: MAX_AGE,
    });
    return payload["token_introspection"];
  }
}

/** `active` must be a boolean; `exp` is seconds since the epoch (RFC 7662 §2.2). */
function readIntrospection(value: unknown, tenantClaim: string): Answer {
  const claims = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  if (claims["active"] === false) return INACTIVE;
  if (claims["active"] !== true) return UNKNOWN;
  const exp = claims["exp"];
  if (exp !== undefined && (typeof exp !== "number" || !Number.isFinite(exp))) return UNKNOWN;
  const expiresAtMs = exp === undefined ? null : exp * 1_000;
  return { active: true, subscribed: null, expiresAtMs, tenantId: tenantIn(claims[tenantClaim]) };
}

function tenantIn(claim: unknown): TenantId | null {
  if (claim === undefined) return null;
  if (isTenantId(claim) && !isUnlinked(claim)) return claim;
  console.error(JSON.stringify({ event: "introspection_claim_unusable", found: String(claim).slice(0, 64) }));
  return null;
}

/** RFC 6749 §2.3.1: both halves are form-encoded before RFC 7617 joins them. */
function basic(clientId: string, clientSecret: string): string {
  const encode = (text: string) => new URLSearchParams({ "": text }).toString().slice(1);
  return `Basic ${btoa(`${encode(clientId)}:${encode(clientSecret)}`)}`;
}
