/** What a tenant's authority answers, to the letter. */
import type { Grant, GrantedLease } from "../../src/authority/protocol.ts";
import type { Quota } from "../../src/quota/policy.ts";

/** As after a grant of eight. */
export const QUOTA: Quota = {
  policy: { name: "api", limit: 600, windowSeconds: 60 },
  remaining: 592,
  resetSeconds: 60,
};

/** An answer of the authority: eight tokens for half a minute, on a lease of five seconds. */
export function grantOf(more: Partial<Grant> = {}, lease: Partial<GrantedLease> = {}): Grant {
  return {
    v: 1,
    verdict: "granted",
    keyId: "k1",
    subscription: { status: "active", currentPeriodEndMs: null },
    tokens: 8,
    quota: QUOTA,
    usableForMs: 5_000,
    ...more,
    lease: {
      epoch: "a",
      forMs: 5_000,
      endsInMs: null,
      renewInMs: null,
      tokensForMs: 30_000,
      refusedForMs: 0,
      terms: { scopes: null, allowedNetworks: [], allowedHosts: [] },
      ...lease,
    },
  };
}
