/** The request's body: whether it has one, its way to the origin, and what becomes of a rest that nobody wants. */
import { deny, pass, type Result } from "../denial.ts";
import { within } from "../timeout.ts";
import { type Relay, type RelayLimits, relay } from "./relay.ts";
import { Stopwatch } from "./stopwatch.ts";

/** How long a rest is read and thrown away, and how long it may pause: as nginx's `lingering_*` have it. */
const LINGER_MS = 30_000;
const LINGER_IDLE_MS = 5_000;

export class RequestBody {
  readonly stream: ReadableStream<Uint8Array>;
  /** Bytes by `Content-Length`; null when chunked. */
  readonly length: number | null;
  /** Settles when the relay to the origin, if there is one, needs the stream no more. */
  #relayed: Promise<unknown> = Promise.resolve();
  #readToItsEnd = false;

  constructor(stream: ReadableStream<Uint8Array>, length: number | null) {
    this.stream = stream;
    this.length = length;
  }

  get readToItsEnd(): boolean {
    return this.#readToItsEnd;
  }

  /** The body on its way; can be had once. */
  relay(limits: RelayLimits): Relay {
    const relayed = relay(this.stream, this.length, limits);
    this.#relayed = relayed.ended.then(({ outcome }) => {
      this.#readToItsEnd = outcome === "complete";
    });
    return relayed;
  }

  /** Reads what is left, for a while, and throws it away. Never rejects. */
  async discardRest(): Promise<void> {
    const work = this.#relayed.then(() => (this.#readToItsEnd ? undefined : discard(this.stream)));
    await within(LINGER_MS, work).catch(() => {});
  }
}

async function discard(stream: ReadableStream<Uint8Array>): Promise<void> {
  const reader = stream.getReader();
  const watch = new Stopwatch(LINGER_IDLE_MS, () => void reader.cancel().catch(() => {}));
  for (let done = false; !done; ) {
    watch.start();
    done = (await reader.read()).done;
    watch.stop();
  }
}

/** Null where there is no body. */
export function bodyOf({ body, headers }: Request): RequestBody | null {
  return body === null ? null : new RequestBody(body, lengthOf(headers));
}

/** The body to pass on, null where there is none. GET and HEAD may have none (RFC 9110 §9.3.1). */
export function readBody(
  { request: { method, headers }, body }: { readonly request: Request; readonly body: RequestBody | null },
  maxBytes: number,
): Result<RequestBody | null> {
  const length = lengthOf(headers);
  if (method === "GET" || method === "HEAD") {
    const hasBody = (length !== null && length > 0) || headers.has("Transfer-Encoding");
    return hasBody ? deny("request_malformed", `A ${method} request must not have a body`) : pass(null);
  }
  if (!isChunkedAtMost(headers)) {
    return deny("request_malformed", "A body may be chunked; no other transfer coding is known here");
  }
  if (maxBytes > 0 && length !== null && length > maxBytes) {
    return deny("body_too_large", `The body has ${length} bytes; at most ${maxBytes} are allowed`);
  }
  return pass(body);
}

/** `Content-Length` in bytes, or null where the sender did not say. */
export function lengthOf(headers: Headers): number | null {
  const announced = headers.get("Content-Length");
  return announced !== null && /^\d{1,15}$/.test(announced) ? Number(announced) : null;
}

/** The runtime takes chunks apart and leaves any other coding in (RFC 9112 §6.1). */
export function isChunkedAtMost(headers: Headers): boolean {
  const coding = headers.get("Transfer-Encoding");
  return coding === null || coding.toLowerCase() === "chunked";
}
