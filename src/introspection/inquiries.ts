/**
 * Introspections of this isolate, under way: shared by the requests that wait for the same credential, reported to its
 * tenant's authority, and few at a time where nobody knows the credential.
 */
import { LRUCache } from "lru-cache";
import { type CredentialClaim, claimFor } from "../authority/claim.ts";
import type { AuthorityClient } from "../authority/client.ts";
import type { Hearing } from "../authority/protocol.ts";
import { unlinkedIdOf } from "../authority/tenant-id.ts";
import { type Credential, digestOf } from "../credential/credential.ts";
import { within } from "../timeout.ts";
import type { WaitUntil } from "../wait-until.ts";
import { type Answer, UNKNOWN } from "./answer.ts";
import type { Introspector } from "./introspector.ts";

/** Credentials that nobody knows, asked about at the same time: guessing must not become traffic at the origin. */
const MAX_STRANGERS = 8;
/** The origin's refusal of a credential is looked into at most once in that time. */
const CONFIRM_EVERY_MS = 10_000;
/** What an inquiry may take beside the introspection; one that takes longer has died with its request. */
const REPORT_MS = 5_000;

export interface Inquiry {
  readonly answer: Answer;
  /** Whose the credential is; null where it is nobody's. */
  readonly claim: CredentialClaim | null;
  /** Whether its authority has taken the answer down, where there is anything to take down. */
  readonly isHeard: boolean;
}

const NOTHING: Inquiry = { answer: UNKNOWN, claim: null, isHeard: false };

interface UnderWay {
  readonly inquiry: Promise<Inquiry>;
  readonly begunAtMs: number;
  /** Nobody knew the credential. */
  readonly isStranger: boolean;
}

export class Inquiries {
  readonly #introspector: Introspector;
  readonly #authority: AuthorityClient;
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;
  /** By the raw credential, which never leaves memory. */
  readonly #underWay = new Map<string, UnderWay>();
  readonly #confirmed = new LRUCache<string, true>({ max: 1_000, ttl: CONFIRM_EVERY_MS, ttlResolution: 0 });

  /** `timeoutMs`: how long the introspector may take. */
  constructor(
    introspector: Introspector,
    authority: AuthorityClient,
    timeoutMs: number,
    nowMs: () => number,
  ) {
    this.#introspector = introspector;
    this.#authority = authority;
    this.#timeoutMs = timeoutMs;
    this.#nowMs = nowMs;
  }

  isUnderWay({ secret }: Credential): boolean {
    this.#bury();
    return this.#underWay.has(secret);
  }

  /** Whether as many unknown credentials are being asked about as may be, and this one is not among them. */
  areFull(credential: Credential): boolean {
    if (this.isUnderWay(credential)) return false;
    const strangers = [...this.#underWay.values()].filter(({ isStranger }) => isStranger);
    return strangers.length >= MAX_STRANGERS;
  }

  /** About a credential that KV does not know: what is found out within `waitMs`. */
  meet(credential: Credential, waitMs: number, waitUntil: WaitUntil): Promise<Inquiry> {
    const inquiry = this.#share(credential, waitUntil, true, () => this.#inquire(credential, null, 0));
    return within(waitMs, inquiry).catch(() => NOTHING);
  }

  /** About a credential whose authority wants to know; whether it knows now. */
  async renew(
    credential: Credential,
    claim: CredentialClaim,
    generation: number,
    waitUntil: WaitUntil,
  ): Promise<boolean> {
    const inquire = () => this.#inquire(credential, claim, generation);
    return (await this.#share(credential, waitUntil, false, inquire)).isHeard;
  }

  /** About one that was refused although its authority had let it in. Asks anew, whatever is under way. */
  async confirm(
    credential: Credential,
    claim: CredentialClaim,
    generation: number,
    waitUntil: WaitUntil,
  ): Promise<void> {
    if (this.#confirmed.has(credential.secret)) return;
    this.#confirmed.set(credential.secret, true);
    const inquiry = this.#inquire(credential, claim, generation);
    waitUntil(inquiry);
    await inquiry;
  }

  /** The origin has said in passing that the credential's organization has no subscription. */
  async reportNoSubscription(
    credential: Credential,
    claim: CredentialClaim,
    generation: number,
  ): Promise<void> {
    await this.#tell(credential, claim, { ...UNKNOWN, subscribed: false }, this.#nowMs(), generation);
  }

  /** Nobody has answered about a credential that the authority may have a last good answer for. */
  async reportUnanswered(credential: Credential, claim: CredentialClaim): Promise<void> {
    await this.#tell(credential, claim, UNKNOWN, this.#nowMs(), 0);
  }

  /**
   * Asks, then tells the authority: whoever waits finds it knowing. Where something else was told meanwhile, nobody
   * can say which is newer, so it asks once more.
   */
  async #inquire(
    credential: Credential,
    known: CredentialClaim | null,
    generation: number,
    isRepeat = false,
  ): Promise<Inquiry> {
    const askedAtMs = this.#nowMs();
    const answer = await this.#introspector.introspect(credential);
    const claim = known ?? claimIn(answer, digestOf(credential.secret));
    if (claim === null) return { answer, claim, isHeard: true };
    const hearing = await this.#tell(credential, claim, answer, askedAtMs, generation);
    // A yes that nobody has taken down is none: the authority would not know the credential.
    if (hearing === null) return { answer: UNKNOWN, claim: known, isHeard: false };
    const { tenantId } = hearing;
    if (tenantId !== "" && tenantId !== claim.tenantId)
      return { answer, claim: claimFor(tenantId, claim.digest), isHeard: true };
    if (hearing.counts || generation === hearing.generation || isRepeat)
      return { answer, claim, isHeard: true };
    return this.#inquire(credential, claim, hearing.generation, true);
  }

  #tell(
    { kind }: Credential,
    { tag, tenantId, digest }: CredentialClaim,
    { active, subscribed, expiresAtMs }: Answer,
    askedAtMs: number,
    generation: number,
  ): Promise<Hearing | null> {
    const told = { tenantId, digest, active, subscribed, expiresAtMs, askedAtMs, generation };
    const ageMs = this.#nowMs() - askedAtMs;
    return this.#authority.testify(tag, { ...told, kind: kind === "oauth_token" ? kind : "api_key", ageMs });
  }

  /**
   * One inquiry a credential at a time. Kept alive by the request that began it, also when its client leaves; the
   * others wait for a bounded time, because the runtime may never tell them that it has ended with its request.
   */
  async #share(
    { secret }: Credential,
    waitUntil: WaitUntil,
    isStranger: boolean,
    begin: () => Promise<Inquiry>,
  ): Promise<Inquiry> {
    const underWay = this.#underWay.get(secret);
    if (underWay !== undefined) {
      return within(this.#timeoutMs + REPORT_MS, underWay.inquiry).catch(() => NOTHING);
    }
    const begun = { inquiry: begin(), begunAtMs: this.#nowMs(), isStranger };
    this.#underWay.set(secret, begun);
    waitUntil(begun.inquiry);
    try {
      return await begun.inquiry;
    } finally {
      if (this.#underWay.get(secret) === begun) this.#underWay.delete(secret);
    }
  }

  /** Forgets inquiries whose request the runtime has ended: nothing else would. */
  #bury(): void {
    const diedBeforeMs = this.#nowMs() - this.#timeoutMs - REPORT_MS;
    for (const [secret, { begunAtMs }] of this.#underWay) {
      if (begunAtMs < diedBeforeMs) this.#underWay.delete(secret);
    }
  }
}

/** The tenant that the answer names, or one of the credential's own. */
function claimIn({ active, tenantId }: Answer, digest: string): CredentialClaim | null {
  return active === true ? claimFor(tenantId ?? unlinkedIdOf(digest), digest) : null;
}
