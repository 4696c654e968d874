/** The request's body: whether it has one, how long it says it is, and its way to the origin. */
import { deny, pass, type Result } from "../denial.ts";
import { type Relay, relay } from "./relay.ts";
import type { Stopwatch } from "./stopwatch.ts";

export interface RequestBody {
  readonly stream: ReadableStream<Uint8Array>;
  /** Bytes by `Content-Length`; null when chunked. */
  readonly length: number | null;
}

/** Up to this size a body is on its way at once, and how fast the client sends it does not matter. */
const SMALL_BYTES = 65_536;

/** Null where there is no body. GET and HEAD may have none (RFC 9110 §9.3.1): `fetch` could not forward it. */
export function readBody(request: Request, maxBytes: number): Result<RequestBody | null> {
  const { headers, method } = request;
  const length = lengthOf(headers);
  if (method === "GET" || method === "HEAD") {
    const hasBody = (length !== null && length > 0) || headers.has("Transfer-Encoding");
    return hasBody ? deny("request_malformed", `A ${method} request must not have a body`) : pass(null);
  }
  if (maxBytes > 0 && length !== null && length > maxBytes) {
    return deny("body_too_large", `The body has ${length} bytes; at most ${maxBytes} are allowed`);
  }
  return pass(request.body === null ? null : { stream: request.body, length });
}

/** `Content-Length` in bytes, or null where the sender did not say. */
export function lengthOf(headers: Headers): number | null {
  const announced = headers.get("Content-Length");
  return announced !== null && /^\d{1,15}$/.test(announced) ? Number(announced) : null;
}

/**
 * Small bodies go as they are. For the others the origin's time runs only while it keeps the gateway waiting, so
 * that an upload over a slow line is not cut off; not so where the limit is a promise (`strict`).
 */
export function bodyForOrigin(
  { stream, length }: RequestBody,
  maxBytes: number,
  strict: boolean,
  originWatch: Stopwatch,
): Relay | { readonly readable: ReadableStream<Uint8Array>; readonly ended: null } {
  const large = length === null || length > SMALL_BYTES;
  const paced = large && !strict;
  if (!paced) originWatch.start();
  if (!large) return { readable: stream, ended: null };
  const relayed = relay(stream, length, { maxBytes, ...(paced && { sinkWatch: originWatch }) });
  if (paced) relayed.ended.then(() => originWatch.start());
  return relayed;
}
