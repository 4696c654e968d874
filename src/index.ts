import { WorkerEntrypoint } from "cloudflare:workers";
import { handle } from "./edge.ts";
import type { Env } from "./env.ts";
import { isolateOf } from "./isolate.ts";

export { Directory } from "./authority/directory.ts";
export { TenantAuthority } from "./authority/tenant-authority.ts";

export default { fetch: handle } satisfies ExportedHandler<Env>;

/** For who is about to end the process, on plain workerd: nobody else can reach it. */
export class Telemetry extends WorkerEntrypoint<Env> {
  /** Resolves, when the events there are have been stored, to how many requests have not ended yet. */
  settle(): Promise<number> {
    return isolateOf(this.env).events.settle();
  }
}
