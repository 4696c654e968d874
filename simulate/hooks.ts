/**
 * What lets the gateway's own modules run in Node as they are: the module `cloudflare:workers`, which only the runtime has; and
 * room for fewer entries in the caches of each of thousands of isolates, which a sample of the tenants never fills.
 */
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";

const WORKERS = new URL("../test/support/cloudflare-workers.ts", import.meta.url).href;
const SMALLER = new URL("smaller-cache.ts", import.meta.url).href;

registerHooks({
  resolve(specifier, context, next) {
    if (specifier === "cloudflare:workers") return { url: WORKERS, shortCircuit: true };
    const isOwn = context.parentURL !== undefined && fileURLToPath(context.parentURL).includes("/src/");
    if (specifier === "lru-cache" && isOwn) return { url: SMALLER, shortCircuit: true };
    return next(specifier, context);
  },
});
