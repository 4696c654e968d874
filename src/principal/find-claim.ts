/**
 * Whose a credential claims to be. Keys and tokens are found the same way: in memory, in KV, or, where nobody knows
 * them and the answer could be yes, by asking whoever does. A claim proves nothing: the authority has the last word.
 */
import { type CredentialClaim, claimFor } from "../authority/claim.ts";
import { tenantOfLastAnswer } from "../authority/last-answer.ts";
import { type Credential, digestOf } from "../credential/credential.ts";
import { type DenialReason, deny, pass, type Result } from "../denial.ts";
import type { Inquiries } from "../introspection/inquiries.ts";
import type { FloodShield } from "../quota/flood-shield.ts";
import type { DecidedBy } from "../telemetry/event.ts";
import { pause } from "../timeout.ts";
import type { WaitUntil } from "../wait-until.ts";
import type { CredentialIndex } from "./credential-index.ts";
import { aboutToken, unavailable, unknownDetail, unknownReason } from "./refusals.ts";

export interface ClaimFinder {
  readonly credentials: CredentialIndex;
  /** KV `INTROSPECTION`. */
  readonly lastAnswers: KVNamespace;
  readonly inquiries: Inquiries;
  readonly flood: FloodShield;
  /** The shield refuses nobody, and says whom it would. */
  readonly floodInShadow: boolean;
  /** An unknown API key may be one that the origin knows. */
  readonly learns: boolean;
  /** How long a request may wait for an introspection. */
  readonly introspectionTimeoutMs: number;
  readonly nowMs: () => number;
}

/** Where the request comes from, and what it leaves running. */
export interface Asker {
  readonly clientAddress: string | null;
  readonly waitUntil: WaitUntil;
  /** Is told who has decided, as far as it has come. */
  readonly onDecision: (by: DecidedBy) => void;
  /** What a policy in shadow would have refused it for. */
  readonly onShadow: (reason: DenialReason) => void;
}

/** How long (ms) to leave those who are introspecting alone before looking again. */
export const POLL_MS = 100;

export async function findClaim(
  credential: Credential,
  asker: Asker,
  using: ClaimFinder,
): Promise<Result<CredentialClaim>> {
  const { credentials, flood, learns } = using;
  asker.onDecision("authority");
  const known = credentials.recall(credential);
  if (known !== undefined) return pass(known);
  asker.onDecision("memory");
  const refused = credentials.recallRefusal(credential);
  if (refused !== undefined) return refused;
  const shield = unlessInShadow(flood.check(asker.clientAddress), asker, using);
  if (!shield.ok) return shield;
  asker.onDecision("kv");
  const found = await credentials.look(credential);
  if (!found.ok) return found;
  if (found.value !== null) {
    asker.onDecision("authority");
    return pass(found.value);
  }
  const asks = credential.kind === "oauth_token" || (credential.kind === "api_key" && learns);
  const claim = asks ? await askAboutStranger(credential, asker, using) : pass(null);
  if (!claim.ok) return claim;
  if (claim.value !== null) return pass(credentials.remember(credential, claim.value));
  const refusal = credentials.refuse(credential, unknown(credential));
  const counted = unlessInShadow(await flood.countFailure(asker.clientAddress), asker, using);
  return counted.ok ? refusal : counted;
}

/**
 * A claim, null where the credential is nobody's, or a denial where that could not be found out. Waits for a place
 * among those being asked about, and for the answer, together for no longer than an introspection may take.
 */
async function askAboutStranger(
  credential: Credential,
  asker: Asker,
  using: ClaimFinder,
): Promise<Result<CredentialClaim | null>> {
  const { inquiries, lastAnswers, flood, nowMs, introspectionTimeoutMs } = using;
  const { clientAddress, waitUntil, onDecision } = asker;
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
    const shield = unlessInShadow(flood.check(clientAddress), asker, using);
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

function unlessInShadow(
  shield: Result<void>,
  { onShadow }: Asker,
  { floodInShadow }: ClaimFinder,
): Result<void> {
  if (shield.ok || !floodInShadow) return shield;
  onShadow(shield.denial.reason);
  return pass(undefined);
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

function unknown(credential: Credential): Result<never> {
  return deny(unknownReason(credential), unknownDetail(credential), { aboutToken: aboutToken(credential) });
}
