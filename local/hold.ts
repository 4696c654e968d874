/**
 * One answer that takes its time. workerd ends when no request is under way, whatever they have left to be done; with
 * this one under way, the events of the last second still reach their store.
 */
const HOLD_MS = 1_500;

export default {
  fetch() {
    const { readable, writable } = new IdentityTransformStream();
    const held = scheduler.wait(HOLD_MS).then(() => writable.close());
    held.catch(() => {});
    return new Response(readable);
  },
} satisfies ExportedHandler;
