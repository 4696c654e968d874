/**
 * Credential → Principal. Keys and tokens are found the same way, in memory or in KV, and decided the same way, by
 * their tenant's authority; what nobody knows is asked about where the answer could be yes.
 */
import type { AuthorityClient } from "../authority/client.ts";
import { tenantOfLastAnswer } from "../authority/last-answer.ts";
import type { Grant, LeaseAsk } from "../authority/protocol.ts";
import { type Credential, digestOf } from "../credential/credential.ts";
import { type Denial, deny, pass, type Result } from "../denial.ts";
import type { Inquiries } from "../introspection/inquiries.ts";
import type { FloodShield } from "../quota/flood-shield.ts";
import type { DecidedBy } from "../telemetry/event.ts";
import { within } from "../timeout.ts";
import { type CredentialClaim, type CredentialIndex, claimFor } from "./credential-index.ts";
import type { Principal } from "./principal.ts";

export interface Authenticator {
  readonly credentials: CredentialIndex;
  /** KV `INTROSPECTION`. */
  readonly lastAnswers: KVNamespace;
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

/**
 * A claim, null where the credential is nobody's, or a denial where that could not be found out. Waits for a place
 * among those being asked about, and for the answer, together for no longer than an introspection may take.
 */
async function askAboutStranger(
  credential: Credential,
  { clientAddress, waitUntil, onDecision }: Demand,
  { inquiries, lastAnswers, flood, nowMs, introspectionTimeoutMs }: Authenticator,
): Promise<Result<CredentialClaim | null>> {
  onDecision("introspection");
  const untilMs = nowMs() + introspectionTimeoutMs;
  if (inquiries.areFull(credential)) {
    const known = await claimOfLastAnswer(credential, lastAnswers);
    if (known !== null) return pass(known);
  }
  while (inquiries.areFull(credential)) {
    if (nowMs() >= untilMs)
      return unavailable(credential, "Too many unknown credentials are being asked about", 1);
    await pause(POLL_MS);
    const shield = flood.check(clientAddress);
    if (!shield.ok) return shield;
  }
  const { answer, claim } = await inquiries.meet(credential, untilMs - nowMs(), waitUntil);
  if (answer.active === true) return pass(claim);
  const known = await claimOfLastAnswer(credential, lastAnswers);
  if (answer.active === false) {
    // KV has not caught up: the token is live somewhere, and its authority must hear of its end.
    if (known !== null) await inquiries.confirm(credential, known, 0, waitUntil);
    return pass(null);
  }
  if (known === null) return unavailable(credential, "Nobody could say whether the credential is active", 5);
  await inquiries.reportUnanswered(credential, known);
  return pass(known);
}

/** Where a token was last known, in case CREDENTIALS has not caught up; keys leave no such trace. */
async function claimOfLastAnswer(
  { kind, secret }: Credential,
  lastAnswers: KVNamespace,
): Promise<CredentialClaim | null> {
  if (kind !== "oauth_token") return null;
  const digest = digestOf(secret);
  const tenantId = await tenantOfLastAnswer(lastAnswers, digest);
  return tenantId === null ? null : claimFor(tenantId, digest);
}

/**
 * What the claim's authority says to this request. Introspects where it is told to, or waits for who does, together for
 * no longer than an introspection may take; what it has begun goes on without it.
 */
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
    if (grant.refresh === true) waitUntil(inquiries.renew(credential, claim, generation, waitUntil));
    if (grant.verdict !== "introspection_required") {
      const refusal = keyRefusal(grant, credential, { tenantId, keyId: grant.keyId });
      if (refusal === null) return pass({ tenantId, keyId: grant.keyId, tag, digest, grant });
      // The authority still knows the others, and KV could say no more.
      if (grant.verdict.startsWith("key_")) credentials.forget(credential);
      return refusal;
    }
    onDecision("introspection");
    const leftMs = untilMs - nowMs();
    if (leftMs <= 0) return unavailable(credential, "Nobody could say in time whether it is active", 1);
    const work =
      grant.appointed === true || inquiries.isUnderWay(credential)
        ? inquiries.renew(credential, claim, generation, waitUntil)
        : pause(POLL_MS);
    await within(leftMs, work).catch(() => {});
  }
}

/** How long (ms) to leave those who are introspecting alone before looking again. */
const POLL_MS = 100;

const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));

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
