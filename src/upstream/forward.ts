/**
 * One call to the origin, up to its response head, and to the first bytes of its body where it has announced how many
 * there are. Everything that goes wrong before them becomes a Denial here; what goes wrong after them is the answer's
 * affair (`answer/relayed-response.ts`).
 */
import { type DenialReason, deny, pass, type Result } from "../denial.ts";
import { TimeoutError } from "../timeout.ts";
import type { RelayEnd } from "./relay.ts";
import { isChunkedAtMost, lengthOf, type RequestBody } from "./request-body.ts";
import { Stopwatch } from "./stopwatch.ts";

export interface OriginCall {
  readonly url: string;
  readonly method: string;
  readonly headers: Headers;
  readonly body: RequestBody | null;
  /** How long (ms) the origin may keep the gateway waiting for its head and then for its body, and the client within its. */
  readonly timeoutMs: number;
  /** The time limit is for both together: a rate window rests on it. */
  readonly strict: boolean;
  readonly maxBodyBytes: number;
}

export interface OriginAnswer {
  /** Its body is to be had from `body`. */
  readonly response: Response;
  readonly body: AnswerBody | null;
  /** Bytes of the request's body that went to the origin, as far as they have. */
  readonly bytesIn: () => number;
}

/** Postiz's refusals of a credential are shorter. */
export const MAX_REFUSAL_BYTES = 256;
/** What one read may bring of an answer; what is longer is streamed. */
const MAX_HEAD_BYTES = 16_384;

interface AnswerBody {
  readonly stream: ReadableStream<Uint8Array>;
  /** Bytes by `Content-Length`; null when chunked. */
  readonly length: number | null;
  /** The first bytes, read already; most answers have no others. Null when chunked: there is no telling when they come. */
  readonly head: Uint8Array | null;
}

export type FetchOrigin = (url: string, init: RequestInit) => Promise<Response>;

export async function forward(call: OriginCall, fetchOrigin: FetchOrigin): Promise<Result<OriginAnswer>> {
  // A signal costs a tenth of a forward. Without one the runtime ends a call that nobody waits for with its request.
  const abort = call.body === null ? null : new AbortController();
  const { promise: expired, reject: expire } = Promise.withResolvers<never>();
  const watch = new Stopwatch(call.timeoutMs, () => {
    abort?.abort();
    expire(new TimeoutError(call.timeoutMs));
  });
  let answering = false;
  // Once the answer has begun, what the origin still reads is not what it is waited for.
  const turn = (work: () => void) => (answering ? undefined : work());
  const upload = call.body?.relay({
    maxBytes: call.maxBodyBytes,
    sourceIdleMs: call.timeoutMs,
    ...(!call.strict && {
      sinkWatch: { start: () => turn(() => watch.start()), stop: () => turn(() => watch.stop()) },
    }),
  });
  // An upload over a slow line is not cut off: the origin's time runs while it is the origin that is waited for.
  if (upload === undefined || call.strict) watch.start();
  else upload.ended.then(() => turn(() => watch.start()));
  let bytesIn = 0;
  let cutShort: RelayEnd["outcome"] | null = null;
  upload?.ended.then(({ bytes, outcome }) => {
    bytesIn = bytes;
    // An origin that stops reading may still be answering: 413, for example.
    if (outcome === "complete" || outcome === "sink_failed" || answering) return;
    cutShort = outcome;
    // Or the origin might take what it has for the whole body.
    abort?.abort();
  });
  try {
    const fetched = fetchOrigin(call.url, {
      method: call.method,
      headers: call.headers,
      body: upload?.readable ?? null,
      // `fetch` would follow to any host and take `Authorization` along.
      redirect: "manual",
      // Whatever the zone's cache rules: an authenticated answer is never another's.
      cache: "no-store",
      // Bytes stay as the origin encoded them; the runtime would decompress them.
      encodeResponseBody: "manual",
      ...(abort && { signal: abort.signal }),
    });
    const response = await Promise.race([fetched, expired]);
    answering = true;
    const reason = unusable(response.status);
    if (reason !== null) {
      await response.body?.cancel();
      return deny(reason, `The call to the origin ended with status ${response.status}`);
    }
    if (!isChunkedAtMost(response.headers)) {
      await response.body?.cancel();
      return deny("origin_invalid", "The origin's answer has a transfer coding that is not known");
    }
    if (call.method === "HEAD") return pass({ response, body: null, bytesIn: () => bytesIn });
    const body = await Promise.race([beginBody(response, watch, call), expired]);
    return pass({ response, body, bytesIn: () => bytesIn });
  } catch (error) {
    if (watch.expired && upload?.waitsFor() === "source" && !call.body?.readToItsEnd)
      cutShort = "source_stalled";
    else if (watch.expired)
      return deny("origin_timeout", `The origin sent no answer within ${call.timeoutMs} ms`);
    return failure(error, cutShort, call);
  } finally {
    watch.retire();
  }
}

/**
 * An origin that fails right after its head would leave the client without a status, were it sent on at once. What may
 * be a refusal of the credential is waited for to its end.
 */
async function beginBody(
  { body: stream, headers, status }: Response,
  watch: Stopwatch,
  { strict }: OriginCall,
): Promise<AnswerBody | null> {
  if (stream === null) return null;
  const length = answerLength(headers);
  if (length === null || length === 0) return { stream, length, head: null };
  if (!strict) watch.start();
  const enough = status === 401 && length <= MAX_REFUSAL_BYTES ? length : 1;
  // Into a buffer of its size: the runtime would make one of its own, and copy.
  const reader = stream.getReader({ mode: "byob" });
  let head = new Uint8Array();
  while (head.byteLength < enough) {
    const room = new Uint8Array(Math.min(length - head.byteLength, MAX_HEAD_BYTES));
    const { value } = await reader.read(room);
    if (value === undefined || value.byteLength === 0)
      throw new Error(`the body ended after ${head.byteLength} of its ${length} bytes`);
    head = head.byteLength === 0 ? value : new Uint8Array([...head, ...value]);
  }
  // Of a whole body nobody wants more, and letting go makes the runtime put an error together.
  if (head.byteLength < length) reader.releaseLock();
  return { stream, length, head };
}

/** Null where it is chunked, whatever else it says (RFC 9112 §6.3). */
function answerLength(headers: Headers): number | null {
  return headers.has("Transfer-Encoding") ? null : lengthOf(headers);
}

/**
 * Statuses that are no answer of the origin's. Cloudflare makes up 520 to 530, with a page of HTML, where it could
 * not reach the origin. Nothing outside 200 to 599 can be sent on: nobody asked for 101 (RFC 9110 §15).
 */
function unusable(status: number): DenialReason | null {
  if (status === 522 || status === 524) return "origin_timeout";
  if (status >= 521 && status <= 530) return "origin_unreachable";
  return status < 200 || status === 520 || status > 599 ? "origin_invalid" : null;
}

function failure(
  error: unknown,
  cutShort: RelayEnd["outcome"] | null,
  { maxBodyBytes, timeoutMs }: OriginCall,
): Result<never> {
  if (cutShort === "source_too_large")
    return deny("body_too_large", `At most ${maxBodyBytes} bytes are allowed`);
  if (cutShort === "source_failed")
    return deny("request_malformed", "The request's body ended before it was complete");
  if (cutShort === "source_stalled")
    return deny("request_malformed", `The request's body was not complete after ${timeoutMs} ms of waiting`);
  console.error(JSON.stringify({ event: "origin_failed", error: String(error) }));
  return deny("origin_unreachable", "The origin refused or closed the connection before it answered");
}
