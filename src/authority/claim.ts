/** Whose a credential claims to be, and so which authority decides about it. */
import { tagOf } from "./tag.ts";

export interface CredentialClaim {
  readonly tenantId: string;
  /** Name of the tenant's authority object. */
  readonly tag: string;
  /** SHA-256 hex of the credential. */
  readonly digest: string;
}

export function claimFor(tenantId: string, digest: string): CredentialClaim {
  return { tenantId, tag: tagOf(tenantId), digest };
}
