/** What operators ask beside tenants and keys: is this key good, why was that refused, who did what. */
import { Hono } from "hono";
import { authorityOf } from "../authority/find-authority.ts";
import { operatorsOf, shardOf } from "../authority/find-directory.ts";
import { hostKey } from "../authority/host-names.ts";
import { type Grant, isGoodCredential, type LeaseAsk, refusal } from "../authority/protocol.ts";
import { tagOf } from "../authority/tag.ts";
import { unlinkedIdOf } from "../authority/tenant-id.ts";
import { digestOf } from "../credential/credential.ts";
import type { Entrance } from "../entitlement/hosts.ts";
import { UNKNOWN_SUBSCRIPTION } from "../entitlement/subscription.ts";
import { authenticityOf, readGatewayKey } from "../gateway-key/format.ts";
import {
  type AdminContext,
  type AdminEnv,
  auditBefore,
  auditPage,
  cursorOf,
  gives,
  lookAt,
  readCursor,
  takes,
} from "./context.ts";
import { explain } from "./explain.ts";
import * as schemas from "./schemas.ts";

export const operations = new Hono<AdminEnv>()
  .get("/whoami", gives("Who the gateway takes you for", schemas.whoami), (c) =>
    c.json({ actor: c.var.actor }),
  )
  .get(
    "/audit",
    gives("What operators did, the newest first", schemas.list(schemas.auditEntry)),
    takes("query", schemas.page),
    async (c) => {
      const { cursor, limit } = c.req.valid("query");
      return auditPage(c, await operatorsOf(c.env.env).audit(auditBefore(cursor), limit), limit);
    },
  )
  .post(
    "/keys/verify",
    gives("Whether a credential is good, without using it", schemas.verdict),
    takes("json", schemas.someKey),
    async (c) => {
      const grant = await look(c, c.req.valid("json").key);
      const valid = isGoodCredential(grant);
      return c.json({
        valid,
        reason: valid ? null : grant.verdict,
        tenantId: grant.tenantId ?? null,
        keyId: grant.keyId || null,
      });
    },
  )
  .post(
    "/tokens/forget",
    gives("Has a token introspected anew", schemas.effectOnly),
    takes("json", schemas.someToken),
    async (c) => {
      const digest = digestOf(c.req.valid("json").token);
      const owner = (await shardOf(c.env.env, digest).ownerOf(digest)) ?? unlinkedIdOf(digest);
      return c.json(await authorityOf(c.env.env, owner).forgetToken(digest));
    },
  )
  .post(
    "/reseal",
    gives("Seals tenants' Postiz keys under the current key", schemas.resealed),
    takes("json", schemas.resealing),
    async (c) => {
      const { cursor, limit } = c.req.valid("json");
      const found = await operatorsOf(c.env.env).tenants(readCursor(cursor), limit);
      const sealed = await Promise.all(
        found.map(async ({ id }) => ({
          id,
          done: await authorityOf(c.env.env, id).reseal(),
        })),
      );
      return c.json({
        checked: found.length,
        resealed: sealed.filter(({ done }) => done === true).length,
        unreadable: sealed.filter(({ done }) => done === false).map(({ id }) => id),
        nextCursor: found.length < limit ? null : cursorOf(found.at(-1)?.id),
      });
    },
  )
  .post(
    "/explain",
    gives("What would become of a request, and why", schemas.explanation),
    takes("json", schemas.question),
    async (c) => {
      const question = c.req.valid("json");
      const entrance = await entranceAt(c, question.host);
      return c.json(await explain(c.env.deps, question, (key, ask) => look(c, key, { ...ask, entrance })));
    },
  );

/** Null: whatever the host name, it is not looked at. */
async function entranceAt(c: AdminContext, host: string | undefined): Promise<Entrance | null> {
  if (host === undefined) return null;
  const key = hostKey(host);
  return { host, hostOwner: await shardOf(c.env.env, key).ownerOf(key) };
}

/** What the credential's authority would say, nothing counted; of one that nobody knows, what would be done about it. */
async function look(
  c: AdminContext,
  secret: string,
  ask: Partial<Pick<LeaseAsk, "policy" | "scope" | "clientAddress" | "entrance">> = {},
): Promise<Grant> {
  const { env, deps } = c.env;
  const digest = digestOf(secret);
  const key = readGatewayKey(secret);
  // A made-up one names an authority that need not exist.
  const isForged = key !== null && authenticityOf(key, deps.config.macSecrets) === "forged";
  const owner =
    key === null && !secret.startsWith("pgw_") ? await shardOf(env, digest).ownerOf(digest) : null;
  const tag = isForged ? null : (key?.tag ?? (owner === null ? null : tagOf(owner)));
  if (tag !== null) {
    const question = {
      tenantId: null,
      digest,
      policy: "api",
      settleWithinMs: 0,
      entrance: null,
      ...ask,
    } as const;
    return lookAt(env, tag, question);
  }
  const isAsked = secret.startsWith("pos_") || (deps.config.learnFromOrigin && !secret.startsWith("pgw_"));
  return refusal(isAsked ? "introspection_required" : "key_unknown", "", UNKNOWN_SUBSCRIPTION);
}
