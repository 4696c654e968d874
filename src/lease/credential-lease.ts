/**
 * What an isolate knows about one credential, and may decide on it without asking: as long as its tenant's lease covers what
 * was learnt, and nothing that was learnt has ended. No clock of its own, so that any schedule can be replayed.
 */
import type { CredentialClaim } from "../authority/claim.ts";
import { DEGRADED_FOR_MS, type Done, type Grant, type Verdict } from "../authority/protocol.ts";
import { isEntitled, type SubscriptionRule } from "../entitlement/subscription.ts";
import { beyond, type Terms, type Use } from "../entitlement/terms.ts";
import { POLICIES, type PolicyName, type Quota } from "../quota/policy.ts";
import { RENEW_FROM, type TenantLease } from "./tenant-lease.ts";
import { TokenBucket } from "./token-bucket.ts";

/** What a request asks, and where it comes from. */
export interface Question extends Use {
  readonly policy: PolicyName;
}

const ENTRY_BYTES = 1_500;
const TERM_BYTES = 150;
/** Tokens for a credential that nobody has seen in use yet. */
export const FIRST_WISH = 2;
const MAX_WISH = 1_000_000;
/** Between two asks in the background about one credential. */
const PAUSE_MS = 250;
/** More than is expected, lest the next ask come early. */
const SURPLUS = 1.5;
/** Accounts that are still to be rendered; the oldest is let go of, and counts until its time has come. */
const MAX_DONE = 8;

interface Granted {
  readonly grant: Grant;
  readonly terms: Terms;
  readonly epoch: string;
  /** At which the limit was heard that tokens in hand are of: an answer about posts says nothing about it. */
  readonly limitEpoch: string;
  /** Instant at which what it rests on ends: the key's own, or the introspection's. */
  readonly endsAtMs: number;
  /** From when on a busy isolate asks again although the tenant's lease lasts. */
  readonly renewAtMs: number;
}

interface Refused {
  readonly grant: Grant;
  readonly epoch: string;
  readonly atMs: number;
  readonly untilMs: number;
}

export class CredentialLease {
  readonly claim: CredentialClaim;
  #granted: Granted | null = null;
  /** In the order in which they are used. */
  readonly #buckets: TokenBucket[] = [];
  /** The newest that there was: the measure of what is wanted next. */
  #newest: TokenBucket | null = null;
  readonly #refused = new Map<PolicyName, Refused>();
  #done: Done[] = [];
  #heardAtMs = 0;
  /** Until when there were tokens in hand, as far as they are over. */
  #heldUntilMs = 0;
  /** Let in while the authority could not be asked, in the window that began then. */
  #degraded = { sinceMs: 0, count: 0 };

  constructor(claim: CredentialClaim) {
    this.claim = claim;
  }

  /** As the authority would; null where it has to be asked. What is refused uses nothing up. */
  answer(question: Question, tenant: TenantLease, rule: SubscriptionRule, nowMs: number): Grant | null {
    const refused = this.#refused.get(question.policy);
    // That there is no more to be had says nothing about what is in hand.
    const isSpared = refused?.grant.verdict === "rate_limited" && this.#hasTokens(question.policy, nowMs);
    const stands = refused !== undefined && nowMs < refused.untilMs && tenant.covers(refused.epoch, nowMs);
    if (stands && !isSpared) return since(refused, nowMs);
    const granted = this.#granted;
    if (granted === null || nowMs >= granted.endsAtMs || !tenant.covers(granted.epoch, nowMs)) return null;
    const why = this.#whyNot(question, granted, rule, nowMs);
    if (why !== null) return without(granted.grant, why);
    // What the origin counts is granted one by one.
    if (POLICIES[question.policy].countedByOrigin || granted.limitEpoch !== granted.epoch) return null;
    const bucket = this.#current(nowMs);
    return bucket === undefined ? null : { ...granted.grant, quota: bucket.take(nowMs) };
  }

  /** Where the authority can't be asked: what it granted a while ago goes on, but not what the origin counts. */
  degraded(question: Question, tenant: TenantLease, rule: SubscriptionRule, nowMs: number): Grant | null {
    const granted = this.#granted;
    if (granted === null || nowMs >= granted.endsAtMs || POLICIES[question.policy].countedByOrigin)
      return null;
    if (tenant.overdueMs(granted.epoch, nowMs) >= DEGRADED_FOR_MS || granted.limitEpoch !== granted.epoch)
      return null;
    // Others may renew the tenant's lease all the while, where only this key's branch is down.
    if (this.#current(nowMs) === undefined && nowMs - this.#heldUntilMs >= DEGRADED_FOR_MS) return null;
    const why = this.#whyNot(question, granted, rule, nowMs);
    if (why !== null) return without(granted.grant, why);
    const { quota } = granted.grant;
    if (quota === null) return null;
    // A limit's worth in a window at most: nobody counts together with the other isolates.
    const { limit, windowSeconds } = quota.policy;
    if (nowMs - this.#degraded.sinceMs >= 1_000 * windowSeconds)
      this.#degraded = { sinceMs: nowMs, count: 0 };
    if (this.#degraded.count >= limit) return null;
    this.#degraded.count++;
    return granted.grant;
  }

  /** Id of the key, as far as anybody has said. */
  get keyId(): string | undefined {
    return this.#granted?.grant.keyId ?? this.claim.branchedKeyId;
  }

  /** About how many bytes it takes, without its credential. */
  get bytes(): number {
    const { allowedNetworks = [], allowedHosts = [] } = this.#granted?.terms ?? {};
    return ENTRY_BYTES + TERM_BYTES * (allowedNetworks.length + allowedHosts.length);
  }

  isRenewalDue(tenant: TenantLease, nowMs: number): boolean {
    if (tenant.isBeingRenewed(nowMs)) return false;
    if (tenant.isRenewalDue(nowMs)) return true;
    const granted = this.#granted;
    // What was answered a moment ago would be answered again.
    if (granted === null || nowMs - this.#heardAtMs < PAUSE_MS || !tenant.covers(granted.epoch, nowMs))
      return false;
    return nowMs >= granted.renewAtMs || (this.#newest?.isRunningOut(nowMs) ?? false);
  }

  /** Tokens to ask for, so that they last for `forMs`. */
  wish(forMs: number, nowMs: number): number {
    if (this.#newest === null) return FIRST_WISH;
    const expected = Math.ceil(SURPLUS * this.#newest.expected(forMs, nowMs));
    const left = this.#buckets.reduce((sum, bucket) => sum + bucket.left(nowMs), 0);
    return Math.min(MAX_WISH, Math.max(0, expected - left));
  }

  /** Whether what is in hand suffices for one request at that instant. */
  isSupplied(policy: PolicyName, atMs: number): boolean {
    return !POLICIES[policy].countedByOrigin && this.#buckets.some((bucket) => bucket.left(atMs) > 0);
  }

  /** What to tell the authority with the next ask. */
  takeDone(nowMs: number): Done[] {
    this.#retire(nowMs);
    return this.#done.splice(0);
  }

  /** It was not heard. Telling it twice changes nothing. */
  tellAgain(done: readonly Done[]): void {
    this.#done.unshift(...done);
    this.#done.splice(0, Math.max(0, this.#done.length - MAX_DONE));
  }

  /** Takes in what was answered to an ask that began at `askedAtMs`. Whether tokens for more than it came along. */
  learn(grant: Grant, policy: PolicyName, nonce: string, askedAtMs: number, nowMs: number): boolean {
    const { lease, quota, tokens, refresh: _, wouldHaveBeen, ...lasting } = grant;
    if (lease === undefined) return false;
    this.#heardAtMs = nowMs;
    if (lease.refusedForMs > 0) {
      const untilMs = askedAtMs + lease.refusedForMs;
      this.#refused.set(policy, { grant, epoch: lease.epoch, atMs: askedAtMs, untilMs });
    } else this.#refused.delete(policy);
    if (lease.terms === null) {
      // Of the credential itself, not of one request of it.
      if (lease.refusedForMs > 0) this.#granted = null;
      return false;
    }
    const isCounted = POLICIES[policy].countedByOrigin;
    const after = (ms: number | null) => (ms === null ? Number.POSITIVE_INFINITY : askedAtMs + ms);
    this.#granted = {
      // What was said to one request beyond its terms is not what is said to the next.
      grant: { ...lasting, verdict: "granted", quota: isCounted ? this.#quota() : quota, tokens: 1 },
      terms: lease.terms,
      epoch: lease.epoch,
      limitEpoch: isCounted ? (this.#granted?.limitEpoch ?? "") : lease.epoch,
      endsAtMs: after(lease.endsInMs),
      renewAtMs: after(lease.renewInMs === null ? null : Math.max(lease.renewInMs, RENEW_FROM * lease.forMs)),
    };
    if (isCounted || quota === null) return false;
    if (grant.verdict === "granted") this.#heldUntilMs = nowMs;
    // Tokens of another limit are not what may be used now.
    if (this.#newest !== null && this.#newest.limit !== quota.policy.limit) this.#giveUp();
    if (wouldHaveBeen !== undefined || tokens === 0) return false;
    this.#newest = new TokenBucket(nonce, tokens, quota, askedAtMs, askedAtMs + lease.tokensForMs);
    this.#buckets.push(this.#newest);
    return true;
  }

  #whyNot(
    question: Question,
    { grant, terms }: Granted,
    rule: SubscriptionRule,
    nowMs: number,
  ): Verdict | null {
    if (!isEntitled(grant.subscription, rule, nowMs)) return "subscription_inactive";
    return beyond(terms, this.claim.tenantId, question);
  }

  #quota(): Quota | null {
    return this.#granted?.grant.quota ?? null;
  }

  #hasTokens(policy: PolicyName, nowMs: number): boolean {
    return !POLICIES[policy].countedByOrigin && this.#current(nowMs) !== undefined;
  }

  #giveUp(): void {
    for (const bucket of this.#buckets.splice(0)) this.#done.push(bucket.done());
    this.#newest = null;
  }

  #current(nowMs: number): TokenBucket | undefined {
    this.#retire(nowMs);
    return this.#buckets[0];
  }

  #retire(nowMs: number): void {
    while (this.#buckets[0]?.isOver(nowMs)) {
      const over = this.#buckets.shift();
      if (over === undefined) break;
      this.#done.push(over.done());
      this.#heldUntilMs = Math.max(this.#heldUntilMs, Math.min(nowMs, over.untilMs));
    }
    if (this.#done.length > MAX_DONE) this.#done.shift();
  }
}

/** A refusal of a moment ago, as it is now. */
function since({ grant, atMs }: Refused, nowMs: number): Grant {
  const { quota } = grant;
  if (quota === null) return grant;
  const resetSeconds = Math.max(1, quota.resetSeconds - Math.floor((nowMs - atMs) / 1_000));
  return { ...grant, quota: { ...quota, resetSeconds } };
}

const without = (grant: Grant, verdict: Verdict): Grant => ({ ...grant, verdict, tokens: 0, quota: null });
