/** The origin's answer on its way to the client: fields corrected, body streamed, its end reported. */
import type { Quota } from "../quota/policy.ts";
import { setRateHeaders } from "../quota/rate-headers.ts";
import type { OriginAnswer } from "../upstream/forward.ts";
import { type RelayEnd, relay } from "../upstream/relay.ts";
import { nominatedBy } from "../upstream/request-headers.ts";
import { bearerChallenge } from "./challenge.ts";

export interface RelayedAnswer {
  readonly response: Response;
  /** How the body ended, at once where it has come whole; never rejects. */
  readonly ended: RelayEnd | Promise<RelayEnd>;
}

/** Connection-level fields (RFC 9110 §7.6.1) that the runtime itself lets through. */
const HOP_BY_HOP = [
  "Connection",
  "Keep-Alive",
  "Proxy-Authenticate",
  "Proxy-Connection",
  "Transfer-Encoding",
  "Upgrade",
];

const CORS_FIELDS = [
  "Access-Control-Allow-Origin",
  "Access-Control-Allow-Credentials",
  "Access-Control-Expose-Headers",
];

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
  if (sent.has("Transfer-Encoding")) headers.delete("Content-Length");
  for (const name of HOP_BY_HOP) headers.delete(name);
  return response;
}

/** On an answer of the public API limits and cross-origin access are the gateway's to tell. */
export function speakForApi({ status, headers }: Response, quota: Quota): void {
  for (const name of CORS_FIELDS) headers.delete(name);
  setRateHeaders(headers, quota, status !== 429);
  // RFC 9110 §15.5.2: a 401 must carry a challenge, which Postiz's do not. It may be about a channel.
  if (status === 401) headers.set("WWW-Authenticate", bearerChallenge(null));
}
