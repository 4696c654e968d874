/** Credential → Principal: its tenant's authority decides, on what it knows or on what it has somebody find out. */
import { claimFor } from "../authority/claim.ts";
import type { AuthorityClient } from "../authority/client.ts";
import type { Grant, LeaseAsk } from "../authority/protocol.ts";
import type { TenantId } from "../authority/tenant-id.ts";
import type { Credential } from "../credential/credential.ts";
import { type Denial, deny, pass, type Result } from "../denial.ts";
import { pause, within } from "../timeout.ts";
import type { WaitUntil } from "../wait-until.ts";
import { type Asker, findClaim, POLL_MS } from "./find-claim.ts";
import { findGatewayKey, type GatewayKeyClaim, type GatewayKeyReader } from "./gateway-key.ts";
import type { HostIndex } from "./host-index.ts";
import type { Principal } from "./principal.ts";
import { aboutToken, unavailable, unknownReason } from "./refusals.ts";

export interface Authenticator extends GatewayKeyReader {
  readonly authority: AuthorityClient;
  readonly hosts: HostIndex;
}

/** What the request asks of the authority, and where it comes from. */
export interface Demand
  extends Asker,
    Pick<LeaseAsk, "policy" | "nonce" | "settleWithinMs">,
    Required<Pick<LeaseAsk, "scope" | "country">> {
  /** The host name that it came in under. */
  readonly host: string;
}

export async function authenticate(
  credential: Credential,
  demand: Demand,
  using: Authenticator,
): Promise<Result<Principal>> {
  const find = credential.kind === "gateway_key" ? findGatewayKey : findClaim;
  const claim: Result<GatewayKeyClaim> = await find(credential, demand, using);
  if (!claim.ok) return claim;
  const hostOwner = await using.hosts.ownerOf(demand.host, demand.waitUntil);
  return hostOwner.ok ? decide(credential, claim.value, hostOwner.value, demand, using) : hostOwner;
}

/**
 * What the claim's authority says to this request, or the one that the credential was linked to. Introspects where it is
 * told to, or waits for who does, together for no longer than an introspection may take; what it has begun goes on.
 */
async function decide(
  credential: Credential,
  found: GatewayKeyClaim,
  hostOwner: TenantId | null,
  demand: Demand,
  using: Authenticator,
): Promise<Result<Principal>> {
  const { authority, inquiries, nowMs } = using;
  const { waitUntil, onDecision, onShadow: _, host, ...demanded } = demand;
  const ask = { ...demanded, entrance: { host, hostOwner } };
  const { digest } = found;
  const untilMs = nowMs() + using.introspectionTimeoutMs;
  let claim = found;
  let hasMoved = false;
  let hasAsked = false;
  for (;;) {
    const { tenantId, tag } = claim;
    const grant = await authority.lease(tag, { ...ask, tenantId, digest });
    if (grant === null) return authorityUnavailable(credential, tenantId);
    if (grant.verdict === "moved" && grant.tenantId !== undefined && !hasMoved) {
      claim = claimFor(grant.tenantId, digest);
      hasMoved = true;
      continue;
    }
    // The one has let go of it, and the other has not taken it yet.
    const isOnItsWay = hasMoved && grant.verdict === "key_unknown";
    if (!isOnItsWay && grant.verdict !== "introspection_required") {
      return conclude(credential, claim, grant, waitUntil, using);
    }
    const leftMs = untilMs - nowMs();
    if (isOnItsWay) {
      if (leftMs <= 0) return authorityUnavailable(credential, tenantId);
      await pause(POLL_MS);
      continue;
    }
    if (tenantId === null) return authorityUnavailable(credential, null);
    onDecision("introspection");
    if (leftMs <= 0) return unavailable(credential, "Nobody could say in time whether it is active", 1);
    const asks: boolean = inquiries.isUnderWay(credential) || (grant.appointed === true && !hasAsked);
    hasAsked ||= asks;
    const known = { tenantId, tag, digest };
    const work = asks ? inquiries.renew(credential, known, grant.generation ?? 0, waitUntil) : pause(POLL_MS);
    await within(leftMs, work).catch(() => {});
  }
}

function conclude(
  credential: Credential,
  { tag, digest, tenantId: claimed }: GatewayKeyClaim,
  grant: Grant,
  waitUntil: WaitUntil,
  { inquiries, credentials }: Authenticator,
): Result<Principal> {
  const { keyId, generation = 0, originKey = null } = grant;
  const tenantId = claimed ?? grant.tenantId ?? null;
  const refusal = keyRefusal(grant, credential, { tenantId: tenantId ?? "", keyId });
  if (refusal !== null) {
    // The authority still knows the others, and KV could say no more.
    if (grant.verdict.startsWith("key_")) credentials.forget(credential);
    return refusal;
  }
  if (tenantId === null) return authorityUnavailable(credential, null);
  const claim = { tenantId, tag, digest };
  if (grant.refresh === true) waitUntil(inquiries.renew(credential, claim, generation, waitUntil));
  // Where a gateway key led, and where a linked credential has gone, is known from now on.
  if (credentials.recall(credential)?.tenantId !== tenantId) credentials.remember(credential, claim);
  return pass({ ...claim, keyId, originKey, grant });
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
    case "host_not_allowed":
      return deny(verdict, "The credential may not be used under this host name", more);
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
    case "moved":
      return deny("authority_unavailable", "The credential is being handed over", {
        ...more,
        retryAfterSeconds: 1,
      });
    case "introspection_required":
    case "subscription_inactive":
    case "scope_insufficient":
    case "network_not_allowed":
    case "rate_limited":
    case "granted":
      return null;
  }
}

function authorityUnavailable(credential: Credential, tenantId: TenantId | null): Result<never> {
  const detail = "Whether the credential may pass could not be decided";
  const owner = { tenantId: tenantId ?? "", keyId: "" };
  return deny("authority_unavailable", detail, {
    retryAfterSeconds: 1,
    owner,
    aboutToken: aboutToken(credential),
  });
}
