/** Who a request comes from, verified: the credential is known and its tenant's authority vouches for it. */
import type { CredentialClaim } from "../authority/claim.ts";
import type { Grant } from "../authority/protocol.ts";

export interface Principal extends CredentialClaim {
  readonly keyId: string;
  /** What to present to the origin in place of the credential; null: the credential itself. */
  readonly originKey: string | null;
  /** What the authority answered for this request. */
  readonly grant: Grant;
  /** It was not asked, because it does not answer: decided on what it granted a while ago. */
  readonly degraded: boolean;
}
