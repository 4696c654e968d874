/**
 * Who may pass: the decision about one request, made on the tenant's rows and counted in its ledger. Synchronous
 * and without a clock of its own, so that no other ask comes in between and any schedule can be replayed.
 */
import { isServedUnder } from "../entitlement/hosts.ts";
import { isAllowedFrom } from "../entitlement/networks.ts";
import { allows } from "../entitlement/scopes.ts";
import {
  isEntitled,
  type Subscription,
  type SubscriptionRule,
  UNKNOWN_SUBSCRIPTION,
} from "../entitlement/subscription.ts";
import type { SealingKeys } from "../gateway-key/seal.ts";
import { POLICIES, type PolicyName, policyFor, type Quota, type Shadowable } from "../quota/policy.ts";
import type { IntrospectionRule, Introspections, Standing } from "./introspections.ts";
import type { Ledger } from "./ledger.ts";
import type { OriginKeys } from "./origin-key.ts";
import {
  CLOCK_MARGIN_MS,
  type Grant,
  type LeaseAsk,
  type LeaseRefusal,
  PROTOCOL_VERSION,
  refusal,
  type Settlement,
  type Verdict,
} from "./protocol.ts";
import type { Key, Registry, Tenant } from "./registry.ts";

/** What of the configuration bears on leases. */
export interface LeaseRule extends SubscriptionRule, IntrospectionRule {
  readonly postsPerHour: number;
  /** How long (ms) after its ask a grant may be used. */
  readonly authorityTimeoutMs: number;
  readonly sealingKeys: SealingKeys | null;
  readonly shadowPolicies: ReadonlySet<Shadowable>;
}

export interface PolicyUsage {
  readonly quota: Quota;
  readonly inShadow: boolean;
  readonly passedInShadow: number;
}

/** How long (ms) the origin's word that a tenant has no subscription is believed; then a request may hear it anew. */
const UNSUBSCRIBED_FOR_MS = 60_000;

/** Of an isolate that does not know host names: what is bound to one is not served there. */
const NOWHERE = { host: "", hostOwner: null };

/** Without a nonce it is only looked at. */
type Asked = Omit<LeaseAsk, "nonce"> & { readonly nonce: string | null };

export class Leases {
  readonly #registry: Registry;
  readonly #ledger: Ledger;
  readonly #introspections: Introspections;
  readonly #originKeys: OriginKeys;

  constructor(registry: Registry, ledger: Ledger, introspections: Introspections, originKeys: OriginKeys) {
    this.#registry = registry;
    this.#ledger = ledger;
    this.#introspections = introspections;
    this.#originKeys = originKeys;
  }

  lease(ask: LeaseAsk, rule: LeaseRule, nowMs: number): Grant {
    const grant = this.#answer(ask, rule, nowMs);
    if (grant.verdict === "granted") {
      this.#registry.noteUse(ask.digest, { atMs: nowMs, country: ask.country ?? "" });
    }
    return grant;
  }

  /** What a lease would answer, without one: nothing is counted, nobody is appointed. */
  look(ask: Omit<LeaseAsk, "nonce">, rule: LeaseRule, nowMs: number): Grant {
    const { originKey: _, ...grant } = this.#answer({ ...ask, nonce: null }, rule, nowMs);
    return grant;
  }

  #answer(ask: Asked, rule: LeaseRule, nowMs: number): Grant {
    const tenant = this.#registry.tenant();
    if (tenant !== null && tenant.movedTo !== null) {
      return { ...refusal("moved", "", UNKNOWN_SUBSCRIPTION), tenantId: tenant.movedTo };
    }
    const isMeant = ask.tenantId === null || tenant?.id === ask.tenantId;
    const key = isMeant ? this.#registry.key(ask.digest) : null;
    if (tenant === null || key === null) return refusal("key_unknown", "", UNKNOWN_SUBSCRIPTION);
    return { ...this.#decide(ask, tenant, key, rule, nowMs), tenantId: tenant.id };
  }

  #decide(ask: Asked, tenant: Tenant, key: Key, rule: LeaseRule, nowMs: number): Grant {
    const unusable = tenant.status === "active" ? refusalOf(key, nowMs) : "key_revoked";
    if (unusable !== null) return refusal(unusable, key.keyId, tenant.subscription);
    const { entrance = NOWHERE } = ask;
    if (entrance !== null && !isServedUnder(tenant.id, tenant.allowedHosts, entrance)) {
      return refusal("host_not_allowed", key.keyId, tenant.subscription);
    }
    const standing = this.#introspections.standing(key.digest, key.kind, ask.nonce, rule, nowMs);
    const { generation } = standing;
    if (standing.is !== "usable") {
      const appointed = standing.is === "to_be_asked" && standing.appointed;
      const retryInMs = standing.is === "unavailable" ? standing.retryInMs : 0;
      const refused = refusal(VERDICTS[standing.is], key.keyId, tenant.subscription);
      return { ...refused, generation, appointed, retryInMs };
    }
    const { refresh, stale, untilMs } = standing;
    const subscription = subscriptionOf(tenant, nowMs);
    if (!isEntitled(subscription, rule, nowMs)) {
      return { ...refusal("subscription_inactive", key.keyId, subscription), generation, refresh };
    }
    const beyond = beyondKey(key, ask);
    if (beyond !== null) return { ...refusal(beyond, key.keyId, subscription), generation, refresh };
    const originKey = key.kind === "gateway_key" ? this.#originKeys.open(rule.sealingKeys) : null;
    if (originKey !== null && originKey.is !== "here") {
      return { ...refusal(NO_ORIGIN_KEY[originKey.is], key.keyId, subscription), generation, refresh };
    }
    const grant = this.#grantToken(ask, { ...tenant, subscription }, key, rule, nowMs);
    const never = Number.POSITIVE_INFINITY;
    const usableForMs = Math.min(
      grant.usableForMs,
      (untilMs ?? never) - nowMs,
      (key.expiresAtMs ?? never) - nowMs,
    );
    const swapped = originKey !== null && { originKey: originKey.secret };
    return { ...grant, usableForMs, generation, refresh, stale, ...swapped };
  }

  /** What is left of a policy to a key, and what it would have refused in the last window were it not in shadow. */
  usage(name: PolicyName, tenant: Tenant, key: Key | null, rule: LeaseRule, nowMs: number): PolicyUsage {
    const policy = policyFor(name, rule, tenant.limits, key?.limits ?? {});
    const partition = POLICIES[name].per === "tenant" ? "" : (key?.keyId ?? "");
    return {
      quota: this.#ledger.look(policy, partition, nowMs).quota,
      inShadow: isInShadow(name, tenant, rule),
      passedInShadow: this.#ledger.passedInShadow(name, partition, nowMs),
    };
  }

  /** What became of a token that the origin counts. */
  settle({ nonce, originRetryAfterSeconds }: Settlement, nowMs: number): void {
    const policy = this.#ledger.settle(nonce, nowMs);
    if (policy === null || originRetryAfterSeconds === undefined) return;
    this.#ledger.block(policy, nowMs + originRetryAfterSeconds * 1_000);
  }

  /** Instant after which no isolate admits on what has been granted so far. */
  effectiveByMs(nowMs: number): number {
    const latestMs = this.#ledger.latestDeadlineMs();
    return latestMs > nowMs - CLOCK_MARGIN_MS ? latestMs + CLOCK_MARGIN_MS : nowMs;
  }

  #grantToken(ask: Asked, tenant: Tenant, key: Key, rule: LeaseRule, nowMs: number): Grant {
    const { per, countedByOrigin } = POLICIES[ask.policy];
    const usableUntilMs = nowMs + rule.authorityTimeoutMs;
    const policy = policyFor(ask.policy, rule, tenant.limits, key.limits);
    const partition = per === "tenant" ? "" : key.keyId;
    const inShadow = isInShadow(ask.policy, tenant, rule);
    const { nonce } = ask;
    const { granted, quota } =
      nonce === null
        ? this.#ledger.look(policy, partition, nowMs)
        : this.#ledger.take(
            {
              nonce,
              policy,
              partition,
              usableUntilMs,
              inShadow,
              // Postiz counts a request when it has read it, which may be any time until it answers; limits that are
              // the gateway's alone count from when the gateway admits.
              reachesOriginUntilMs: countedByOrigin ? usableUntilMs + ask.settleWithinMs : usableUntilMs,
            },
            nowMs,
          );
    return {
      v: PROTOCOL_VERSION,
      verdict: granted || inShadow ? "granted" : "rate_limited",
      ...(inShadow && !granted && { wouldHaveBeen: "rate_limited" }),
      keyId: key.keyId,
      subscription: tenant.subscription,
      tokens: granted || inShadow ? 1 : 0,
      quota,
      usableForMs: rule.authorityTimeoutMs,
    };
  }
}

/** A state that this version does not know, written by a later one before a rollback, admits nobody. */
function refusalOf(key: Key, nowMs: number): LeaseRefusal | null {
  if (key.state === "revoked") return "key_revoked";
  if (key.state !== "active") return "key_disabled";
  return key.expiresAtMs !== null && nowMs >= key.expiresAtMs ? "key_expired" : null;
}

function isInShadow(policy: PolicyName, { shadowPolicies }: Tenant, rule: LeaseRule): boolean {
  return rule.shadowPolicies.has(policy) || shadowPolicies.includes(policy);
}

/** What the key was not made for. An isolate of an earlier version does not say what the operation takes. */
function beyondKey(key: Key, { scope = "*", clientAddress = null }: Asked): LeaseRefusal | null {
  if (!isAllowedFrom(key.allowedNetworks, clientAddress)) return "network_not_allowed";
  return allows(key.scopes, scope) ? null : "scope_insufficient";
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
