/**
 * draft-ietf-httpapi-ratelimit-headers-11, whose fields are structured fields (RFC 9651): read by `structured-headers`,
 * and written as that writes them.
 */
import { parseList, serializeList } from "structured-headers";
import { describe, expect, it } from "vitest";
import { denialResponse } from "../../src/answer/denial-response.ts";
import { POLICIES, type PolicyName, type Quota } from "../../src/quota/policy.ts";
import { setRateHeaders } from "../../src/quota/rate-headers.ts";
import { context } from "../support/refusals.ts";

/** RFC 9651 §3.3.1. */
const MAX_INTEGER = 999_999_999_999_999;

const quotaOf = (name: PolicyName, limit: number, remaining: number, resetSeconds: number): Quota => ({
  policy: { name, limit, windowSeconds: POLICIES[name].windowSeconds },
  remaining,
  resetSeconds,
});

function fieldsOf(quota: Quota, allowed = true): { policy: string; state: string; headers: Headers } {
  const headers = new Headers();
  setRateHeaders(headers, quota, allowed);
  return { policy: headers.get("RateLimit-Policy") ?? "", state: headers.get("RateLimit") ?? "", headers };
}

const CASES: readonly [string, Quota][] = [
  ["at the beginning of a window", quotaOf("posts", 30, 29, 3_600)],
  ["with one left", quotaOf("api", 600, 1, 60)],
  ["with none left", quotaOf("api", 600, 0, 1)],
  ["with nothing to wait for", quotaOf("api", 600, 600, 0)],
  ["with a limit of 0", quotaOf("posts", 0, 0, 3_600)],
  ["with the largest integer there is", quotaOf("api", MAX_INTEGER, MAX_INTEGER, MAX_INTEGER)],
];

describe("draft-ietf-httpapi-ratelimit-headers", () => {
  it.each(CASES)("§3 RateLimit-Policy %s: one policy, a string, with its quota and window", (_, quota) => {
    const { name, limit, windowSeconds } = quota.policy;
    const parameters = new Map([
      ["q", limit],
      ["w", windowSeconds],
    ]);
    expect(parseList(fieldsOf(quota).policy)).toEqual([[name, parameters]]);
  });

  it.each(CASES)("§4 RateLimit %s: the same policy, with what remains and how long to wait", (_, quota) => {
    const parameters = new Map([
      ["r", quota.remaining],
      ["t", quota.resetSeconds],
    ]);
    expect(parseList(fieldsOf(quota).state)).toEqual([[quota.policy.name, parameters]]);
  });

  it.each(CASES)("RFC 9651 §4.1 %s: both are written canonically", (_, quota) => {
    const { policy, state } = fieldsOf(quota);
    expect(serializeList(parseList(policy))).toBe(policy);
    expect(serializeList(parseList(state))).toBe(state);
  });

  it("§4 a refusal says the time to wait, and Retry-After (RFC 9110 §10.2.3) the same", () => {
    const quota = quotaOf("posts", 30, 0, 17);
    const denial = { reason: "rate_limited", detail: "", quota, retryAfterSeconds: 17 } as const;
    const { headers } = denialResponse(denial, context);
    expect(parseList(headers.get("RateLimit") ?? "")[0]?.[1].get("t")).toBe(17);
    expect(headers.get("Retry-After")).toBe("17");
  });

  it("§6 what an origin says of its own is replaced, and never stands beside it", () => {
    const headers = new Headers({ RateLimit: '"origin";r=1', "RateLimit-Policy": '"origin";q=1' });
    setRateHeaders(headers, quotaOf("api", 600, 599, 60), true);
    for (const name of ["RateLimit", "RateLimit-Policy"])
      expect(parseList(headers.get(name) ?? "")).toHaveLength(1);
  });
});
