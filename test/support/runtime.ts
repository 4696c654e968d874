/** What the whole gateway needs of its runtime and Node lacks, or has otherwise; `vi.unstubAllGlobals` takes it away. */
import { vi } from "vitest";

/** Copies what is written, as the runtime's own does. */
class IdentityTransform extends TransformStream<Uint8Array, Uint8Array> {
  constructor(_length?: number) {
    super({ transform: (chunk, controller) => controller.enqueue(chunk.slice()) });
  }
}

/** Node wants to be told that an answer may come before the body has gone out. */
class StreamedRequest extends Request {
  constructor(input: RequestInfo | URL, init?: RequestInit) {
    super(input, { ...init, duplex: "half" } as RequestInit);
  }
}

export function stubRuntime(): void {
  vi.stubGlobal("Request", StreamedRequest);
  vi.stubGlobal("IdentityTransformStream", IdentityTransform);
  vi.stubGlobal("FixedLengthStream", IdentityTransform);
}
