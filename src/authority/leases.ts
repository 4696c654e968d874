/**
 * Who may pass: the decision about one request, made on the tenant's rows and counted in its ledger. Synchronous
 * and without a clock of its own, so that no other ask comes in between and any schedule can be replayed.
 */
import { isEntitled, type Subscription, type SubscriptionRule } from "../entitlement/subscription.ts";
import { POLICIES, policyFor } from "../quota/policy.ts";
import type { Ledger } from "./ledger.ts";
import {
  CLOCK_MARGIN_MS,
  type Grant,
  type LeaseAsk,
  type LeaseRefusal,
  PROTOCOL_VERSION,
  type Settlement,
} from "./protocol.ts";
import type { Key, Registry, Tenant } from "./registry.ts";

/** What of the configuration bears on leases. */
export interface LeaseRule extends SubscriptionRule {
  readonly postsPerHour: number;
  /** How long (ms) after its ask a grant may be used. */
  readonly authorityTimeoutMs: number;
}

export const UNKNOWN_SUBSCRIPTION: Subscription = { status: "unknown", currentPeriodEndMs: null };

export class Leases {
  readonly #registry: Registry;
  readonly #ledger: Ledger;

  constructor(registry: Registry, ledger: Ledger) {
    this.#registry = registry;
    this.#ledger = ledger;
  }

  lease(ask: LeaseAsk, rule: LeaseRule, nowMs: number): Grant {
    const tenant = this.#registry.tenant();
    const key = tenant?.id === ask.tenantId ? this.#registry.key(ask.digest) : null;
    if (tenant === null || key === null) return refusal("key_unknown", "", UNKNOWN_SUBSCRIPTION);
    const unusable = refusalOf(key, nowMs);
    if (unusable !== null) return refusal(unusable, key.keyId, tenant.subscription);
    if (!isEntitled(tenant.subscription, rule, nowMs)) {
      return refusal("subscription_inactive", key.keyId, tenant.subscription);
    }
    return this.#grantToken(ask, tenant, key, rule, nowMs);
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

  #grantToken(ask: LeaseAsk, tenant: Tenant, key: Key, rule: LeaseRule, nowMs: number): Grant {
    const { per, countedByOrigin } = POLICIES[ask.policy];
    const usableUntilMs = nowMs + rule.authorityTimeoutMs;
    const { granted, quota } = this.#ledger.take(
      {
        nonce: ask.nonce,
        policy: policyFor(ask.policy, rule, tenant.limits, key.limits),
        partition: per === "tenant" ? "" : key.keyId,
        usableUntilMs,
        // Postiz counts a request when it has read it, which may be any time until it answers; limits that are
        // the gateway's alone count from when the gateway admits.
        reachesOriginUntilMs: countedByOrigin ? usableUntilMs + ask.settleWithinMs : usableUntilMs,
      },
      nowMs,
    );
    return {
      v: PROTOCOL_VERSION,
      verdict: granted ? "granted" : "rate_limited",
      keyId: key.keyId,
      subscription: tenant.subscription,
      tokens: granted ? 1 : 0,
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

/** Nothing was counted. */
function refusal(verdict: LeaseRefusal, keyId: string, subscription: Subscription): Grant {
  return { v: PROTOCOL_VERSION, verdict, keyId, subscription, tokens: 0, quota: null, usableForMs: 0 };
}
