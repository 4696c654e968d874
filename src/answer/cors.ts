/** Cross-origin access for browsers, only for the origins that the operator listed. Never `*`, never credentials. */

const EXPOSED = [
  "RateLimit",
  "RateLimit-Policy",
  "X-RateLimit-Limit",
  "X-RateLimit-Remaining",
  "X-RateLimit-Reset",
  "Retry-After",
  "X-Request-Id",
  "WWW-Authenticate",
].join(", ");
const METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE";
const PREFLIGHT_SECONDS = "600";
/** As a whole element: `X-Origin` is another field. */
const NAMES_ORIGIN = /(?:^|,)[ \t]*origin[ \t]*(?:,|$)/i;

/** Adds to an answer what lets a script of an allowed origin, and of no other, read it. */
export function allowOrigin(headers: Headers, request: Headers, allowed: ReadonlySet<string>): void {
  if (allowed.size === 0) return;
  if (!NAMES_ORIGIN.test(headers.get("Vary") ?? "")) headers.append("Vary", "Origin");
  const origin = request.get("Origin");
  if (origin === null || !allowed.has(origin)) return;
  headers.set("Access-Control-Allow-Origin", origin);
  headers.set("Access-Control-Expose-Headers", EXPOSED);
}

/** OPTIONS is answered at the edge, without a credential: browsers send none with a preflight. */
export function preflightResponse(request: Headers, allowed: ReadonlySet<string>): Response {
  const headers = new Headers();
  allowOrigin(headers, request, allowed);
  if (headers.has("Access-Control-Allow-Origin")) {
    headers.set("Access-Control-Allow-Methods", METHODS);
    headers.set(
      "Access-Control-Allow-Headers",
      request.get("Access-Control-Request-Headers") ?? "Authorization",
    );
    headers.set("Access-Control-Max-Age", PREFLIGHT_SECONDS);
    headers.append("Vary", "Access-Control-Request-Headers");
  }
  return new Response(null, { status: 204, headers });
}
