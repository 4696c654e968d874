/** Credential → Principal: its tenant's authority decides, on what it knows or on what it has somebody find out. */
import type { AuthorityClient } from "../authority/client.ts";
import type { Grant, LeaseAsk } from "../authority/protocol.ts";
import type { Credential } from "../credential/credential.ts";
import { type Denial, deny, pass, type Result } from "../denial.ts";
import { pause, within } from "../timeout.ts";
import { type Asker, findClaim, POLL_MS } from "./find-claim.ts";
import { findGatewayKey, type GatewayKeyClaim, type GatewayKeyReader } from "./gateway-key.ts";
import type { Principal } from "./principal.ts";
import { aboutToken, unavailable, unknownReason } from "./refusals.ts";

export interface Authenticator extends GatewayKeyReader {
  readonly authority: AuthorityClient;
}

/** What the request asks of the authority, and where it comes from. */
export interface Demand
  extends Asker,
    Pick<LeaseAsk, "policy" | "nonce" | "settleWithinMs">,
    Required<Pick<LeaseAsk, "scope" | "country">> {}

export async function authenticate(
  credential: Credential,
  demand: Demand,
  using: Authenticator,
): Promise<Result<Principal>> {
  const find = credential.kind === "gateway_key" ? findGatewayKey : findClaim;
  const claim: Result<GatewayKeyClaim> = await find(credential, demand, using);
  return claim.ok ? decide(credential, claim.value, demand, using) : claim;
}

/**
 * What the claim's authority says to this request. Introspects where it is told to, or waits for who does, together for
 * no longer than an introspection may take; what it has begun goes on without it.
 */
async function decide(
  credential: Credential,
  { tag, digest, tenantId: claimed }: GatewayKeyClaim,
  demand: Demand,
  using: Authenticator,
): Promise<Result<Principal>> {
  const { authority, inquiries, credentials, nowMs } = using;
  const { waitUntil, onDecision, ...ask } = demand;
  const untilMs = nowMs() + using.introspectionTimeoutMs;
  let hasAsked = false;
  for (;;) {
    const grant = await authority.lease(tag, { ...ask, tenantId: claimed, digest });
    if (grant === null) return authorityUnavailable(credential, claimed ?? "");
    const claim = { tenantId: claimed ?? grant.tenantId ?? "", tag, digest };
    const generation = grant.generation ?? 0;
    if (grant.refresh === true) waitUntil(inquiries.renew(credential, claim, generation, waitUntil));
    if (grant.verdict !== "introspection_required") {
      const { keyId, originKey = null } = grant;
      const refusal = keyRefusal(grant, credential, { tenantId: claim.tenantId, keyId });
      if (refusal === null && claimed === null) credentials.remember(credential, claim);
      if (refusal === null) return pass({ ...claim, keyId, originKey, grant });
      // The authority still knows the others, and KV could say no more.
      if (grant.verdict.startsWith("key_")) credentials.forget(credential);
      return refusal;
    }
    onDecision("introspection");
    const leftMs = untilMs - nowMs();
    if (leftMs <= 0) return unavailable(credential, "Nobody could say in time whether it is active", 1);
    const asks: boolean = inquiries.isUnderWay(credential) || (grant.appointed === true && !hasAsked);
    hasAsked ||= asks;
    const work = asks ? inquiries.renew(credential, claim, generation, waitUntil) : pause(POLL_MS);
    await within(leftMs, work).catch(() => {});
  }
}

/** The part of the authority's verdict that is about the credential itself. */
export function keyRefusal(
  { verdict, retryInMs = 0 }: Grant,
  credential: Credential,
  owner: NonNullable<Denial["owner"]>,
): Result<never> | null {
  const more = { owner, aboutToken: aboutToken(credential) };
  switch (verdict) {
    case "key_unknown":
      return deny(unknownReason(credential), "The tenant does not have this credential", more);
    case "key_revoked":
      return deny(verdict, "This credential was revoked", more);
    case "key_disabled":
      return deny(verdict, "This credential is disabled; enabling it makes it work again", more);
    case "key_expired":
      return deny(verdict, "This credential has expired", more);
    case "rejected":
      return deny(unknownReason(credential), "Postiz does not accept this credential any more", more);
    case "introspection_unavailable":
      return deny(verdict, "Nobody can say at the moment whether the credential is active", {
        ...more,
        retryAfterSeconds: Math.max(1, Math.ceil(retryInMs / 1_000)),
      });
    case "origin_key_missing":
      return deny(verdict, "Give the gateway the tenant's Postiz key: PUT …/tenants/{id}/origin-key", more);
    case "origin_key_unreadable":
      return deny("config_invalid", "SEALING_KEY does not open the tenant's Postiz key", more);
    case "introspection_required":
    case "subscription_inactive":
    case "scope_insufficient":
    case "network_not_allowed":
    case "rate_limited":
    case "granted":
      return null;
  }
}

function authorityUnavailable(credential: Credential, tenantId: string): Result<never> {
  const detail = "Whether the credential may pass could not be decided";
  const owner = { tenantId, keyId: "" };
  return deny("authority_unavailable", detail, {
    retryAfterSeconds: 1,
    owner,
    aboutToken: aboutToken(credential),
  });
}
