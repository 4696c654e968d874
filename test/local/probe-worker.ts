/** Shows a test what arrives through the bindings. */
import type { RateLimiter } from "../../src/env.ts";

interface ProbeEnv {
  readonly LIMITER?: RateLimiter;
  readonly [name: string]: unknown;
}

export default {
  async fetch(request, { LIMITER, ...values }) {
    const key = new URL(request.url).searchParams.get("key");
    if (key === null || LIMITER === undefined) return Response.json(values);
    return Response.json(await LIMITER.limit({ key }));
  },
} satisfies ExportedHandler<ProbeEnv>;
