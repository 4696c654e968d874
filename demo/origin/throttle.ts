/**
 * Postiz's own limit on creating posts, off unless THROTTLE_POSTS says otherwise: a window fixed by its
 * first request, and an hour's block from the first request over the limit.
 */
import { json } from "./answers.ts";
import { setBounded } from "./bounded.ts";
import type { OriginEnv } from "./routing.ts";

interface Window {
  readonly endsAt: number;
  readonly used: number;
  readonly blocked: boolean;
}

type Throttle =
  | { readonly ok: true; readonly headers: readonly (readonly [string, string])[] }
  | { readonly ok: false; readonly refusal: Response };

const HOUR_MS = 3_600_000;
const MAX_WINDOWS = 10_000;
const UNTHROTTLED: Throttle = { ok: true, headers: [] };
const windows = new Map<string, Window>();

export function throttlePosts(request: Request, env: OriginEnv, credential: string, nowMs: number): Throttle {
  // Postiz looks for the literal text, while its routing ignores case: /public/V1/posts is not throttled.
  const counts = request.method === "POST" && request.url.includes("/public/v1/posts");
  if (env.THROTTLE_POSTS === undefined || !counts) return UNTHROTTLED;

  const limit = Number(env.THROTTLE_POSTS);
  const window = count(windows.get(credential), limit, nowMs);
  setBounded(windows, credential, window, MAX_WINDOWS);
  const seconds = String(Math.ceil((window.endsAt - nowMs) / 1000));
  if (window.blocked) return { ok: false, refusal: tooManyRequests(seconds) };
  return {
    ok: true,
    headers: [
      ["X-RateLimit-Limit", String(limit)],
      ["X-RateLimit-Remaining", String(limit - window.used)],
      ["X-RateLimit-Reset", seconds],
    ],
  };
}

function count(last: Window | undefined, limit: number, nowMs: number): Window {
  const current = last && nowMs < last.endsAt ? last : { endsAt: nowMs + HOUR_MS, used: 0, blocked: false };
  if (current.blocked) return current;
  if (current.used >= limit) return { endsAt: nowMs + HOUR_MS, used: current.used, blocked: true };
  return { ...current, used: current.used + 1 };
}

function tooManyRequests(retryAfterSeconds: string): Response {
  const body = { statusCode: 429, message: "ThrottlerException: Too Many Requests" };
  return json(429, body, { "Retry-After": retryAfterSeconds });
}
