/** Principal → Entitlement: what the subscription and the key allow. The authority has decided; time may have passed since. */
import { deny, pass, type Result } from "../denial.ts";
import type { Principal } from "../principal/principal.ts";
import type { Scope } from "./scopes.ts";
import { isEntitled, type SubscriptionRule } from "./subscription.ts";

export interface Entitlement {
  readonly principal: Principal;
}

/** `scope`: what the operation takes. */
export function entitle(
  principal: Principal,
  scope: Scope,
  rule: SubscriptionRule,
  nowMs: number,
): Result<Entitlement> {
  const { verdict, subscription } = principal.grant;
  if (verdict === "scope_insufficient") {
    return deny(verdict, `The operation takes the scope "${scope}", which the key does not have`, { scope });
  }
  if (verdict === "network_not_allowed") {
    return deny(verdict, "The key may not be used from the address that the request came from");
  }
  if (verdict !== "subscription_inactive" && isEntitled(subscription, rule, nowMs))
    return pass({ principal });
  return deny("subscription_inactive", `The organization's subscription is "${subscription.status}"`);
}
