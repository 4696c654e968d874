/** Who may call the admin API: whoever has the token, or whom Cloudflare Access vouches for. */
import { createHash, timingSafeEqual } from "node:crypto";
import { createRemoteJWKSet, errors, type JWTVerifyGetKey, jwtVerify } from "jose";
import type { AdminConfig } from "../config.ts";
import { deny, pass, type Result } from "../denial.ts";

const ACCESS_HEADER = "Cf-Access-Jwt-Assertion";
const JWKS_TIMEOUT_MS = 5_000;
/** Of what is presented as the token; as of any other credential. */
const MAX_BYTES = 512;

/** Keys of an Access team, fetched once and again when one is not among them. */
const keySets = new Map<string, JWTVerifyGetKey>();

const presentedIn = (headers: Headers): string | undefined =>
  /^bearer +(\S+)$/i.exec(headers.get("Authorization") ?? "")?.[1];

/** Decided without asking anyone. */
export function holdsToken(headers: Headers, token: string | null): boolean {
  const presented = presentedIn(headers);
  if (presented === undefined || token === null) return false;
  if (presented.length > Math.max(MAX_BYTES, token.length)) return false;
  return timingSafeEqual(sha256(presented), sha256(token));
}

/** The actor, as the audit names it. */
export async function identifyOperator(
  headers: Headers,
  { token, access }: AdminConfig,
): Promise<Result<string>> {
  if (holdsToken(headers, token)) return pass("admin-token");
  const presented = presentedIn(headers);
  const assertion = headers.get(ACCESS_HEADER);
  if (access !== null && assertion !== null) {
    // Access vouches for whatever a browser sends, also for what another site has made it send.
    if (/^(?:cross-site|same-site)$/.test(headers.get("Sec-Fetch-Site") ?? "")) {
      return deny("request_malformed", "The request was made by a page of another site");
    }
    return identifyByAccess(assertion, access);
  }
  if (presented !== undefined) return deny("key_unknown", "This is not the admin token");
  return deny("credential_missing", "Send the admin token in the Authorization header, after Bearer");
}

async function identifyByAccess(
  assertion: string,
  { team, audience }: NonNullable<AdminConfig["access"]>,
): Promise<Result<string>> {
  try {
    const { payload } = await jwtVerify(assertion, keysOf(team), {
      issuer: team,
      audience,
      algorithms: ["RS256", "ES256"],
      requiredClaims: ["exp"],
    });
    const who = payload["email"] ?? payload["common_name"] ?? payload.sub;
    if (typeof who === "string" && who !== "") return pass(`access:${who}`);
    return deny("key_unknown", "The Access assertion names nobody");
  } catch (error) {
    // Which of its claims was wrong is for the log: whoever forges one need not know.
    console.error(JSON.stringify({ event: "access_refused", error: String(error) }));
    if (!(error instanceof errors.JOSEError) || /^ERR_(?:JOSE_GENERIC|JWKS_TIMEOUT)$/.test(error.code)) {
      return deny("introspection_unavailable", "The keys of Cloudflare Access could not be fetched", {
        retryAfterSeconds: 5,
      });
    }
    return deny("key_unknown", "The Access assertion is not valid");
  }
}

function keysOf(team: string): JWTVerifyGetKey {
  let keys = keySets.get(team);
  if (keys === undefined) {
    keys = createRemoteJWKSet(new URL("/cdn-cgi/access/certs", team), { timeoutDuration: JWKS_TIMEOUT_MS });
    keySets.set(team, keys);
  }
  return keys;
}

const sha256 = (text: string): Uint8Array => createHash("sha256").update(text).digest();
