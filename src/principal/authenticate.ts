/**
 * Credential → Principal. Keys and tokens are found the same way, in memory or in KV, and decided the same way, by
 * their tenant's authority; what nobody knows is asked about where the answer could be yes.
 */
import type { AuthorityClient } from "../authority/client.ts";
import type { Grant, LeaseAsk } from "../authority/protocol.ts";
import { tagOf } from "../authority/tag.ts";
import { type Credential, digestOf } from "../credential/credential.ts";
import { type Denial, deny, pass, type Result } from "../denial.ts";
import type { Inquiries, Inquiry } from "../introspection/inquiries.ts";
import { findTenant } from "../introspection/last-good.ts";
import type { FloodShield } from "../quota/flood-shield.ts";
import type { DecidedBy } from "../telemetry/event.ts";
import type { CredentialClaim, CredentialIndex } from "./credential-index.ts";
import type { Principal } from "./principal.ts";

export interface Authenticator {
  readonly credentials: CredentialIndex;
  readonly lastGood: KVNamespace;
  readonly authority: AuthorityClient;
  readonly inquiries: Inquiries;
  readonly flood: FloodShield;
  /** An unknown API key may be one that the origin knows. */
  readonly learns: boolean;
  /** How long a request may wait for an introspection. */
  readonly introspectionTimeoutMs: number;
  readonly nowMs: () => number;
}

/** What the request asks of the authority, and where it comes from. */
export interface Demand extends Pick<LeaseAsk, "policy" | "nonce" | "settleWithinMs"> {
  readonly clientAddress: string | null;
  readonly waitUntil: (work: Promise<unknown>) => void;
  /** Is told who has decided, as far as it has come. */
  readonly onDecision: (by: DecidedBy) => void;
}

export async function authenticate(
  credential: Credential,
  demand: Demand,
  using: Authenticator,
): Promise<Result<Principal>> {
  if (credential.kind === "gateway_key") return deny("key_unknown", "This gateway has issued no such key");
  const claim = await claimOf(credential, demand, using);
  return claim.ok ? decide(credential, claim.value, demand, using) : claim;
}

/** Whose the credential claims to be: from memory, from KV behind the flood shield, or from whoever knows. */
async function claimOf(
  credential: Credential,
  demand: Demand,
  using: Authenticator,
): Promise<Result<CredentialClaim>> {
  const { credentials, flood, learns } = using;
  demand.onDecision("authority");
  const known = credentials.recall(credential);
  if (known !== undefined) return pass(known);
  demand.onDecision("memory");
  const refused = credentials.recallRefusal(credential);
  if (refused !== undefined) return refused;
  const shield = flood.check(demand.clientAddress);
  if (!shield.ok) return shield;
  demand.onDecision("kv");
  const found = await credentials.look(credential);
  if (!found.ok) return found;
  if (found.value !== null) {
    demand.onDecision("authority");
    return pass(found.value);
  }
  const asks = credential.kind === "oauth_token" || learns;
  const claim = asks ? await askAboutStranger(credential, demand, using) : pass(null);
  if (!claim.ok) return claim;
  if (claim.value !== null) return pass(credentials.remember(credential, claim.value));
  const refusal = credentials.refuse(credential, unknown(credential));
  const counted = await flood.countFailure(demand.clientAddress);
  return counted.ok ? refusal : counted;
}

/** A claim, null where the credential is nobody's, or a denial where that could not be found out. */
async function askAboutStranger(
  credential: Credential,
  { waitUntil, onDecision }: Demand,
  { inquiries, lastGood }: Authenticator,
): Promise<Result<CredentialClaim | null>> {
  onDecision("introspection");
  const inquiry: Inquiry | null = await inquiries.meet(credential, waitUntil);
  if (inquiry === null)
    return unavailable(credential, "Too many unknown credentials are being asked about", 1);
  if (inquiry.answer.active !== null) return pass(inquiry.claim);
  const digest = digestOf(credential.secret);
  const tenantId = credential.kind === "oauth_token" ? await findTenant(lastGood, digest) : null;
  if (tenantId !== null) return pass({ tenantId, tag: tagOf(tenantId), digest });
  return unavailable(credential, "Nobody could say whether the credential is active", 5);
}

/** What the claim's authority says to this request; introspects where it is told to, or waits for who does. */
async function decide(
  credential: Credential,
  claim: CredentialClaim,
  demand: Demand,
  using: Authenticator,
): Promise<Result<Principal>> {
  const { authority, inquiries, credentials, nowMs } = using;
  const { tenantId, tag, digest } = claim;
  const { policy, nonce, settleWithinMs, waitUntil, onDecision } = demand;
  const untilMs = nowMs() + using.introspectionTimeoutMs;
  for (;;) {
    const grant = await authority.lease(tag, { tenantId, digest, policy, nonce, settleWithinMs });
    if (grant === null) return authorityUnavailable(credential, tenantId);
    const generation = grant.generation ?? 0;
    if (grant.verdict !== "introspection_required") {
      if (grant.refresh === true) waitUntil(inquiries.renew(credential, claim, generation, waitUntil));
      const refusal = keyRefusal(grant, credential, { tenantId, keyId: grant.keyId });
      if (refusal === null) return pass({ tenantId, keyId: grant.keyId, tag, digest, grant });
      if (grant.verdict !== "introspection_unavailable") credentials.forget(credential);
      return refusal;
    }
    onDecision("introspection");
    if (nowMs() >= untilMs)
      return unavailable(credential, "Nobody could say in time whether it is active", 1);
    if (grant.appointed === true || inquiries.isUnderWay(credential)) {
      await inquiries.renew(credential, claim, generation, waitUntil);
    } else {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}

/** How long to leave whoever is introspecting alone before the authority is asked again. */
const POLL_MS = 100;

/** The part of the authority's verdict that is about the credential itself. */
function keyRefusal(
  { verdict, retryInMs = 0 }: Grant,
  credential: Credential,
  owner: NonNullable<Denial["owner"]>,
): Result<never> | null {
  const more = { owner, aboutToken: credential.kind === "oauth_token" };
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
    case "introspection_required":
    case "subscription_inactive":
    case "rate_limited":
    case "granted":
      return null;
  }
}

const unknownReason = ({ kind }: Credential) => (kind === "oauth_token" ? "token_inactive" : "key_unknown");

function unknown(credential: Credential): Result<never> {
  const isToken = credential.kind === "oauth_token";
  const detail = isToken ? "No such token is active" : "No tenant of this gateway has this key";
  return deny(unknownReason(credential), detail, { aboutToken: isToken });
}

function unavailable({ kind }: Credential, detail: string, retryAfterSeconds: number): Result<never> {
  return deny("introspection_unavailable", detail, { retryAfterSeconds, aboutToken: kind === "oauth_token" });
}

function authorityUnavailable({ kind }: Credential, tenantId: string): Result<never> {
  const detail = "Whether the credential may pass could not be decided";
  const owner = { tenantId, keyId: "" };
  return deny("authority_unavailable", detail, {
    retryAfterSeconds: 1,
    owner,
    aboutToken: kind === "oauth_token",
  });
}
