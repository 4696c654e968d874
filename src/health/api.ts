/** The gateway's own paths: is it up, is it ready, what does an error mean. Refusals are RFC 9457 throughout. */
import { Hono } from "hono";
import { DENIAL_SPECS, type Denial, type DenialReason } from "../denial.ts";
import type { Env } from "../env.ts";
import { type Gateway, problemText } from "../gateway.ts";
import type { Target } from "../route/canonical.ts";
import { VERSION } from "../version.ts";
import { checkReadiness } from "./readiness.ts";

interface GatewayApiEnv {
  readonly gateway: Gateway;
  readonly env: Env;
  readonly target: Target;
  /** Ends the request with a Denial, rendered where all are. */
  readonly refuse: (denial: Denial) => Response;
}

const api = new Hono<{ Bindings: GatewayApiEnv }>().basePath("/_gateway");

/** Invalid configuration and an origin that is the gateway itself: the process runs, but not as a gateway. */
api.use("/health", async (c, next) => problemOf(c.env) ?? next());
api.use("/ready", async (c, next) => problemOf(c.env) ?? next());

api.get("/health", (c) => c.json({ status: "ok", version: VERSION }, 200, { "Cache-Control": "no-store" }));

api.get("/ready", async (c) => {
  const { gateway, env } = c.env;
  if (!gateway.state.ok) throw new Error("unreachable: health comes first");
  const { ready, checks } = await checkReadiness(env, gateway.state.deps);
  return c.json({ status: ready ? "ready" : "not_ready", version: VERSION, checks }, ready ? 200 : 503, {
    "Cache-Control": "no-store",
  });
});

/** Where the `type` of a problem leads. */
api.get("/errors/:reason", (c) => {
  const reason = c.req.param("reason");
  if (!Object.hasOwn(DENIAL_SPECS, reason)) return c.env.refuse(nothingHere);
  const { status, source, message } = DENIAL_SPECS[reason as DenialReason];
  return c.json({ code: reason, status, source, message });
});

for (const path of ["/health", "/ready", "/errors/:reason"]) {
  api.all(path, (c) =>
    c.env.refuse({
      reason: "method_not_allowed",
      detail: `${c.req.method} is not possible here; GET and HEAD are`,
      allow: ["GET", "HEAD"],
    }),
  );
}

const nothingHere: Denial = { reason: "path_unknown", detail: "The gateway has no such path" };

api.notFound((c) => c.env.refuse(nothingHere));
api.onError((error) => {
  throw error;
});

function problemOf({ gateway, target, refuse }: GatewayApiEnv): Response | null {
  if (!gateway.state.ok)
    return refuse({ reason: "config_invalid", detail: problemText(gateway.state.problem) });
  if (!gateway.state.deps.isOwnHost(target)) return null;
  return refuse({ reason: "config_invalid", detail: "ORIGIN_URL is the gateway itself" });
}

export { api as gatewayApi };
