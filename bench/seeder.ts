/** Puts the tenant of the benchmark in place, with as many keys as are asked for: `POST /?keys=N`. */
import { authorityOf } from "../src/authority/find-authority.ts";
import { digestOf } from "../src/credential/credential.ts";
import type { Env } from "../src/env.ts";
import { keyOf, TENANT, TOKEN } from "./keys.ts";

/** Far above what a machine can do: it is the gateway that is measured, not its limits. */
const LIMITS = { apiPerMinute: 1_000_000_000 };
const TOGETHER = 50;

export default {
  async fetch(request, env) {
    const count = Number(new URL(request.url).searchParams.get("keys"));
    const authority = authorityOf(env, TENANT);
    const subscription = { status: "active", currentPeriodEndMs: null } as const;
    await authority.putTenant({ id: TENANT, name: TENANT, subscription, limits: LIMITS });
    await authority.putKey({ digest: digestOf(TOKEN), keyId: "token", kind: "oauth_token" });
    for (let i = 0; i < count; i += TOGETHER) {
      const some = Array.from({ length: Math.min(TOGETHER, count - i) }, (_, j) => i + j);
      await Promise.all(
        some.map((each) => authority.putKey({ digest: digestOf(keyOf(each)), keyId: `k${each}` })),
      );
    }
    const last = digestOf(keyOf(count - 1));
    while ((await env.CREDENTIALS.get(last)) === null) await scheduler.wait(100);
    return new Response(null, { status: 204 });
  },
} satisfies ExportedHandler<Pick<Env, "TENANT_AUTHORITY" | "CREDENTIALS">>;
