/** Credential → Principal: its tenant's authority decides, on what it knows or on what it has somebody find out. */
import { claimFor } from "../authority/claim.ts";
import type { Grant } from "../authority/protocol.ts";
import type { TenantId } from "../authority/tenant-id.ts";
import type { Credential } from "../credential/credential.ts";
import { type Denial, deny, pass, type Result } from "../denial.ts";
import type { CredentialLease, Question } from "../lease/credential-lease.ts";
import type { Decided, Holding, LeaseDesk, Occasion } from "../lease/desk.ts";
import { pause, within } from "../timeout.ts";
import { type Asker, findClaim, POLL_MS } from "./find-claim.ts";
import { findGatewayKey, type GatewayKeyReader } from "./gateway-key.ts";
import type { HostIndex } from "./host-index.ts";
import type { Principal } from "./principal.ts";
import { aboutToken, unavailable, unknownDetail, unknownReason } from "./refusals.ts";

export interface Authenticator extends GatewayKeyReader {
  readonly leases: LeaseDesk;
  readonly hosts: HostIndex;
  readonly authorityTimeoutMs: number;
}

/** What the request asks of the authority, and where it comes from. */
export interface Demand extends Asker, Occasion, Omit<Question, "entrance"> {
  /** The host name that it came in under. */
  readonly host: string;
}

/** Without waiting for anything where a lease is in hand. */
export function authenticate(
  credential: Credential,
  demand: Demand,
  using: Authenticator,
): Result<Principal> | Promise<Result<Principal>> {
  const { leases, hosts } = using;
  const lease = leases.recall(credential);
  const hostOwner = hosts.recall(demand.host, demand.waitUntil);
  if (lease === undefined || hostOwner === undefined) return authenticateAfresh(credential, demand, using);
  const question = questionOf(demand, hostOwner);
  const grant = leases.answer(lease, question);
  if (grant === null) return authenticateAfresh(credential, demand, using);
  demand.onDecision("lease");
  if (leases.isRenewalDue(credential, lease)) {
    demand.waitUntil(renew(credential, lease, question, demand, using));
  }
  return conclude(credential, lease.claim, { grant, degraded: false }, using);
}

/** What comes after the lease in hand, and a new introspection where that is due. */
async function renew(
  credential: Credential,
  lease: CredentialLease,
  question: Question,
  { settleWithinMs, country, waitUntil }: Demand,
  { leases, inquiries }: Authenticator,
): Promise<void> {
  const occasion = { nonce: crypto.randomUUID(), settleWithinMs, country };
  const grant = await leases.renew(credential, lease, question, occasion);
  const isDue = grant?.refresh === true || grant?.appointed === true;
  if (isDue) await inquiries.renew(credential, lease.claim, grant.generation ?? 0, waitUntil);
}

async function authenticateAfresh(
  credential: Credential,
  demand: Demand,
  using: Authenticator,
): Promise<Result<Principal>> {
  const find = credential.kind === "gateway_key" ? findGatewayKey : findClaim;
  const found: Result<Holding> = await find(credential, demand, using);
  if (!found.ok) return found;
  const hostOwner = await using.hosts.ownerOf(demand.host, demand.waitUntil);
  if (!hostOwner.ok) return hostOwner;
  return decide(credential, found.value, questionOf(demand, hostOwner.value), demand, using);
}

function questionOf({ policy, scope, clientAddress, host }: Demand, hostOwner: TenantId | null): Question {
  return { policy, scope, clientAddress, entrance: { host, hostOwner } };
}

/**
 * What the claim's authority says to this request, or the one that the credential was linked to. Introspects where it is
 * told to, or waits for who does, together for no longer than an introspection and its taking down may take: after one that
 * hung, the last good answer is still to come. What it has begun goes on.
 */
async function decide(
  credential: Credential,
  found: Holding,
  question: Question,
  { nonce, settleWithinMs, country, waitUntil, onDecision }: Demand,
  using: Authenticator,
): Promise<Result<Principal>> {
  const { leases, inquiries, nowMs } = using;
  const { digest } = found;
  const untilMs = nowMs() + using.introspectionTimeoutMs + using.authorityTimeoutMs;
  let holding = found;
  let hasMoved = false;
  let hasAsked = false;
  for (;;) {
    const { tenantId, tag } = holding;
    const decided = await leases.ask(credential, holding, question, { nonce, settleWithinMs, country });
    if (decided === null) return authorityUnavailable(credential, tenantId);
    const { grant } = decided;
    if (grant.verdict === "moved" && grant.tenantId !== undefined && !hasMoved) {
      holding = claimFor(grant.tenantId, digest);
      hasMoved = true;
      continue;
    }
    // The one has let go of it, and the other has not taken it yet.
    const isOnItsWay = hasMoved && grant.verdict === "key_unknown";
    if (!isOnItsWay && grant.verdict !== "introspection_required") {
      const concluded = conclude(credential, decided.claim ?? holding, decided, using);
      if (grant.refresh === true && tenantId !== null) {
        waitUntil(inquiries.renew(credential, { tenantId, tag, digest }, grant.generation ?? 0, waitUntil));
      }
      return concluded;
    }
    const leftMs = untilMs - nowMs();
    if (isOnItsWay) {
      if (leftMs <= 0) return authorityUnavailable(credential, tenantId);
      await pause(POLL_MS);
      continue;
    }
    if (tenantId === null) return authorityUnavailable(credential, null);
    onDecision("introspection");
    if (leftMs <= 0) return nobodyCouldSay(credential);
    const asks: boolean = inquiries.isUnderWay(credential) || (grant.appointed === true && !hasAsked);
    hasAsked ||= asks;
    const known = { tenantId, tag, digest };
    if (!asks) {
      await pause(Math.min(leftMs, POLL_MS));
      continue;
    }
    const work = inquiries.renew(credential, known, grant.generation ?? 0, waitUntil);
    // An authority that could not be told is not asked whether it knows.
    if (!(await within(leftMs, work).catch(() => false))) return nobodyCouldSay(credential);
  }
}

const nobodyCouldSay = (credential: Credential) =>
  unavailable(credential, "Nobody could say in time whether it is active", 1);

function conclude(
  credential: Credential,
  { tag, digest, tenantId: claimed }: Holding,
  { grant, degraded }: Omit<Decided, "claim">,
  { credentials }: Authenticator,
): Result<Principal> {
  const { keyId, originKey = null } = grant;
  const tenantId = claimed ?? grant.tenantId ?? null;
  const refusal = keyRefusal(grant, credential, { tenantId: tenantId ?? "", keyId });
  if (refusal !== null) {
    // The authority still knows the others, and KV could say no more.
    if (grant.verdict === "key_unknown") credentials.forget(credential);
    return refusal;
  }
  // A key of the gateway's own must never be what goes to Postiz.
  const isSwapped = credential.kind !== "gateway_key" || originKey !== null;
  if (tenantId === null || (grant.verdict === "granted" && !isSwapped))
    return authorityUnavailable(credential, tenantId);
  return pass({ tenantId, tag, digest, keyId, originKey, grant, degraded });
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
      return deny(verdict, unknownDetail(credential), more);
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
    case "elsewhere":
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
