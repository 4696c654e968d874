/** Stores that are broken in a chosen way, to be put behind the gateway's bindings. */
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";

/** In place of KV: `mode` chooses what a read does. Shared by the isolate, so that a test can change it. */
let kvMode = "throw";

export class FaultyKv extends WorkerEntrypoint {
  async get(_key: string): Promise<string | null> {
    if (kvMode === "throw") throw new Error("KV GET failed: 500 Internal Server Error");
    if (kvMode === "hang") return new Promise(() => {});
    if (kvMode === "miss") return null;
    return kvMode;
  }

  async put(): Promise<void> {}

  async setMode(mode: string): Promise<void> {
    kvMode = mode;
  }
}

/** In place of the authority: an object that throws, never answers, or is of an earlier version, by its mode. */
let authorityMode = "throw";

export class FaultyAuthority extends DurableObject {
  async lease(): Promise<unknown> {
    if (authorityMode === "hang") return new Promise(() => {});
    const subscription = { status: "active", currentPeriodEndMs: null };
    if (authorityMode === "old") {
      await scheduler.wait(20);
      return {
        v: 1,
        verdict: "key_revoked",
        keyId: "k",
        subscription,
        tokens: 0,
        quota: null,
        usableForMs: 0,
      };
    }
    if (authorityMode === "garbage") {
      return { v: 1, verdict: "granted", keyId: "k", subscription, tokens: 1, quota: {}, usableForMs: 1_000 };
    }
    throw new Error("the object was reset");
  }

  async settle(): Promise<void> {}

  async setMode(mode: string): Promise<void> {
    authorityMode = mode;
  }
}

interface DriverEnv {
  readonly TENANT_AUTHORITY: DurableObjectNamespace;
  readonly FAULTY_KV: Service<FaultyKv>;
}

/**
 * Calls from Node, by HTTP: `{target, method, args}`, where the target is the name of an authority object or
 * "kv". A stub that Node itself held would keep its object from being evicted.
 */
export default {
  async fetch(request, env): Promise<Response> {
    const { target, method, args } = (await request.json()) as {
      target: string;
      method: string;
      args: unknown[];
    };
    const stub: unknown = target === "kv" ? env.FAULTY_KV : env.TENANT_AUTHORITY.getByName(target);
    try {
      const call = Reflect.get(stub as object, method) as (...args: unknown[]) => Promise<unknown>;
      return Response.json({ value: (await Reflect.apply(call, stub, args)) ?? null });
    } catch (error) {
      return Response.json({ error: error instanceof Error ? error.message : String(error) });
    }
  },
} satisfies ExportedHandler<DriverEnv>;
