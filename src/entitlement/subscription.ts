/** Whether a subscription lets its tenant in: a pure decision, made by the authority and again on every hit. */

export const SUBSCRIPTION_STATUSES = [
  "active",
  "trialing",
  "past_due",
  "canceled",
  "none",
  /** Nobody told the gateway; the origin decides. */
  "unknown",
] as const;

export type SubscriptionStatus = (typeof SUBSCRIPTION_STATUSES)[number];

export interface Subscription {
  readonly status: SubscriptionStatus;
  /** End (ms) of what was paid for; looked at only once it is canceled. */
  readonly currentPeriodEndMs: number | null;
}

export const UNKNOWN_SUBSCRIPTION: Subscription = { status: "unknown", currentPeriodEndMs: null };

export interface SubscriptionRule {
  readonly subscriptionsRequired: boolean;
  readonly subscriptionGraceDays: number;
}

const DAY_MS = 86_400_000;

export function isEntitled(subscription: Subscription, rule: SubscriptionRule, nowMs: number): boolean {
  if (!rule.subscriptionsRequired) return true;
  switch (subscription.status) {
    case "active":
    case "trialing":
    case "past_due":
    case "unknown":
      return true;
    case "canceled": {
      const endMs = subscription.currentPeriodEndMs;
      return endMs !== null && nowMs < endMs + rule.subscriptionGraceDays * DAY_MS;
    }
    case "none":
      return false;
  }
}
