/**
 * Seeds the demo tenants from inside the runtime, where the authority can be called. Served on a socket in the
 * file system before the gateway opens its port, and not at all after that; never in the gateway's bundle.
 */
import type { Env } from "../src/env.ts";
import { seedDemo } from "./seed.ts";

export default {
  async fetch(request, env) {
    if (request.method !== "POST") return new Response(null, { status: 405, headers: { Allow: "POST" } });
    try {
      await seedDemo(env);
      return new Response(null, { status: 204 });
    } catch (error) {
      return new Response(String(error), { status: 500 });
    }
  },
} satisfies ExportedHandler<Pick<Env, "TENANT_AUTHORITY" | "CREDENTIALS">>;
