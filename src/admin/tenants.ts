/** Tenants: made, looked at, changed, deleted. */
import { Hono } from "hono";
import { authorityOf } from "../authority/find-authority.ts";
import { operatorsOf } from "../authority/find-directory.ts";
import {
  type AdminEnv,
  answer,
  auditBefore,
  auditPage,
  authorityIn,
  cursorOf,
  digestOfBody,
  failed,
  gives,
  idempotencyKey,
  ifMatch,
  NO_IDEMPOTENCY_KEY,
  NO_VERSION,
  problem,
  readCursor,
  takes,
} from "./context.ts";
import * as schemas from "./schemas.ts";

export const tenants = new Hono<AdminEnv>()
  .get(
    "/",
    gives("Tenants by id", schemas.list(schemas.tenantSummary)),
    takes("query", schemas.page),
    async (c) => {
      const { cursor, limit } = c.req.valid("query");
      const items = await operatorsOf(c.env.env).tenants(readCursor(cursor), limit);
      return c.json({ items, nextCursor: items.length < limit ? null : cursorOf(items.at(-1)?.id) });
    },
  )
  .post("/", gives("Makes a tenant", schemas.tenant, 201), takes("json", schemas.newTenant), async (c) => {
    const { id, name } = c.req.valid("json");
    const key = idempotencyKey(c);
    if (key === "invalid") return problem(c, "invalid", NO_IDEMPOTENCY_KEY);
    const before =
      key === null ? "new" : await operatorsOf(c.env.env).remember(key, digestOfBody({ id, name }));
    if (before === "other") {
      return problem(c, "idempotency_mismatch", "This Idempotency-Key came with another body before");
    }
    const authority = authorityOf(c.env.env, id);
    const created = await authority.createTenant(id, name, c.var.actor);
    if (created.ok) return answer(c, created, 201);
    // What came to nothing is not what a repetition is answered with.
    if (before === "new" && key !== null) await operatorsOf(c.env.env).forget(key);
    const replayed = before === "same" ? await authority.tenant() : created;
    return answer(c, replayed.ok ? replayed : created, 201);
  })
  .get("/:tenantId", gives("One tenant", schemas.tenant), async (c) =>
    answer(c, await authorityIn(c).tenant()),
  )
  .patch(
    "/:tenantId",
    gives("Changes a tenant's name, limits and host names", schemas.tenantEffect),
    takes("json", schemas.tenantChange),
    async (c) => {
      const { name, limits, shadowPolicies, allowedHosts } = c.req.valid("json");
      const version = ifMatch(c);
      if (version === "invalid") return problem(c, "invalid", NO_VERSION);
      const patch = { ...defined({ name, shadowPolicies, allowedHosts }), ...defined(limits ?? {}) };
      return answer(c, await authorityIn(c).changeTenant(patch, version, c.var.actor));
    },
  )
  .delete("/:tenantId", gives("Deletes a tenant and revokes its keys", schemas.tenantEffect), async (c) => {
    const version = ifMatch(c);
    if (version === "invalid") return problem(c, "invalid", NO_VERSION);
    return answer(c, await authorityIn(c).deleteTenant(version, c.var.actor));
  })
  .put(
    "/:tenantId/subscription",
    gives("Sets the subscription", schemas.tenantEffect),
    takes("json", schemas.newSubscription),
    async (c) => {
      const { status, tier = null, currentPeriodEnd = null } = c.req.valid("json");
      const currentPeriodEndMs = currentPeriodEnd === null ? null : Date.parse(currentPeriodEnd);
      const subscription = { status, currentPeriodEndMs };
      const authority = authorityIn(c);
      return answer(c, await authority.setSubscription(subscription, tier, c.var.actor));
    },
  )
  .put(
    "/:tenantId/origin-key",
    gives("Sets the Postiz key that gateway keys are swapped for", schemas.tenantEffect),
    takes("json", schemas.originKey),
    async (c) => {
      const authority = authorityIn(c);
      return answer(c, await authority.setOriginKey(c.req.valid("json").key, c.var.actor));
    },
  )
  .get("/:tenantId/usage", gives("What is left of the limits", schemas.usage), async (c) => {
    const usage = await authorityIn(c).usage(null);
    return usage.ok ? c.json(usage.value) : failed(c, usage);
  })
  .get(
    "/:tenantId/audit",
    gives("What operators did to a tenant, the newest first", schemas.list(schemas.auditEntry)),
    takes("query", schemas.page),
    async (c) => {
      const { cursor, limit } = c.req.valid("query");
      const authority = authorityIn(c);
      return auditPage(c, await authority.audit(auditBefore(cursor), limit), limit);
    },
  );

/** Without what is undefined: such a field would be a wish of its own. */
function defined<T extends object>(patch: T): { [Name in keyof T]?: Exclude<T[Name], undefined> } {
  const entries = Object.entries(patch).filter(([, value]) => value !== undefined);
  return Object.fromEntries(entries) as { [Name in keyof T]?: Exclude<T[Name], undefined> };
}
