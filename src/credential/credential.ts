/**
 * What the caller presented, unverified. Its shape alone picks the one authenticator that will look at it;
 * credentials are never tried in turn.
 */
import { createHash } from "node:crypto";
import { deny, pass, type Result } from "../denial.ts";

export type CredentialKind = "api_key" | "oauth_token" | "gateway_key";

export interface Credential {
  readonly kind: CredentialKind;
  /** As it goes to the origin: raw, without a scheme. Must never be logged or used as a KV key. */
  readonly secret: string;
}

const MAX_BYTES = 512;
/** With `Bearer` and the spaces after it; of a field that is longer no more is looked at. */
const MAX_FIELD_BYTES = MAX_BYTES + 64;
/** Visible ASCII less the comma: two `Authorization` lines arrive joined by one. */
const WELL_FORMED = /^[\x21-\x2b\x2d-\x7e]+$/;
/** Postiz: `pos_` and 40 letters or digits. */
const TOKEN = /^pos_[A-Za-z0-9]{40}$/;

/**
 * Reads `Authorization`, raw as Postiz documents it or with `Bearer` (RFC 6750 §2.1, scheme in any case as
 * RFC 9110 §11.1 wants): Postiz itself refuses Bearer, which most scripts send, so the gateway takes both.
 */
export function readCredential(headers: Headers): Result<Credential> {
  const field = headers.get("Authorization");
  if (field === null || field === "") {
    return deny("credential_missing", "Send the API key or token in the Authorization header");
  }
  const secret = field.slice(0, MAX_FIELD_BYTES).replace(/^bearer +/i, "");
  const kind = kindOf(secret);
  const aboutToken = kind === "oauth_token";
  if (field.length > MAX_FIELD_BYTES || secret.length > MAX_BYTES)
    return malformed(`is longer than ${MAX_BYTES} bytes`, aboutToken);
  if (!WELL_FORMED.test(secret) || /^bearer$/i.test(secret)) {
    return malformed("must be one value of visible ASCII characters without commas or spaces", aboutToken);
  }
  if (aboutToken && !TOKEN.test(secret)) {
    return malformed('begins with "pos_" but is not followed by 40 letters or digits', aboutToken);
  }
  return pass({ kind, secret });
}

function kindOf(secret: string): CredentialKind {
  if (secret.startsWith("pos_")) return "oauth_token";
  if (secret.startsWith("pgw_")) return "gateway_key";
  return "api_key";
}

function malformed(what: string, aboutToken: boolean): Result<never> {
  return deny("credential_malformed", `The credential in the Authorization header ${what}`, { aboutToken });
}

/** SHA-256, lower-case hex: the only form in which a credential leaves the isolate's memory. */
export function digestOf(secret: string): string {
  return createHash("sha256").update(secret).digest("hex");
}
