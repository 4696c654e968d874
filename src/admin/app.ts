/** The admin API, `/_gateway/v1`: for operators, and `/me` for tenants. Loaded when it is first asked for. */
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { HTTPException } from "hono/http-exception";
import { MAX_BODY_BYTES } from "../own/limits.ts";
import { Refusal } from "../own/refusal.ts";
import { type AdminEnv, problem, refuseOtherMethods } from "./context.ts";
import { importing } from "./import.ts";
import { keys } from "./keys.ts";
import { operations } from "./operations.ts";
import { holdsToken, identifyOperator } from "./operator.ts";
import { self } from "./self.ts";
import { tenants } from "./tenants.ts";

const BASE = "/_gateway/v1";

const forOperators = new Hono<AdminEnv>()
  .use(async (c, next) => {
    const { deps, context } = c.env;
    const { admin } = deps.config;
    // Where nobody may call it, it is not there.
    if (admin === null) throw new Refusal({ reason: "path_unknown", detail: "The gateway has no such path" });
    const { headers } = context.request;
    // The failures of others at the same address are not the token's.
    const shield = deps.flood.check(context.clientAddress);
    if (!shield.ok && !holdsToken(headers, admin.token)) throw new Refusal(shield.denial);
    const actor = await identifyOperator(headers, admin);
    if (!actor.ok && actor.denial.reason === "introspection_unavailable") throw new Refusal(actor.denial);
    if (!actor.ok) {
      const counted = await deps.flood.countFailure(context.clientAddress);
      throw new Refusal(counted.ok ? actor.denial : counted.denial);
    }
    c.set("actor", actor.value);
    await next();
  })
  // Also of a body that does not say how long it is.
  .use(
    bodyLimit({
      maxSize: MAX_BODY_BYTES,
      onError: () => {
        const detail = `At most ${MAX_BODY_BYTES} bytes are allowed`;
        throw new Refusal({ reason: "body_too_large", detail });
      },
    }),
  )
  .use(async (c, next) => {
    const text = c.req.method === "GET" || c.req.method === "HEAD" ? "" : await c.req.text();
    const isJson = /^application\/json\b/i.test(c.req.header("Content-Type") ?? "");
    // A body that nobody reads would be a wish that nobody hears.
    if (text.trim() !== "" && !isJson && !c.req.path.endsWith("/import")) {
      return problem(c, "unsupported_media_type", "Send the body as application/json");
    }
    // No body is no wishes, whatever type it says it is.
    if (text.trim() === "") c.req.raw.headers.delete("Content-Type");
    return next();
  })
  .route("/tenants", tenants)
  .route("/tenants/:tenantId/keys", keys)
  .route("/", operations)
  .route("/", importing);
refuseOtherMethods(self);
refuseOtherMethods(forOperators);

export const admin = new Hono<AdminEnv>().basePath(BASE).route("/me", self).route("/", forOperators);
admin.notFound(() => {
  throw new Refusal({ reason: "path_unknown", detail: "The gateway has no such path" });
});
admin.onError((error, c) => {
  // Of the router itself: a body that is no JSON, for example.
  if (error instanceof HTTPException)
    return problem(c, error.status === 404 ? "not_found" : "invalid", error.message);
  throw error;
});
