/** The projection of a credential in KV `CREDENTIALS`, under the SHA-256 hex of the credential. */
import { isIdentifier, isTenantId, type TenantId } from "./tenant-id.ts";

export const RECORD_VERSION = 1;

/**
 * `revoked` is terminal: a tombstone is written over the old record and never taken back. The others are for
 * people to read; which of them lets a request pass is the authority's to say, so that a reader takes any word.
 */
export type RecordState = "active" | "disabled" | "revoked";

export interface CredentialRecord {
  readonly v: typeof RECORD_VERSION;
  readonly tenantId: TenantId;
  readonly keyId: string;
  readonly kind: "api_key" | "oauth_token" | "gateway_key";
  readonly state: RecordState;
  /** Grows with every change of the credential. */
  readonly generation: number;
  /** Its requests are counted by a branch of its tenant's authority. */
  readonly branched?: true;
}

/** Null for what no version of the gateway wrote. What a later version has added, fields and words, is no error. */
export function parseRecord(text: string): CredentialRecord | null {
  const record = parseJson(text);
  if (typeof record !== "object" || record === null) return null;
  const { v, tenantId, keyId, state, generation } = record as Record<string, unknown>;
  const valid =
    v === RECORD_VERSION &&
    isTenantId(tenantId) &&
    isIdentifier(keyId) &&
    typeof state === "string" &&
    Number.isSafeInteger(generation);
  return valid ? (record as CredentialRecord) : null;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
