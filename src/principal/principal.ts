/** Who a request comes from, verified: the credential is known and its tenant's authority vouches for it. */
import type { Grant } from "../authority/protocol.ts";

export interface Principal {
  readonly tenantId: string;
  readonly keyId: string;
  /** Name of the tenant's authority object. */
  readonly tag: string;
  /** SHA-256 hex of the credential. */
  readonly digest: string;
  /** What the authority answered for this request. */
  readonly grant: Grant;
}
