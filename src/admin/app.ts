/** The admin API, `/_gateway/v1`: for operators, and `/me` for tenants. Loaded when it is first asked for. */
import { Hono } from "hono";
import { HTTPException } from "hono/http-exception";
import { Refusal } from "../own/refusal.ts";
import { type AdminEnv, problem } from "./context.ts";
import { importing } from "./import.ts";
import { keys } from "./keys.ts";
import { operations } from "./operations.ts";
import { identifyOperator } from "./operator.ts";
import { self } from "./self.ts";
import { tenants } from "./tenants.ts";

const forOperators = new Hono<AdminEnv>()
  .use(async (c, next) => {
    const { deps, context } = c.env;
    const { admin } = deps.config;
    // Where nobody may call it, it is not there.
    if (admin === null) throw new Refusal({ reason: "path_unknown", detail: "The gateway has no such path" });
    const shield = deps.flood.check(context.clientAddress);
    if (!shield.ok) throw new Refusal(shield.denial);
    const actor = await identifyOperator(context.request.headers, admin);
    if (!actor.ok) {
      const counted = await deps.flood.countFailure(context.clientAddress);
      throw new Refusal(counted.ok ? actor.denial : counted.denial);
    }
    c.set("actor", actor.value);
    await next();
  })
  .route("/tenants", tenants)
  .route("/tenants/:tenantId/keys", keys)
  .route("/", operations)
  .route("/", importing);

const BASE = "/_gateway/v1";

export const admin = new Hono<AdminEnv>().basePath(BASE).route("/me", self).route("/", forOperators);
for (const [path, routes] of Map.groupBy(
  admin.routes.filter(({ method }) => method !== "ALL"),
  (route) => route.path,
)) {
  const methods = new Set(routes.flatMap(({ method }) => (method === "GET" ? ["GET", "HEAD"] : [method])));
  admin.all(path.slice(BASE.length), (c) => {
    const allow = [...methods];
    const detail = `${c.req.method} is not possible here; ${allow.join(", ")} are`;
    throw new Refusal({ reason: "method_not_allowed", detail, allow });
  });
}
admin.notFound(() => {
  throw new Refusal({ reason: "path_unknown", detail: "The gateway has no such path" });
});
admin.onError((error, c) => {
  // Of the router itself: a body that is no JSON, for example.
  if (error instanceof HTTPException) return problem(c, "invalid", error.message);
  throw error;
});
