/**
 * One answer that takes its time. workerd ends when no request is under way, whatever they have left to be done: with this
 * one under way, every event still reaches its store. It begins at once; when the request's body has ended, which is the sign
 * that nothing new will come, it waits for what is under way, and ends.
 */
import type { Telemetry } from "../src/index.ts";

interface HoldEnv {
  readonly TELEMETRY: Service<typeof Telemetry>;
}

const POLL_MS = 20;

export default {
  fetch({ body }, { TELEMETRY }) {
    const { readable, writable } = new IdentityTransformStream();
    const held = untilSettled(body, TELEMETRY).finally(() => writable.close());
    held.catch(() => {});
    return new Response(readable);
  },
} satisfies ExportedHandler<HoldEnv>;

async function untilSettled(body: ReadableStream | null, telemetry: HoldEnv["TELEMETRY"]): Promise<void> {
  await body?.pipeTo(new WritableStream());
  while ((await telemetry.settle()) > 0) await scheduler.wait(POLL_MS);
}
