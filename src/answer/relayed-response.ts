/** The origin's answer on its way to the client: fields corrected, body streamed, its end reported. */
import type { Quota } from "../quota/policy.ts";
import { setRateHeaders } from "../quota/rate-headers.ts";
import type { OriginAnswer } from "../upstream/forward.ts";
import { type RelayEnd, relay } from "../upstream/relay.ts";
import { nominatedBy, PSEUDONYM } from "../upstream/request-headers.ts";
import { bearerChallenge } from "./challenge.ts";

export interface RelayedAnswer {
  readonly response: Response;
  /** How the body ended, at once where it has come whole; never rejects. */
  readonly ended: RelayEnd | Promise<RelayEnd>;
}

/** Connection-level fields (RFC 9110 §7.6.1, §11.7) that the runtime itself lets through. */
const HOP_BY_HOP = [
  "Connection",
  "Keep-Alive",
  "Proxy-Authenticate",
  "Proxy-Authentication-Info",
  "Proxy-Connection",
  "Transfer-Encoding",
  "Upgrade",
];

const CORS_FIELDS = [
  "Access-Control-Allow-Origin",
  "Access-Control-Allow-Credentials",
  "Access-Control-Expose-Headers",
];

/** What caches of one kind heed in place of `Cache-Control` (RFC 9213), the last nginx's. */
const TARGETED_CACHE_FIELDS = [
  "CDN-Cache-Control",
  "Cloudflare-CDN-Cache-Control",
  "Vercel-CDN-Cache-Control",
  "Netlify-CDN-Cache-Control",
  "Akamai-Cache-Control",
  "Surrogate-Control",
  "Edge-Control",
  "X-Accel-Expires",
];

/** Of a `Cache-Control` without quoted values: no shared cache may store the answer anyway. */
const UNSHARED = /^(?:[^"]*,)?[ \t]*(?:private|no-store)[ \t]*(?:,[^"]*)?$/i;

/**
 * As the origin sent it, less what belongs to its connection alone.
 *
 * `idleMs`: how long the origin may pause within its answer before the connection is given up; 0: as it likes.
 * Answers `request`, which says when its client is gone.
 */
export function relayAnswer(
  { response: origin, body }: Pick<OriginAnswer, "response" | "body">,
  request: Request,
  idleMs: number,
): RelayedAnswer {
  // No body on HEAD, 204 and 304 (RFC 9110 §6.4.1); their Content-Length speaks of the GET.
  if (body === null) return whole(origin, null);
  // All there already: a stream would cost half of what forwarding costs.
  if (body.head !== null && body.head.byteLength === body.length) return whole(origin, body.head);
  const { stream, length, head } = body;
  const { readable, ended } = relay(stream, length, {
    ...(head !== null && { head }),
    sourceIdleMs: idleMs,
    sinkGone: request.signal,
  });
  ended.then(({ outcome }) => (outcome === "complete" ? undefined : stream.cancel().catch(() => {})));
  return { response: endToEnd(origin, readable), ended };
}

function whole(origin: Response, body: Uint8Array | null): RelayedAnswer {
  const ended: RelayEnd = { bytes: body?.byteLength ?? 0, outcome: "complete" };
  return { response: endToEnd(origin, body), ended };
}

function endToEnd(
  { status, statusText, headers: sent }: Response,
  body: Uint8Array | ReadableStream<Uint8Array> | null,
): Response {
  const response = new Response(body, { status, statusText, headers: sent, encodeBody: "manual" });
  const { headers } = response;
  for (const name of nominatedBy(sent)) headers.delete(name);
  // The runtime frames the answer itself; of two framings the length is the wrong one (RFC 9112 §6.3).
  if (sent.has("Transfer-Encoding") || (body === null && !hasPlainLength(response)))
    headers.delete("Content-Length");
  for (const name of HOP_BY_HOP) headers.delete(name);
  return response;
}

/** Of an answer without a body: none on a 204 (RFC 9110 §8.6), else a number, or none. */
function hasPlainLength({ status, headers }: Response): boolean {
  return status !== 204 && /^\d+$/.test(headers.get("Content-Length") ?? "0");
}

/** On an answer of the public API limits, cross-origin access and whose it is are the gateway's to tell. */
export function speakForApi({ status, headers }: Response, quota: Quota): void {
  for (const name of CORS_FIELDS) headers.delete(name);
  keepPrivate(headers);
  setRateHeaders(headers, quota, status !== 429);
  // Only a refusal of the gateway's has one of its own.
  if (headers.get("Proxy-Status")?.includes(PSEUDONYM) === true) headers.delete("Proxy-Status");
  // RFC 9110 §15.5.2: a 401 must carry a challenge, which Postiz's do not. It may be about a channel.
  if (status === 401) headers.set("WWW-Authenticate", bearerChallenge(null));
}

/** A cache in front of the gateway would hand to anyone what the origin allows it to keep (RFC 9111 §3.5). */
function keepPrivate(headers: Headers): void {
  const said = headers.get("Cache-Control") ?? "";
  if (said === "") headers.set("Cache-Control", "private");
  else if (!UNSHARED.test(said)) headers.append("Cache-Control", "private");
  for (const name of TARGETED_CACHE_FIELDS) headers.delete(name);
}
