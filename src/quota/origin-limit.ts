/** The origin's own limiter on `posts`: what its answer says about it. */
import type { Settlement } from "../authority/protocol.ts";
import type { Quota } from "./policy.ts";

const MAX_BLOCK_SECONDS = 86_400;

/** What the authority is told: the token has been used, and whether the origin's own limiter refused it. */
export function settlementOf(nonce: string, response: Response): Settlement {
  const seconds = originRetryAfterSeconds(response);
  return seconds === null ? { nonce } : { nonce, originRetryAfterSeconds: seconds };
}

/** A 429 of the origin overrides what the gateway had counted. */
export function quotaAfter(response: Response, quota: Quota): Quota {
  const seconds = originRetryAfterSeconds(response);
  return seconds === null ? quota : { ...quota, remaining: 0, resetSeconds: seconds };
}

/** Postiz blocks for a full hour and says so in `Retry-After`; a date, which it never sends, is not understood. */
function originRetryAfterSeconds({ status, headers }: Response): number | null {
  const retryAfter = headers.get("Retry-After");
  if (status !== 429 || retryAfter === null || !/^\d{1,9}$/.test(retryAfter)) return null;
  return Math.min(Number(retryAfter), MAX_BLOCK_SECONDS);
}
