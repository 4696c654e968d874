/**
 * Introspections of this isolate, under way: shared by the requests that wait for the same credential, reported to its
 * tenant's authority, and few at a time where nobody knows the credential.
 */
import { LRUCache } from "lru-cache";
import type { AuthorityClient } from "../authority/client.ts";
import { tagOf } from "../authority/tag.ts";
import { unlinkedIdOf } from "../authority/unlinked.ts";
import { type Credential, digestOf } from "../credential/credential.ts";
import type { CredentialClaim } from "../principal/credential-index.ts";
import { within } from "../timeout.ts";
import type { Answer } from "./answer.ts";
import type { Introspector } from "./introspector.ts";

/** Credentials that nobody knows, asked about at the same time: guessing must not become traffic at the origin. */
const MAX_STRANGERS = 8;
/** A credential is confirmed at most once in that time. */
const CONFIRM_EVERY_MS = 10_000;

export interface Inquiry {
  readonly answer: Answer;
  /** Whose the credential is; null where it is nobody's. */
  readonly claim: CredentialClaim | null;
}

type WaitUntil = (work: Promise<unknown>) => void;

export class Inquiries {
  readonly #introspector: Introspector;
  readonly #authority: AuthorityClient;
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;
  /** By the raw credential, which never leaves memory. */
  readonly #underWay = new Map<string, Promise<Inquiry>>();
  readonly #confirmed = new LRUCache<string, true>({ max: 1_000, ttl: CONFIRM_EVERY_MS, ttlResolution: 0 });
  #strangers = 0;

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
    return this.#underWay.has(secret);
  }

  /** About a credential that KV does not know. Null: too many of them are being asked about, or it took too long. */
  async meet(credential: Credential, waitUntil: WaitUntil): Promise<Inquiry | null> {
    if (this.#strangers >= MAX_STRANGERS && !this.isUnderWay(credential)) return null;
    return this.#share(credential, waitUntil, async () => {
      this.#strangers++;
      try {
        return await this.#inquire(credential, null, 0, this.#introspector.introspect(credential));
      } finally {
        this.#strangers--;
      }
    });
  }

  /** About a credential whose authority wants to know. */
  async renew(
    credential: Credential,
    claim: CredentialClaim,
    generation: number,
    waitUntil: WaitUntil,
  ): Promise<void> {
    await this.#share(credential, waitUntil, () =>
      this.#inquire(credential, claim, generation, this.#introspector.introspect(credential)),
    );
  }

  /** The origin has refused what the gateway let in: `about` its credential or its subscription. Asks once more. */
  async confirm(
    credential: Credential,
    claim: CredentialClaim,
    generation: number,
    about: "credential" | "subscription",
    waitUntil: WaitUntil,
  ): Promise<void> {
    if (this.#confirmed.has(credential.secret)) return;
    this.#confirmed.set(credential.secret, true);
    await this.#share(credential, waitUntil, () => {
      const asked =
        about === "subscription"
          ? this.#introspector.probe(credential)
          : this.#introspector.introspect(credential);
      return this.#inquire(credential, claim, generation, asked);
    });
  }

  /** Asks, then tells the authority: whoever waits finds it knowing. */
  async #inquire(
    { kind, secret }: Credential,
    known: CredentialClaim | null,
    generation: number,
    asked: Promise<Answer>,
  ): Promise<Inquiry> {
    const askedAtMs = this.#nowMs();
    const answer = await asked;
    const claim = known ?? claimIn(answer, digestOf(secret));
    if (claim === null || kind === "gateway_key") return { answer, claim: null };
    const { tenantId, digest, tag } = claim;
    const { active, subscribed, expiresAtMs } = answer;
    const ageMs = this.#nowMs() - askedAtMs;
    const told = { tenantId, digest, kind, active, subscribed, expiresAtMs, ageMs, generation };
    await this.#authority.testify(tag, told);
    return { answer, claim };
  }

  /**
   * One inquiry a credential at a time. Kept alive by the request that began it, also when its client leaves; the
   * others wait for a bounded time, because the runtime may never tell them that it has ended with its request.
   */
  async #share(
    { secret }: Credential,
    waitUntil: WaitUntil,
    begin: () => Promise<Inquiry>,
  ): Promise<Inquiry | null> {
    const underWay = this.#underWay.get(secret);
    if (underWay !== undefined) return within(this.#timeoutMs, underWay).catch(() => null);
    const inquiry = begin().finally(() => this.#underWay.delete(secret));
    this.#underWay.set(secret, inquiry);
    waitUntil(inquiry);
    return inquiry;
  }
}

/** The tenant that the answer names, or one of the credential's own. */
function claimIn({ active, tenantId }: Answer, digest: string): CredentialClaim | null {
  if (active !== true) return null;
  const owner = tenantId ?? unlinkedIdOf(digest);
  return { tenantId: owner, tag: tagOf(owner), digest };
}
