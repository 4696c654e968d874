/**
 * Who may pass: the decision about one request, made on the tenant's rows and counted in its ledger. Synchronous
 * and without a clock of its own, so that no other ask comes in between and any schedule can be replayed.
 */
import { isServedUnder } from "../entitlement/hosts.ts";
import {
  isEntitled,
  type Subscription,
  type SubscriptionRule,
  UNKNOWN_SUBSCRIPTION,
} from "../entitlement/subscription.ts";
import { beyond, type Terms } from "../entitlement/terms.ts";
import type { SealingKeys } from "../gateway-key/seal.ts";
import { POLICIES, type PolicyName, policyFor, type Shadowable } from "../quota/policy.ts";
import { AskRate } from "./ask-rate.ts";
import type { IntrospectionRule, Introspections, Standing } from "./introspections.ts";
import type { Ledger, LedgerUsage } from "./ledger.ts";
import type { OriginKeys } from "./origin-key.ts";
import {
  CLOCK_MARGIN_MS,
  DEGRADED_FOR_MS,
  type Grant,
  type GrantedLease,
  type LeaseAsk,
  type LeaseRefusal,
  PROTOCOL_VERSION,
  refusal,
  type Settlement,
  type Verdict,
} from "./protocol.ts";
import type { Key, Registry, Tenant } from "./registry.ts";
import type { TenantId } from "./tenant-id.ts";

/** What of the configuration bears on leases. */
export interface LeaseRule extends SubscriptionRule, IntrospectionRule {
  readonly postsPerHour: number;
  /** How long (ms) after its ask a grant may be used. */
  readonly authorityTimeoutMs: number;
  readonly sealingKeys: SealingKeys | null;
  readonly shadowPolicies: ReadonlySet<Shadowable>;
  /** How long an isolate may decide by itself; 0: never. And how long at most, where there are many asks. */
  readonly leaseTtlMs: number;
  readonly leaseTtlMaxMs: number;
  readonly degradesWithoutAuthority: boolean;
}

export type PolicyUsage = LedgerUsage & { readonly inShadow: boolean };

/** How long (ms) the origin's word that a tenant has no subscription is believed; then a request may hear it anew. */
const UNSUBSCRIBED_FOR_MS = 60_000;

/** What an isolate wishes for that uses about one in two seconds, or less. */
const FEW = 4;

/** Of an isolate that does not know host names: what is bound to one is not served there. */
const NOWHERE = { host: "", hostOwner: null };

/** What decisions rest on: the rows of a tenant's own object, or what it has entrusted to a branch. */
export type Books = Pick<Registry, "epoch" | "isBranched" | "isEntrusted" | "tenant" | "key" | "noteUse">;

/** Without a nonce it is only looked at. */
type Asked = Omit<LeaseAsk, "nonce"> & { readonly nonce: string | null };

export class Leases {
  readonly #books: Books;
  readonly #ledger: Ledger;
  readonly #introspections: Pick<Introspections, "standing">;
  readonly #originKeys: Pick<OriginKeys, "open">;
  readonly #rate = new AskRate();

  constructor(
    books: Books,
    ledger: Ledger,
    introspections: Pick<Introspections, "standing">,
    originKeys: Pick<OriginKeys, "open">,
  ) {
    this.#books = books;
    this.#ledger = ledger;
    this.#introspections = introspections;
    this.#originKeys = originKeys;
  }

  /** `mostMs`: how long the lease may be at most. */
  lease(ask: LeaseAsk, rule: LeaseRule, nowMs: number, mostMs = NEVER): Grant {
    this.#rate.note(nowMs);
    for (const done of ask.done ?? []) this.#ledger.done(done, nowMs);
    const grant = this.#answer(ask, rule, nowMs, mostMs);
    const isGranted = grant.verdict === "granted";
    if (isGranted) this.#books.noteUse(ask.digest, { atMs: nowMs, country: ask.country ?? "" });
    const decidesForMs = Math.max(isGranted ? grant.usableForMs : 0, grant.lease?.forMs ?? 0);
    if (decidesForMs > 0) this.#ledger.extendDeadline(nowMs + decidesForMs);
    return grant;
  }

  /** What a lease would answer, without one: nothing is counted, nobody is appointed. */
  look(ask: Omit<LeaseAsk, "nonce">, rule: LeaseRule, nowMs: number): Grant {
    const { originKey: _, ...grant } = this.#answer({ ...ask, nonce: null }, rule, nowMs, NEVER);
    return grant;
  }

  /** How long (ms) leases are at the moment, which is longer the more asks there are. */
  leaseMs(rule: LeaseRule, nowMs: number): number {
    return this.#rate.stretch(rule.leaseTtlMs, rule.leaseTtlMaxMs, nowMs);
  }

  #answer(ask: Asked, rule: LeaseRule, nowMs: number, mostMs: number): Grant {
    const tenant = this.#books.tenant();
    if (tenant !== null && tenant.movedTo !== null) {
      return { ...refusal("moved", "", UNKNOWN_SUBSCRIPTION), tenantId: tenant.movedTo };
    }
    const isMeant = ask.tenantId === null || tenant?.id === ask.tenantId;
    const key = isMeant ? this.#books.key(ask.digest) : null;
    // What it was to take over, too: nobody else will.
    const unknown = isMeant && tenant?.status === "deleted" ? "key_revoked" : "key_unknown";
    if (tenant === null || key === null) return refusal(unknown, "", UNKNOWN_SUBSCRIPTION);
    const decision = this.#decide(ask, tenant, key, rule, nowMs);
    const branched = this.#books.isBranched && { branched: true as const };
    const grant = { ...decision.grant, tenantId: tenant.id, ...branched };
    if (ask.wish === undefined || rule.leaseTtlMs === 0 || grant.verdict === "elsewhere") return grant;
    const forMs = Math.min(mostMs, this.leaseMs(rule, nowMs));
    const lease = leaseOn(decision, this.#books.epoch, forMs, nowMs);
    // One that is used at once counts from within its own short time.
    const isHeld = decision.tokensUntilMs === 0;
    const usableForMs = Math.min(forMs, lease.endsInMs ?? forMs, isHeld ? forMs : lease.tokensForMs);
    return { ...grant, usableForMs, lease };
  }

  #decide(ask: Asked, tenant: Tenant, key: Key, rule: LeaseRule, nowMs: number): Decision {
    const unusable = tenant.status === "active" ? refusalOf(key, nowMs) : "key_revoked";
    const refuse = (verdict: Verdict, more: Partial<Grant> = {}, subscription = tenant.subscription) => {
      return { ...REFUSED, grant: { ...refusal(verdict, key.keyId, subscription), ...more } };
    };
    if (unusable !== null) return refuse(unusable);
    const { entrance = NOWHERE } = ask;
    if (entrance !== null && !isServedUnder(tenant.id, tenant.allowedHosts, entrance)) {
      return refuse("host_not_allowed");
    }
    const standing = this.#introspections.standing(key.digest, key.kind, ask.nonce, rule, nowMs);
    const { generation } = standing;
    if (standing.is !== "usable") {
      const appointed = standing.is === "to_be_asked" && standing.appointed;
      const retryInMs = standing.is === "unavailable" ? standing.retryInMs : 0;
      return refuse(VERDICTS[standing.is], { generation, appointed, retryInMs });
    }
    const { refresh, stale, untilMs, renewAtMs } = standing;
    const subscription = subscriptionOf(tenant, nowMs);
    const terms = termsOf(tenant, key);
    const why = isEntitled(subscription, rule, nowMs)
      ? beyondTerms(terms, tenant.id, ask)
      : "subscription_inactive";
    if (why !== null) return refuse(why, { generation, refresh }, subscription);
    const originKey = key.kind === "gateway_key" ? this.#originKeys.open(rule.sealingKeys) : null;
    if (originKey !== null && originKey.is !== "here") {
      return refuse(NO_ORIGIN_KEY[originKey.is], { generation, refresh }, subscription);
    }
    const isPerKey = POLICIES[ask.policy].per === "key";
    if (isPerKey && isBranchable(key) && this.#books.isEntrusted(key.keyId)) return refuse("elsewhere");
    const { grant, tokensUntilMs } = this.#grantTokens(ask, { ...tenant, subscription }, key, rule, nowMs);
    const endsAtMs = Math.min(untilMs ?? NEVER, key.expiresAtMs ?? NEVER);
    const usableForMs = Math.min(grant.usableForMs, endsAtMs - nowMs);
    const swapped = originKey !== null && { originKey: originKey.secret };
    return {
      grant: { ...grant, usableForMs, generation, refresh, stale, ...swapped },
      terms,
      endsAtMs,
      renewAtMs: renewAtMs ?? NEVER,
      tokensUntilMs,
    };
  }

  /** `elsewhere`: what a branch has counted of it. */
  usage(
    name: PolicyName,
    tenant: Tenant,
    key: Key | null,
    rule: LeaseRule,
    nowMs: number,
    elsewhere?: LedgerUsage,
  ): PolicyUsage {
    const policy = policyFor(name, rule, tenant.limits, key?.limits ?? {});
    const partition = POLICIES[name].per === "tenant" ? "" : (key?.keyId ?? "");
    const usage = elsewhere ?? this.#ledger.usage(policy, partition, nowMs);
    return { ...usage, inShadow: isInShadow(name, tenant, rule) };
  }

  /** What became of a token that the origin counts. */
  settle({ nonce, originRetryAfterSeconds }: Settlement, nowMs: number): void {
    const policy = this.#ledger.settle(nonce, nowMs);
    if (policy === null || originRetryAfterSeconds === undefined) return;
    this.#ledger.block(policy, nowMs + originRetryAfterSeconds * 1_000);
  }

  /** Instant, which may have passed, after which no isolate admits on what has been granted; but for those that can't ask. */
  effectiveByMs(): number {
    return this.#ledger.latestDeadlineMs() + CLOCK_MARGIN_MS;
  }

  /** And that instant for those that can't ask; null where they deny, or hold nothing. */
  degradedUntilMs(rule: LeaseRule): number | null {
    const latestMs = this.#ledger.latestDeadlineMs();
    if (!rule.degradesWithoutAuthority || latestMs === 0) return null;
    return latestMs + DEGRADED_FOR_MS + CLOCK_MARGIN_MS;
  }

  #grantTokens(
    ask: Asked,
    tenant: Tenant,
    key: Key,
    rule: LeaseRule,
    nowMs: number,
  ): Pick<Decision, "grant" | "tokensUntilMs"> {
    const { per, countedByOrigin } = POLICIES[ask.policy];
    const policy = policyFor(ask.policy, rule, tenant.limits, key.limits);
    const partition = per === "tenant" ? "" : key.keyId;
    const inShadow = isInShadow(ask.policy, tenant, rule);
    const { nonce } = ask;
    // What the origin counts too is granted one by one.
    const isSingle = countedByOrigin || rule.leaseTtlMs === 0 || ask.wish === undefined;
    const wish = isSingle ? 1 : (ask.wish ?? 1);
    // What an isolate with little traffic holds is missing elsewhere for long: it is to ask for each, if there is time for that.
    const few = Math.max(ask.ahead === true ? 0 : 1, Math.floor(wish * this.#rate.load(nowMs)));
    const scarceWish = wish > FEW ? wish : few;
    const usableUntilMs = nowMs + rule.authorityTimeoutMs;
    const isLooked = nonce === null || wish === 0;
    const found = isLooked
      ? this.#ledger.look(policy, partition, nowMs)
      : this.#ledger.take(
          {
            nonce,
            policy,
            partition,
            wish,
            scarceWish,
            isSingle,
            inShadow,
            usableUntilMs,
            severalUntilMs: nowMs + rule.leaseTtlMaxMs,
            // Postiz counts a request when it has read it, which may be any time until it answers; limits that are
            // the gateway's alone count from when the gateway admits.
            settleWithinMs: countedByOrigin ? ask.settleWithinMs : 0,
          },
          nowMs,
        );
    const { granted, quota } = found;
    const tokens = isLooked ? wish : found.tokens;
    return {
      grant: {
        v: PROTOCOL_VERSION,
        verdict: granted || inShadow ? "granted" : "rate_limited",
        ...(inShadow && !granted && { wouldHaveBeen: "rate_limited" }),
        keyId: key.keyId,
        subscription: tenant.subscription,
        tokens: granted ? tokens : Number(inShadow),
        quota,
        usableForMs: rule.authorityTimeoutMs,
      },
      tokensUntilMs: found.usableUntilMs,
    };
  }
}

/** What was decided, and until when the decision can stand. Instants are milliseconds; for ever where it does not end. */
interface Decision {
  readonly grant: Grant;
  /** Null where the credential itself, or what stands behind it, was refused. */
  readonly terms: Terms | null;
  readonly endsAtMs: number;
  readonly renewAtMs: number;
  readonly tokensUntilMs: number;
}

const NEVER = Number.POSITIVE_INFINITY;
const REFUSED = { terms: null, endsAtMs: NEVER, renewAtMs: NEVER, tokensUntilMs: 0 };

function leaseOn(decision: Decision, epoch: string, forMs: number, nowMs: number): GrantedLease {
  const { grant, terms, endsAtMs, renewAtMs, tokensUntilMs } = decision;
  const inMs = (atMs: number) => (atMs === NEVER ? null : atMs - nowMs);
  return {
    epoch,
    forMs,
    endsInMs: inMs(endsAtMs),
    renewInMs: inMs(renewAtMs),
    tokensForMs: Math.max(0, tokensUntilMs - nowMs),
    refusedForMs: Math.min(forMs, refusedForMs(grant)),
    terms,
  };
}

/** How long a refusal stands for every request of its policy. */
function refusedForMs({ verdict, quota, retryInMs = 0 }: Grant): number {
  switch (verdict) {
    // What was said to one request says nothing about the next.
    case "granted":
    case "scope_insufficient":
    case "network_not_allowed":
    case "host_not_allowed":
    case "introspection_required":
    case "moved":
    case "elsewhere":
      return 0;
    // As it was announced: whoever waits that long is not refused again.
    case "rate_limited":
      return 1_000 * (quota?.resetSeconds ?? 0);
    case "introspection_unavailable":
      return retryInMs;
    default:
      return NEVER;
  }
}

const termsOf = ({ allowedHosts }: Tenant, { scopes, allowedNetworks }: Key): Terms => {
  return { scopes, allowedNetworks, allowedHosts };
};

/** An isolate of an earlier version does not say what the operation takes, nor under which host name it came in. */
function beyondTerms(terms: Terms, tenantId: TenantId, ask: Asked): LeaseRefusal | null {
  const { scope = "*", clientAddress = null, entrance = NOWHERE } = ask;
  return beyond(terms, tenantId, { scope, clientAddress, entrance });
}

/** Tokens live on answers that age, which are not a branch's to get. */
export const isBranchable = ({ kind }: Key): boolean => kind !== "oauth_token";

/** A state that this version does not know, written by a later one before a rollback, admits nobody. */
function refusalOf(key: Key, nowMs: number): LeaseRefusal | null {
  if (key.state === "revoked") return "key_revoked";
  if (key.state !== "active") return "key_disabled";
  return key.expiresAtMs !== null && nowMs >= key.expiresAtMs ? "key_expired" : null;
}

function isInShadow(policy: PolicyName, { shadowPolicies }: Tenant, rule: LeaseRule): boolean {
  return rule.shadowPolicies.has(policy) || shadowPolicies.includes(policy);
}

const NO_ORIGIN_KEY = { missing: "origin_key_missing", unreadable: "origin_key_unreadable" } as const;

const VERDICTS = {
  to_be_asked: "introspection_required",
  refused: "rejected",
  unavailable: "introspection_unavailable",
} as const satisfies Record<Exclude<Standing["is"], "usable">, Verdict>;

/** The operator's word, or else the origin's of a moment ago. */
function subscriptionOf({ subscription, unsubscribedAtMs }: Tenant, nowMs: number): Subscription {
  if (subscription.status !== "unknown" || unsubscribedAtMs === null) return subscription;
  if (nowMs - unsubscribedAtMs >= UNSUBSCRIBED_FOR_MS) return subscription;
  return { status: "none", currentPeriodEndMs: null };
}
