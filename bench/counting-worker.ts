/** The gateway, counting what it asks of its bindings: `GET /count` tells, and begins anew. */
import type { Env } from "../src/env.ts";
import gateway, { TenantAuthority as PlainAuthority, Directory as PlainDirectory } from "../src/index.ts";

export { Telemetry } from "../src/index.ts";

export interface Counts {
  kvReads: number;
  kvWrites: number;
  authorityCalls: number;
  points: number;
}

const NONE: Counts = { kvReads: 0, kvWrites: 0, authorityCalls: 0, points: 0 };
let counts = { ...NONE };
const counted = new WeakMap<Env, Env>();

export class TenantAuthority extends PlainAuthority {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, countingEnv(env));
  }
}

export class Directory extends PlainDirectory {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, countingEnv(env));
  }
}

export default {
  fetch(request, env, ctx) {
    if (new URL(request.url).pathname !== "/count") return gateway.fetch(request, countingEnv(env), ctx);
    const answer = Response.json(counts);
    counts = { ...NONE };
    return answer;
  },
} satisfies ExportedHandler<Env>;

function countingEnv(env: Env): Env {
  const known = counted.get(env);
  if (known !== undefined) return known;
  const { CREDENTIALS, INTROSPECTION, TENANT_AUTHORITY, EVENT_STORE } = env;
  const kv = (namespace: KVNamespace) =>
    intercept(namespace, (method) => {
      counts[method === "put" || method === "delete" ? "kvWrites" : "kvReads"]++;
    });
  const counting: Env = {
    ...env,
    CREDENTIALS: kv(CREDENTIALS),
    INTROSPECTION: kv(INTROSPECTION),
    TENANT_AUTHORITY: new Proxy(TENANT_AUTHORITY, {
      get: (namespace, name) => {
        if (name !== "getByName") return Reflect.get(namespace, name);
        return (objectName: string) =>
          intercept(namespace.getByName(objectName), () => {
            counts.authorityCalls++;
          });
      },
    }),
    ...(EVENT_STORE && {
      EVENT_STORE: intercept(EVENT_STORE, (_, [events]) => {
        counts.points += (JSON.parse(String(events)) as readonly unknown[]).length;
      }),
    }),
  };
  counted.set(env, counting);
  return counting;
}

function intercept<Target extends object>(
  target: Target,
  onCall: (method: string, args: readonly unknown[]) => void,
): Target {
  return new Proxy(target, {
    get:
      (_, name) =>
      (...args: unknown[]) => {
        onCall(String(name), args);
        // Methods of a remote object are no functions to be had and called later.
        return (target as Record<string | symbol, (...args: unknown[]) => unknown>)[name]?.(...args);
      },
  });
}
