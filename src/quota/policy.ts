/**
 * Rate policies as data: a named limit over a window and a partition. Counting is the tenant's authority's;
 * `flood`, which is no counter, has a file of its own.
 */
import type { Config } from "../config.ts";

/** `posts`: `POST /public/v1/posts`, a tenant. `api`: everything else, a key. */
export type PolicyName = "posts" | "api";

export interface Policy {
  readonly name: PolicyName;
  /** Requests admitted in any interval of the window's length. */
  readonly limit: number;
  readonly windowSeconds: number;
}

/** Limits that an operator set for a tenant or a key in place of the defaults. */
export interface LimitOverrides {
  readonly postsPerHour?: number;
  readonly apiPerMinute?: number;
}

/** The state of the policy that applied to a request. */
export interface Quota {
  readonly policy: Policy;
  readonly remaining: number;
  /** Seconds until the next token comes back. */
  readonly resetSeconds: number;
}

const API_PER_MINUTE = 600;

/** Defaults, then the tenant's overrides, then the key's. */
export function policyFor(
  name: PolicyName,
  config: Pick<Config, "postsPerHour">,
  tenant: LimitOverrides,
  key: LimitOverrides,
): Policy {
  if (name === "posts") {
    const limit = key.postsPerHour ?? tenant.postsPerHour ?? config.postsPerHour;
    return { name, limit, windowSeconds: 3_600 };
  }
  return { name, limit: key.apiPerMinute ?? tenant.apiPerMinute ?? API_PER_MINUTE, windowSeconds: 60 };
}
