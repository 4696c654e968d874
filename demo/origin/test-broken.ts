/** An origin that is slow, silent, or breaks off. */
import { json } from "./answers.ts";
import type { Handler } from "./routing.ts";

const PROMISED_BYTES = 1000;
const FIRST_CHUNK = new TextEncoder().encode("the first chunk\n");
/**
 * Longer than anyone waits; the longest deadline for Postiz is ten minutes. A pending timer keeps the runtime
 * from calling the Worker hung, which would be a 500. It runs on when the client has left, and SIGTERM lets
 * it: whoever stops this server has to follow up with SIGKILL.
 */
const FOREVER_MS = 900_000;
/** Long enough for head and first chunk to be on the wire before the connection goes. */
const FLUSH_MS = 100;

export const broken: Readonly<Record<string, Handler>> = {
  slow: async ({ query }) => {
    const ms = Number(query.get("ms") ?? 1000);
    await scheduler.wait(ms);
    return json(200, { waitedMs: ms });
  },

  hang: async () => {
    await scheduler.wait(FOREVER_MS);
    return json(504, { message: "forever is over" });
  },

  "hang-mid": () => cutShort(FOREVER_MS),
  "close-mid": () => cutShort(FLUSH_MS),
};

/** Promises 1,000 bytes, sends the first few, and breaks the connection off when the time is over. */
function cutShort(afterMs: number): Response {
  let started = false;
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      if (!started) {
        started = true;
        controller.enqueue(FIRST_CHUNK);
        return;
      }
      await scheduler.wait(afterMs);
      controller.error(new Error("closed in the middle, as asked for"));
    },
  });
  return new Response(body.pipeThrough(new FixedLengthStream(PROMISED_BYTES)), {
    headers: { "Content-Type": "text/plain" },
  });
}
