/** Principal → Entitlement: what the subscription allows. The authority has decided; time may have passed since. */
import { deny, pass, type Result } from "../denial.ts";
import type { Principal } from "../principal/principal.ts";
import { isEntitled, type SubscriptionRule } from "./subscription.ts";

export interface Entitlement {
  readonly principal: Principal;
}

export function entitle(principal: Principal, rule: SubscriptionRule, nowMs: number): Result<Entitlement> {
  const { verdict, subscription } = principal.grant;
  if (verdict !== "subscription_inactive" && isEntitled(subscription, rule, nowMs))
    return pass({ principal });
  return deny("subscription_inactive", `The organization's subscription is "${subscription.status}"`);
}
