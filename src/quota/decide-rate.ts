/** Entitlement → RateDecision: one token of the policy that applies, out of those the authority granted. */
import { deny, pass, type Result } from "../denial.ts";
import type { Entitlement } from "../entitlement/entitle.ts";
import type { Principal } from "../principal/principal.ts";
import type { Quota } from "./policy.ts";

export interface RateDecision {
  readonly principal: Principal;
  readonly quota: Quota;
}

export function decideRate({ principal }: Entitlement): Result<RateDecision> {
  const { quota, tokens } = principal.grant;
  if (quota !== null && tokens > 0) return pass({ principal, quota });
  if (quota === null) throw new Error("the authority granted without a quota");
  const { name, limit, windowSeconds } = quota.policy;
  return deny("rate_limited", `Policy "${name}" allows ${limit} requests in ${windowSeconds} seconds`, {
    retryAfterSeconds: quota.resetSeconds,
    quota,
  });
}
