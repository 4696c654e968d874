/**
 * Rate policies as data: a named limit over a window and a partition. Counting is the tenant's authority's;
 * `flood`, which is no counter, has a file of its own.
 */

/** `posts`: `POST /public/v1/posts`. `api`: everything else. */
export const POLICY_NAMES = ["posts", "api"] as const;
export type PolicyName = (typeof POLICY_NAMES)[number];

/** A policy in shadow refuses nothing: what it would have refused passes, and is noted. */
export type Shadowable = PolicyName | "flood";

interface PolicySpec {
  readonly windowSeconds: number;
  /** What shares the limit. */
  readonly per: "tenant" | "key";
  /**
   * The origin counts these requests too, and its clients read `X-RateLimit-*` for them: a token is used when the
   * origin has answered, not when the gateway has admitted.
   */
  readonly countedByOrigin: boolean;
}

export const POLICIES: Readonly<Record<PolicyName, PolicySpec>> = {
  posts: { windowSeconds: 3_600, per: "tenant", countedByOrigin: true },
  api: { windowSeconds: 60, per: "key", countedByOrigin: false },
};

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
  defaults: { readonly postsPerHour: number },
  tenant: LimitOverrides,
  key: LimitOverrides,
): Policy {
  const { windowSeconds } = POLICIES[name];
  const limits: Readonly<Record<PolicyName, number>> = {
    posts: key.postsPerHour ?? tenant.postsPerHour ?? defaults.postsPerHour,
    api: key.apiPerMinute ?? tenant.apiPerMinute ?? API_PER_MINUTE,
  };
  return { name, limit: limits[name], windowSeconds };
}
