/** Keeps work alive that a request leaves behind, as the runtime's `ctx.waitUntil` does. */
export type WaitUntil = (work: Promise<unknown>) => void;
