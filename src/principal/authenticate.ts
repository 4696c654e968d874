/** Credential → Principal. One arm a kind; each knows how its kind is verified and nothing about the others. */
import type { AuthorityClient } from "../authority/client.ts";
import type { Grant, LeaseAsk } from "../authority/protocol.ts";
import type { Credential } from "../credential/credential.ts";
import { type Denial, deny, pass, type Result } from "../denial.ts";
import type { FloodShield } from "../quota/flood-shield.ts";
import type { CredentialClaim, CredentialIndex } from "./credential-index.ts";
import type { Principal } from "./principal.ts";

export interface Authenticator {
  readonly credentials: CredentialIndex;
  readonly authority: AuthorityClient;
  readonly flood: FloodShield;
}

/** What the request asks of the authority, and where it comes from. */
export interface Demand extends Pick<LeaseAsk, "policy" | "nonce" | "settleWithinMs"> {
  readonly clientAddress: string | null;
}

export async function authenticate(
  credential: Credential,
  demand: Demand,
  using: Authenticator,
): Promise<Result<Principal>> {
  switch (credential.kind) {
    case "oauth_token":
      return deny("token_inactive", "No such token is active here", { aboutToken: true });
    case "gateway_key":
      return deny("key_unknown", "This gateway has issued no such key");
    case "api_key":
      return authenticateKey(credential, demand, using);
  }
}

async function authenticateKey(
  credential: Credential,
  demand: Demand,
  using: Authenticator,
): Promise<Result<Principal>> {
  const claim = await claimOf(credential, demand.clientAddress, using);
  if (!claim.ok) return claim;
  const { tenantId, tag, digest } = claim.value;
  const { policy, nonce, settleWithinMs } = demand;
  const grant = await using.authority.lease(tag, { tenantId, digest, policy, nonce, settleWithinMs });
  if (grant === null) {
    const owner = { tenantId, keyId: "" };
    const detail = "Whether the key may pass could not be decided";
    return deny("authority_unavailable", detail, { retryAfterSeconds: 1, owner });
  }
  const refusal = keyRefusal(grant, { tenantId, keyId: grant.keyId });
  if (refusal === null) return pass({ tenantId, keyId: grant.keyId, tag, grant });
  using.credentials.forget(credential);
  return refusal;
}

/** From memory, or from KV behind the flood shield. */
async function claimOf(
  credential: Credential,
  clientAddress: string | null,
  { credentials, flood }: Authenticator,
): Promise<Result<CredentialClaim>> {
  const known = credentials.recall(credential);
  if (known !== undefined) return pass(known);
  const refused = credentials.recallRefusal(credential);
  if (refused !== undefined) return refused;
  const shield = flood.check(clientAddress);
  if (!shield.ok) return shield;
  const claim = await credentials.look(credential);
  if (claim.ok || claim.denial.reason !== "key_unknown") return claim;
  const counted = await flood.countFailure(clientAddress);
  return counted.ok ? claim : counted;
}

/** The part of the authority's verdict that is about the key itself. */
function keyRefusal({ verdict }: Grant, owner: NonNullable<Denial["owner"]>): Result<never> | null {
  switch (verdict) {
    case "key_unknown":
      return deny(verdict, "The tenant does not have this key", { owner });
    case "key_revoked":
      return deny(verdict, "This key was revoked", { owner });
    case "key_disabled":
      return deny(verdict, "This key is disabled; enabling it makes it work again", { owner });
    case "key_expired":
      return deny(verdict, "This key has expired", { owner });
    case "subscription_inactive":
    case "rate_limited":
    case "granted":
      return null;
  }
}
