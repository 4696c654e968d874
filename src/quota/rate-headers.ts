/** Quota → response fields. */
import { POLICIES, type Quota } from "./policy.ts";

/** Fields of an origin's own limiter, none of which may reach a client beside the gateway's. */
const RATE_FIELDS = [
  "RateLimit",
  "RateLimit-Policy",
  "X-RateLimit-Limit",
  "X-RateLimit-Remaining",
  "X-RateLimit-Reset",
];

/**
 * `RateLimit-Policy` and `RateLimit` of draft-ietf-httpapi-ratelimit-headers-11, structured fields (RFC 9651).
 * `X-RateLimit-*` only on an allowed request of policy `posts`, as Postiz has it: a known client takes those
 * for its budget over the whole API wherever it sees them.
 */
export function setRateHeaders(headers: Headers, quota: Quota | null, allowed: boolean): void {
  for (const name of RATE_FIELDS) headers.delete(name);
  if (quota === null) return;
  const { name, limit, windowSeconds } = quota.policy;
  headers.set("RateLimit-Policy", `"${name}";q=${limit};w=${windowSeconds}`);
  headers.set("RateLimit", `"${name}";r=${quota.remaining};t=${quota.resetSeconds}`);
  if (!allowed || !POLICIES[name].countedByOrigin) return;
  headers.set("X-RateLimit-Limit", String(limit));
  headers.set("X-RateLimit-Remaining", String(quota.remaining));
  headers.set("X-RateLimit-Reset", String(quota.resetSeconds));
}
