/** A tenant's keys: issued, looked at, changed, rotated, disabled, revoked. */
import { Hono } from "hono";
import {
  type AdminEnv,
  answer,
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
  receiptOf,
  takes,
} from "./context.ts";
import * as schemas from "./schemas.ts";

export const keys = new Hono<AdminEnv>()
  .get(
    "/",
    gives("A tenant's keys, in the order of their making", schemas.list(schemas.key)),
    takes("query", schemas.page),
    async (c) => {
      const { cursor, limit } = c.req.valid("query");
      const found = await authorityIn(c).keys(readCursor(cursor), limit);
      if (!found.ok) return failed(c, found);
      const items = found.value;
      return c.json({ items, nextCursor: items.length < limit ? null : cursorOf(items.at(-1)?.id) });
    },
  )
  .post("/", gives("Issues a key", schemas.issuedKey, 201), takes("json", schemas.newKey), async (c) => {
    const body = c.req.valid("json");
    const expiresAtMs = body.expiresAt ? Date.parse(body.expiresAt) : null;
    if (expiresAtMs !== null && expiresAtMs <= Date.now()) {
      return problem(c, "invalid", `expiresAt: ${body.expiresAt} is not in the future`);
    }
    const again = idempotencyKey(c);
    if (again === "invalid") return problem(c, "invalid", NO_IDEMPOTENCY_KEY);
    const replay = again === null ? null : { idempotencyKey: again, bodyDigest: digestOfBody(body) };
    const wish = {
      name: body.name,
      scopes: body.scopes,
      expiresAtMs,
      allowedNetworks: body.allowedNetworks ?? [],
      apiPerMinute: body.apiPerMinute ?? null,
    };
    const issued = await authorityIn(c).issueKey(wish, replay, c.var.actor);
    if (!issued.ok) return failed(c, issued);
    const { key, secret } = issued.value;
    const headers = { ETag: `"${key.version}"` };
    return c.json(secret === null ? key : { ...key, key: secret }, 201, headers);
  })
  .delete("/", gives("Revokes every key of a tenant", schemas.effectOnly), async (c) => {
    const revoked = await authorityIn(c).revokeAllKeys(c.var.actor);
    return revoked.ok ? c.json(receiptOf(revoked)) : failed(c, revoked);
  })
  .get("/:keyId", gives("One key", schemas.key), async (c) =>
    answer(c, await authorityIn(c).key(c.req.param("keyId"))),
  )
  .patch(
    "/:keyId",
    gives("Changes a key", schemas.keyEffect),
    takes("json", schemas.keyChange),
    async (c) => {
      const { name, scopes, expiresAt, allowedNetworks, apiPerMinute } = c.req.valid("json");
      const version = ifMatch(c);
      if (version === "invalid") return problem(c, "invalid", NO_VERSION);
      const patch = {
        ...(name !== undefined && { name }),
        ...(scopes !== undefined && { scopes }),
        ...(expiresAt !== undefined && { expiresAtMs: expiresAt === null ? null : Date.parse(expiresAt) }),
        ...(allowedNetworks !== undefined && { allowedNetworks }),
        ...(apiPerMinute !== undefined && { apiPerMinute }),
      };
      const authority = authorityIn(c);
      return answer(c, await authority.changeKey(c.req.param("keyId"), patch, version, c.var.actor));
    },
  )
  .delete("/:keyId", gives("Revokes a key, for good", schemas.keyEffect), async (c) =>
    answer(c, await authorityIn(c).revokeKeyById(c.req.param("keyId"), c.var.actor)),
  )
  .post(
    "/:keyId/rotate",
    gives("Gives a key a new secret", schemas.rotatedKey),
    takes("json", schemas.rotation),
    async (c) => {
      const graceMs = c.req.valid("json").graceSeconds * 1_000;
      const rotated = await authorityIn(c).rotateKey(c.req.param("keyId"), graceMs, c.var.actor);
      if (!rotated.ok) return failed(c, rotated);
      const { value, secret } = rotated;
      return c.json({ ...value, key: secret, ...receiptOf(rotated) }, 200, { ETag: `"${value.version}"` });
    },
  )
  .post("/:keyId/disable", gives("Disables a key", schemas.keyEffect), async (c) =>
    answer(c, await authorityIn(c).enableKey(c.req.param("keyId"), false, c.var.actor)),
  )
  .post("/:keyId/enable", gives("Enables a disabled key", schemas.keyEffect), async (c) =>
    answer(c, await authorityIn(c).enableKey(c.req.param("keyId"), true, c.var.actor)),
  );
