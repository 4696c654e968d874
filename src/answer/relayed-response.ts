/** The origin's answer on its way to the client: fields corrected, body streamed, its end reported. */
import type { Quota } from "../quota/policy.ts";
import { setRateHeaders } from "../quota/rate-headers.ts";
import { type RelayEnd, relay } from "../upstream/relay.ts";
import { lengthOf } from "../upstream/request-body.ts";
import { nominatedBy } from "../upstream/request-headers.ts";
import { bearerChallenge } from "./challenge.ts";

export interface RelayedAnswer {
  readonly response: Response;
  /** How the body ended; never rejects. */
  readonly ended: Promise<RelayEnd>;
}

/** Connection-level fields (RFC 9110 §7.6.1) that the runtime itself lets through. */
const HOP_BY_HOP = ["Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Connection", "Upgrade"];

const CORS_FIELDS = [
  "Access-Control-Allow-Origin",
  "Access-Control-Allow-Credentials",
  "Access-Control-Expose-Headers",
];

/**
 * `idleMs`: how long the origin may pause within its answer before the connection is given up; 0: as it likes.
 * Answers `request`, which says when its client is gone.
 */
export function relayAnswer(
  origin: Response,
  headers: Headers,
  request: Request,
  idleMs: number,
): RelayedAnswer {
  const init = { status: origin.status, statusText: origin.statusText, headers };
  // No body on HEAD, 204 and 304 (RFC 9110 §6.4.1); their Content-Length speaks of the GET.
  if (origin.body === null || request.method === "HEAD") {
    return { response: new Response(null, init), ended: Promise.resolve({ bytes: 0, outcome: "complete" }) };
  }
  const { body } = origin;
  const { readable, ended } = relay(body, lengthOf(origin.headers), {
    sourceIdleMs: idleMs,
    sinkGone: request.signal,
  });
  ended.then(({ outcome }) => (outcome === "complete" ? undefined : body.cancel().catch(() => {})));
  return { response: new Response(readable, { ...init, encodeBody: "manual" }), ended };
}

/** As the origin sent them, less what belongs to its connection alone. */
export function endToEndHeaders(origin: Response): Headers {
  const headers = new Headers(origin.headers);
  for (const name of nominatedBy(origin.headers)) headers.delete(name);
  for (const name of HOP_BY_HOP) headers.delete(name);
  return headers;
}

/** Of an answer of the public API: limits and cross-origin access are the gateway's to tell. */
export function apiHeaders(origin: Response, quota: Quota): Headers {
  const headers = endToEndHeaders(origin);
  for (const name of CORS_FIELDS) headers.delete(name);
  setRateHeaders(headers, quota, origin.status !== 429);
  // RFC 9110 §15.5.2: a 401 must carry a challenge, which Postiz's do not. It may be about a channel.
  if (origin.status === 401) headers.set("WWW-Authenticate", bearerChallenge(null));
  return headers;
}
