/** Whose a credential claims to be, and so which authority decides about it. */
import { type Tag, tagOf } from "./tag.ts";
import type { TenantId } from "./tenant-id.ts";

export interface CredentialClaim {
  readonly tenantId: TenantId;
  /** Name of the tenant's authority object. */
  readonly tag: Tag;
  /** SHA-256 hex of the credential. */
  readonly digest: string;
  /** Of the key whose requests a branch of that object counts; absent where none does, or that is not known. */
  readonly branchedKeyId?: string;
}

export function claimFor(tenantId: TenantId, digest: string): CredentialClaim {
  return { tenantId, tag: tagOf(tenantId), digest };
}
