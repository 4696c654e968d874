/**
 * Where an isolate gets its decisions about credentials: from the leases it holds, or from the tenants' authorities. One
 * ask a credential at a time; whoever comes meanwhile waits for it, for no longer than an ask may take.
 */
import { LRUCache } from "lru-cache";
import { type BranchName, branchOf, isBranch, tenantTagOf } from "../authority/branch-name.ts";
import type { CredentialClaim } from "../authority/claim.ts";
import type { AuthorityClient } from "../authority/client.ts";
import type { Grant, LeaseAsk } from "../authority/protocol.ts";
import type { Tag } from "../authority/tag.ts";
import type { TenantId } from "../authority/tenant-id.ts";
import type { SteadyClock } from "../clock.ts";
import type { Credential } from "../credential/credential.ts";
import type { SubscriptionRule } from "../entitlement/subscription.ts";
import { POLICIES, type PolicyName } from "../quota/policy.ts";
import { within } from "../timeout.ts";
import { CredentialLease, FIRST_WISH, type Question } from "./credential-lease.ts";
import { TenantLease } from "./tenant-lease.ts";

/** What a lease is held of: whose authority to ask, and about which credential. The tenant may not be known yet. */
export type Holding = Omit<CredentialClaim, "tenantId"> & { readonly tenantId: TenantId | null };

/** Of an authority, or of one of its branches. */
type Name = Tag | BranchName;

/** What an ask says beside the question. */
export type Occasion = Pick<LeaseAsk, "nonce" | "settleWithinMs"> & { readonly country: string };

export interface DeskRule extends SubscriptionRule {
  readonly authorityTimeoutMs: number;
  readonly degradesWithoutAuthority: boolean;
}

export interface Decided {
  readonly grant: Grant;
  /** Without the authority, which did not answer. */
  readonly degraded: boolean;
  /** Whose the credential is, where that was known before; null: as it was asked. */
  readonly claim: CredentialClaim | null;
}

const MAX_CREDENTIALS = 12_000;
const MAX_BYTES = 24_000_000;
const MAX_TENANTS = 12_000;
/** An authority, or a branch, that has not answered is not asked by everybody again at once. */
const SILENT = { max: 12_000, ttl: 1_000, ttlResolution: 0 };
/** What is wished for is meant to last that long. */
const WISH_FOR_MS = 5_000;

/** For a token: a request; one that has tokens in hand, and waits for the lease alone; or nobody. */
type Waits = "request" | "supplied" | "nobody";

interface Asking {
  readonly answered: Promise<Grant | null>;
  readonly begunAtMs: number;
}

export class LeaseDesk {
  readonly #authority: AuthorityClient;
  readonly #rule: DeskRule;
  readonly #clock: SteadyClock;
  /** By the raw credential, which never leaves memory. */
  readonly #credentials = new LRUCache<string, CredentialLease>({
    max: MAX_CREDENTIALS,
    maxSize: MAX_BYTES,
    sizeCalculation: ({ bytes }, secret) => bytes + 2 * secret.length,
  });
  readonly #tenants = new LRUCache<Tag, TenantLease>({ max: MAX_TENANTS });
  readonly #silent = new LRUCache<string, true>(SILENT);
  /** Branches that are to be asked, as their tenant's object has said, by the raw credential. */
  readonly #sentElsewhere = new LRUCache<string, BranchName>({ max: MAX_CREDENTIALS });
  readonly #asking = new Map<string, Asking>();
  #timesSetBack = 0;

  constructor(authority: AuthorityClient, rule: DeskRule, clock: SteadyClock) {
    this.#authority = authority;
    this.#rule = rule;
    this.#clock = clock;
  }

  recall({ secret }: Credential): CredentialLease | undefined {
    return this.#credentials.get(secret);
  }

  /** The next request asks the authority. */
  forget({ secret }: Credential): void {
    this.#credentials.delete(secret);
  }

  /** What the lease in hand says; null where the authority has to be asked. */
  answer(lease: CredentialLease, question: Question): Grant | null {
    const nowMs = this.#nowMs();
    return lease.answer(question, this.#tenant(lease.claim.tag), this.#rule, nowMs);
  }

  /** Whether it is time to ask for what comes after the lease in hand. */
  isRenewalDue(credential: Credential, lease: CredentialLease): boolean {
    if (!lease.isRenewalDue(this.#tenant(lease.claim.tag), this.#nowMs())) return false;
    const name = this.#whomToAsk(credential, lease.claim, "api", lease);
    return !this.#silent.has(silenceOf(name, lease.claim.digest));
  }

  /** Null where nobody could decide. */
  async ask(
    credential: Credential,
    holding: Holding,
    question: Question,
    occasion: Occasion,
  ): Promise<Decided | null> {
    const untilMs = this.#nowMs() + this.#rule.authorityTimeoutMs;
    const isShared = !POLICIES[question.policy].countedByOrigin;
    const another = () => (isShared ? this.#other(credential) : undefined);
    for (let other = another(); other !== undefined; other = another()) {
      const leftMs = untilMs - this.#nowMs();
      if (leftMs <= 0) break;
      const heard = await within(leftMs, other.answered).catch(() => null);
      const lease = this.recall(credential);
      const grant = lease === undefined ? null : this.answer(lease, question);
      if (lease !== undefined && grant !== null) return { grant, degraded: false, claim: lease.claim };
      // Whoever has waited in vain for an answer has had its time; one that is for one request only helps no other.
      if (heard === null) return lease === undefined ? null : this.#degraded(lease, question);
      // Somebody is appointed, and whoever waits learns no more by asking.
      if (heard.verdict === "introspection_required") {
        return { grant: { ...heard, appointed: false }, degraded: false, claim: null };
      }
      if (heard.lease === undefined || heard.verdict !== "granted" || heard.wouldHaveBeen !== undefined)
        break;
    }
    const known = this.recall(credential);
    const name = this.#whomToAsk(credential, holding, question.policy, known);
    const isSilent = this.#silent.has(silenceOf(name, holding.digest));
    const degraded = known && isSilent ? this.#degraded(known, question) : null;
    if (degraded !== null) return degraded;
    const grant = await this.#askFor(credential, holding, question, occasion, known);
    if (grant !== null) return { grant, degraded: false, claim: null };
    return known === undefined ? null : this.#degraded(known, question);
  }

  /** In the background, while the lease in hand goes on. What the authority said, null where it said nothing. */
  async renew(
    credential: Credential,
    lease: CredentialLease,
    question: Question,
    occasion: Occasion,
  ): Promise<Grant | null> {
    const nowMs = this.#nowMs();
    this.#tenant(lease.claim.tag).beRenewed(nowMs + this.#rule.authorityTimeoutMs);
    const wish = lease.wish(WISH_FOR_MS, nowMs);
    return this.#askNow(credential, lease.claim, { ...question, policy: "api" }, occasion, wish, "nobody");
  }

  /** Tokens in hand that outlast the ask are used first: then the lease is all that is asked for. */
  async #askFor(
    credential: Credential,
    holding: Holding,
    question: Question,
    occasion: Occasion,
    known: CredentialLease | undefined,
  ): Promise<Grant | null> {
    const nowMs = this.#nowMs();
    const isSupplied = known?.isSupplied(question.policy, nowMs + this.#rule.authorityTimeoutMs) ?? false;
    const wish = known?.wish(WISH_FOR_MS, nowMs) ?? FIRST_WISH;
    if (isSupplied) {
      const grant = await this.#askNow(credential, holding, question, occasion, wish, "supplied");
      const isEmpty = grant?.verdict === "granted" && grant.tokens === 0;
      if (!isEmpty) return grant;
    }
    return this.#askNow(credential, holding, question, occasion, Math.max(1, wish));
  }

  async #askNow(
    credential: Credential,
    holding: Holding,
    question: Question,
    occasion: Occasion,
    wish: number,
    waits: Waits = "request",
  ): Promise<Grant | null> {
    const { tenantId, tag, digest } = holding;
    const askedAtMs = this.#nowMs();
    const { timesSetBack } = this.#clock;
    const known = this.recall(credential);
    const name = this.#whomToAsk(credential, holding, question.policy, known);
    // What a branch has granted is none of its authority's business.
    const isAboutOthers = POLICIES[question.policy].per === "tenant" && this.#tenant(tag).isBranched;
    const done = isAboutOthers ? [] : (known?.takeDone(askedAtMs) ?? []);
    const ahead = waits !== "request" && { ahead: true as const };
    const ask = { ...question, ...occasion, tenantId, digest, wish, done, ...ahead };
    const untilMs = askedAtMs + this.#rule.authorityTimeoutMs;
    const answered = this.#askAt(name, ask).then((grant) => {
      return grant?.verdict === "elsewhere"
        ? this.#askElsewhere(credential, name, tag, grant, ask, untilMs)
        : grant;
    });
    const asking = { answered, begunAtMs: askedAtMs };
    if (!POLICIES[question.policy].countedByOrigin) this.#asking.set(credential.secret, asking);
    const grant = await answered;
    if (this.#asking.get(credential.secret) === asking) this.#asking.delete(credential.secret);
    const nowMs = this.#nowMs();
    // How long the answer took is not known where the clock was set back meanwhile, nor what is left of its time.
    if (grant === null || this.#clock.timesSetBack !== timesSetBack) {
      known?.tellAgain(done);
      return null;
    }
    if (grant.branched === true) this.#tenant(tag).isBranched = true;
    const owner = tenantId ?? grant.tenantId;
    if (grant.lease === undefined || owner === undefined) return grant;
    this.#tenant(tag).extend(grant.lease.epoch, askedAtMs, grant.lease.forMs);
    const lease = this.#leaseOf(credential, { ...holding, tenantId: owner });
    const isForMany = lease.learn(grant, question.policy, occasion.nonce, askedAtMs, nowMs);
    // Also one that is known: its size may be another one now.
    this.#credentials.set(credential.secret, lease);
    const { verdict } = grant;
    const isAboutTokens = verdict === "granted" || verdict === "rate_limited";
    if (waits === "nobody" || !isAboutTokens || POLICIES[question.policy].countedByOrigin) return grant;
    const own = this.answer(lease, question);
    if (own === null && !isForMany) return grant;
    // Whoever asked is appointed, not whoever is let in on the same lease.
    return own !== null && grant.refresh === true ? { ...own, refresh: true } : own;
  }

  /** The tenant's own object, or the branch that counts the key's requests. */
  #whomToAsk(
    { kind, secret }: Credential,
    { tag, branchedKeyId }: Pick<Holding, "tag" | "branchedKeyId">,
    policy: PolicyName,
    known: CredentialLease | undefined,
  ): Name {
    if (kind === "oauth_token" || POLICIES[policy].per === "tenant") return tag;
    if (branchedKeyId !== undefined) return branchOf(tag, branchedKeyId);
    const sent = this.#sentElsewhere.get(secret);
    // What was said, or how it was called, by the tenant that it was of before it was linked is no use any more.
    if (sent !== undefined && tenantTagOf(sent) === tag) return sent;
    const keyId = known?.claim.tag === tag && this.#tenant(tag).isBranched ? known.keyId : undefined;
    return keyId === undefined ? tag : branchOf(tag, keyId);
  }

  /** Whoever has not answered is silent for a while. */
  async #askAt(name: Name, ask: Omit<LeaseAsk, "v">, withinMs?: number): Promise<Grant | null> {
    const grant = await this.#authority.lease(name, ask, withinMs);
    if (grant === null) this.#silent.set(silenceOf(name, ask.digest), true);
    else this.#silent.delete(silenceOf(name, ask.digest));
    return grant;
  }

  /** In what is left of the time: a branch sends to the tenant's own object, and that to the right branch. Null where it goes on. */
  async #askElsewhere(
    { secret }: Credential,
    asked: Name,
    tag: Tag,
    sent: Grant,
    ask: Omit<LeaseAsk, "v">,
    untilMs: number,
  ): Promise<Grant | null> {
    const askNext = (name: Name) => this.#askAt(name, ask, Math.max(0, untilMs - this.#nowMs()));
    const own = isBranch(asked) ? await askNext(tag) : sent;
    if (own?.verdict !== "elsewhere") return own;
    const branch = branchOf(tag, own.keyId);
    if (branch === asked) return null;
    this.#sentElsewhere.set(secret, branch);
    const grant = await askNext(branch);
    return grant?.verdict === "elsewhere" ? null : grant;
  }

  #degraded(lease: CredentialLease, question: Question): Decided | null {
    if (!this.#rule.degradesWithoutAuthority) return null;
    const tenant = this.#tenant(lease.claim.tag);
    const grant = lease.degraded(question, tenant, this.#rule, this.#nowMs());
    return grant === null ? null : { grant, degraded: true, claim: lease.claim };
  }

  #other({ secret }: Credential): Asking | undefined {
    const other = this.#asking.get(secret);
    // Of one from before that the runtime has ended the request, and nobody else would notice.
    const earliestMs = this.#nowMs() - 2 * this.#rule.authorityTimeoutMs;
    return other !== undefined && other.begunAtMs >= earliestMs ? other : undefined;
  }

  #leaseOf({ secret }: Credential, claim: CredentialClaim): CredentialLease {
    const known = this.#credentials.get(secret);
    if (known?.claim.tag === claim.tag) return known;
    return new CredentialLease(claim);
  }

  #tenant(tag: Tag): TenantLease {
    let tenant = this.#tenants.get(tag);
    if (tenant === undefined) {
      tenant = new TenantLease();
      this.#tenants.set(tag, tenant);
    }
    return tenant;
  }

  /** A clock that was set back does not tell how much time has passed: what was granted before is not relied on. */
  #nowMs(): number {
    const nowMs = this.#clock.nowMs();
    if (this.#clock.timesSetBack !== this.#timesSetBack) {
      this.#timesSetBack = this.#clock.timesSetBack;
      this.#tenants.clear();
      this.#credentials.clear();
      this.#silent.clear();
    }
    return nowMs;
  }
}

/** A branch may know about one key, and not about another that has to be entrusted to it first. */
const silenceOf = (name: Name, digest: string): string => (isBranch(name) ? `${name} ${digest}` : name);
