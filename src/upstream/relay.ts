/**
 * A body on its way through the gateway: chunk by chunk, never held. Runs in either direction; tells how it
 * ended, because an answer's event is written only then.
 */
import { Stopwatch } from "./stopwatch.ts";

const MAX_CHUNK_BYTES = 65_536;

export interface RelayEnd {
  readonly bytes: number;
  /** Both sides finished properly, or one of them ended it early. */
  readonly outcome: "complete" | "source_failed" | "source_stalled" | "source_too_large" | "sink_failed";
}

export interface Relay {
  readonly readable: ReadableStream<Uint8Array>;
  /** Whose turn it is. */
  readonly waitsFor: () => "source" | "sink";
  /** Never rejects. The source is then unlocked, and where it has more to give still open. */
  readonly ended: Promise<RelayEnd>;
}

export interface RelayLimits {
  /** What has been read from the source already. */
  readonly head?: Uint8Array;
  /** How long (ms) the source may pause; 0 for as long as it likes. */
  readonly sourceIdleMs?: number;
  /** Most bytes that may pass; 0 for no limit. */
  readonly maxBytes?: number;
  /** Runs while the sink takes its time, and only then. */
  readonly sinkWatch?: Pick<Stopwatch, "start" | "stop">;
  /** Aborts when whoever reads from the sink is gone, which a relay that waits for either side would not notice otherwise. */
  readonly sinkGone?: AbortSignal;
  /** Is waited for between the last byte and the end. */
  readonly beforeEnd?: () => Promise<void>;
}

/** `length` is the announced size, so that the framing of the message stays what it was; null where unknown. */
export function relay(source: ReadableStream<Uint8Array>, length: number | null, limits: RelayLimits): Relay {
  const { readable, writable } =
    length === null ? new IdentityTransformStream() : new FixedLengthStream(length);
  const chunkBytes = Math.max(1, Math.min(length ?? MAX_CHUNK_BYTES, MAX_CHUNK_BYTES));
  let turn: ReturnType<Relay["waitsFor"]> = "source";
  const ended = pump(source, writable, chunkBytes, limits, (next) => {
    turn = next;
  });
  return { readable, waitsFor: () => turn, ended };
}

/** One buffer goes back and forth between the two sides: a large body costs no more memory than a small one. */
async function pump(
  source: ReadableStream<Uint8Array>,
  sink: WritableStream<Uint8Array>,
  chunkBytes: number,
  { head, sourceIdleMs = 0, maxBytes = 0, sinkWatch, sinkGone, beforeEnd }: RelayLimits,
  onTurn: (turn: "source" | "sink") => void,
): Promise<RelayEnd> {
  const reader = source.getReader({ mode: "byob" });
  const writer = sink.getWriter();
  const cancel = () => void reader.cancel().catch(() => {});
  const gone = new Promise<boolean>((resolve) => {
    sinkGone?.addEventListener("abort", () => resolve(false), { once: true });
  });
  const sourceWatch = sourceIdleMs > 0 ? new Stopwatch(sourceIdleMs, cancel) : null;
  sinkGone?.addEventListener("abort", cancel);
  let buffer = new Uint8Array(chunkBytes);
  let bytes = 0;
  const end = async (outcome: RelayEnd["outcome"]): Promise<RelayEnd> => {
    sinkGone?.removeEventListener("abort", cancel);
    sourceWatch?.retire();
    // Not waited for: how it ended must be known before whoever reads from the sink notices.
    if (outcome !== "complete") writer.abort(new Error(outcome)).catch(() => {});
    reader.releaseLock();
    return { bytes, outcome };
  };
  const give = async (work: Promise<void>): Promise<boolean> => {
    onTurn("sink");
    sinkWatch?.start();
    const taken = work.then(
      () => true,
      () => false,
    );
    // Nobody may ever read what was written, and then it is never taken, nor refused.
    const isTaken = await (sinkGone === undefined ? taken : Promise.race([taken, gone]));
    sinkWatch?.stop();
    return isTaken;
  };
  if (sinkGone?.aborted) return end("sink_failed");
  if (head !== undefined) {
    bytes += head.byteLength;
    if (!(await give(writer.write(head)))) return end("sink_failed");
  }
  for (;;) {
    onTurn("source");
    sourceWatch?.start();
    const chunk = await reader.read(buffer).catch(() => null);
    sourceWatch?.stop();
    // Cancelling ends a pending read as if the source had finished.
    if (sinkGone?.aborted) return end("sink_failed");
    if (sourceWatch?.expired) return end("source_stalled");
    if (chunk === null) return end("source_failed");
    bytes += chunk.value?.byteLength ?? 0;
    if (maxBytes > 0 && bytes > maxBytes) return end("source_too_large");
    if (chunk.done) await beforeEnd?.();
    const taken = await give(chunk.done ? writer.close() : writer.write(chunk.value));
    if (!taken) return end("sink_failed");
    if (chunk.done) return end("complete");
    buffer = new Uint8Array(chunk.value.buffer);
  }
}
