/** Lets a test call KV through the real binding, over HTTP, with a clock that the test can move. */
import Kv from "../../local/kv.ts";

export { KvStore } from "../../local/kv.ts";

export interface KvCall {
  readonly method: "get" | "getWithMetadata" | "put" | "delete" | "list";
  readonly args: readonly unknown[];
  /** How far the store's clock is ahead. */
  readonly skewSeconds?: number;
}

let skewSeconds = 0;

export class SkewedKv extends Kv {
  protected override nowSeconds(): number {
    return super.nowSeconds() + skewSeconds;
  }
}

export default {
  async fetch(request, env) {
    const call = await request.json<KvCall>();
    skewSeconds = call.skewSeconds ?? 0;
    try {
      const method = Reflect.get(env.KV, call.method);
      const result: unknown = await Reflect.apply(method, env.KV, call.args);
      return Response.json({ result: plain(result) });
    } catch (error) {
      return Response.json({ thrown: String(error) });
    }
  },
} satisfies ExportedHandler<{ KV: KVNamespace }>;

/** The binding answers several keys with a Map. */
function plain(result: unknown): unknown {
  return result instanceof Map ? Object.fromEntries(result) : (result ?? null);
}
