/** What handlers of the admin API have in hand, and how they answer. */
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import type { Context, Hono, TypedResponse } from "hono";
import { HTTPException } from "hono/http-exception";
import { describeRoute, resolver, validator } from "hono-openapi";
import type * as z from "zod";
import { type Failure, NO_TENANT, type Outcome } from "../authority/administration.ts";
import type { NumberedEntry } from "../authority/audit.ts";
import { authorityAt, authorityOf } from "../authority/find-authority.ts";
import { type ChangeReceipt, type Grant, type LeaseAsk, PROTOCOL_VERSION } from "../authority/protocol.ts";
import type { Tag } from "../authority/tag.ts";
import type { TenantAuthority } from "../authority/tenant-authority.ts";
import { isTenantId } from "../authority/tenant-id.ts";
import type { Deps } from "../deps.ts";
import type { Env } from "../env.ts";
import {
  type ProblemCode,
  type ProblemContext,
  type ProblemStatus,
  problemResponse,
} from "../own/problem.ts";
import { Refusal } from "../own/refusal.ts";
import type { RequestContext } from "../request-context.ts";
import type { WaitUntil } from "../wait-until.ts";
import { problemDetails } from "./schemas.ts";

export interface AdminEnv {
  Bindings: {
    readonly env: Env;
    readonly deps: Deps;
    readonly context: RequestContext;
    readonly problem: ProblemContext;
    readonly waitUntil: WaitUntil;
  };
  Variables: { actor: string };
}

export type AdminContext = Context<AdminEnv>;

/** Of the tenant that the path names. What can't be an id is no tenant's, and wakes no object. */
export function authorityIn(c: AdminContext): DurableObjectStub<TenantAuthority> {
  const tenantId = c.req.param("tenantId");
  if (isTenantId(tenantId)) return authorityOf(c.env.env, tenantId);
  throw new HTTPException(404, { message: NO_TENANT });
}

/** As the typed client sees it: of no success. */
type ProblemResponse = Response & TypedResponse<z.infer<typeof problemDetails>, ProblemStatus, "json">;

export const problem = (c: AdminContext, code: ProblemCode, detail: string, more?: object) =>
  problemResponse(code, detail, c.env.problem, more) as ProblemResponse;

export const failed = (c: AdminContext, { problem: code, detail }: Failure) => problem(c, code, detail);

/** From when on a change holds, in an answer. */
export function receiptOf({ effectiveBy, degradedUntil }: ChangeReceipt): ChangeReceipt {
  return { effectiveBy, ...(degradedUntil !== undefined && { degradedUntil }) };
}

/** The value as JSON with its version as ETag, or what is wrong. */
export function answer<T extends { readonly version: number }>(
  c: AdminContext,
  outcome: Outcome<T> | (Outcome<T> & ChangeReceipt),
  status: 200 | 201 = 200,
) {
  if (!outcome.ok) return failed(c, outcome);
  const { value } = outcome;
  return c.json("effectiveBy" in outcome ? { ...value, ...receiptOf(outcome) } : value, status, {
    ETag: `"${value.version}"`,
  });
}

/** The version that a change is based on; null where the client does not say, or does not care. */
export function ifMatch(c: AdminContext): number | null | "invalid" {
  const field = c.req.header("If-Match");
  if (field === undefined || field.trim() === "*") return null;
  const version = /^"(\d{1,15})"$/.exec(field.trim())?.[1];
  return version === undefined ? "invalid" : Number(version);
}

/** What a creation may be asked for again by; null where it says nothing. */
export function idempotencyKey(c: AdminContext): string | null | "invalid" {
  const field = c.req.header("Idempotency-Key");
  if (field === undefined) return null;
  return /^[\x21-\x7e]{1,255}$/.test(field) ? field : "invalid";
}

export const NO_IDEMPOTENCY_KEY = "An Idempotency-Key is 1 to 255 visible ASCII characters";
export const NO_VERSION = 'If-Match is an ETag of this API, such as "3", or *';

/** A cursor says where the last page ended; it is nobody's business how. */
export const cursorOf = (last: string | number | undefined): string | null =>
  last === undefined ? null : Buffer.from(String(last)).toString("base64url");

/** The id that the last page ended with; empty for the first page. What this API did not give is a failure. */
export function readCursor(cursor: string | undefined): string {
  if (cursor === undefined) return "";
  const last = Buffer.from(cursor, "base64url").toString("utf8");
  if (/^[\w-]{1,64}$/.test(last) && cursorOf(last) === cursor) return last;
  throw new HTTPException(400, { message: "cursor: it is not one of this API's" });
}

/** The newest first; the number that the last page ended with is the cursor. */
export function auditBefore(cursor: string | undefined): number {
  if (cursor === undefined) return Number.MAX_SAFE_INTEGER;
  const last = readCursor(cursor);
  if (/^\d{1,15}$/.test(last)) return Number(last);
  throw new HTTPException(400, { message: "cursor: it is not one of this API's" });
}

export function auditPage(c: AdminContext, found: readonly NumberedEntry[], limit: number) {
  const nextCursor = found.length < limit ? null : cursorOf(found.at(-1)?.id);
  return c.json({ items: found.map(({ entry }) => entry), nextCursor });
}

/** Every path of `app` says which methods it has; call it when all of them are there. */
export function refuseOtherMethods(app: Hono<AdminEnv>): void {
  const routes = app.routes.filter(({ method }) => method !== "ALL");
  for (const [path, there] of Map.groupBy(routes, (route) => route.path)) {
    const methods = new Set(there.flatMap(({ method }) => (method === "GET" ? ["GET", "HEAD"] : [method])));
    app.all(path, (c) => {
      const allow = [...methods];
      const detail = `${c.req.method} is not possible here; ${allow.join(", ")} are`;
      throw new Refusal({ reason: "method_not_allowed", detail, allow });
    });
  }
}

export function digestOfBody(body: unknown): string {
  return createHash("sha256").update(JSON.stringify(body)).digest("hex");
}

/** Checks what came against a schema; what is wrong is said field by field. */
export function takes<Schema extends z.ZodType, Where extends "json" | "query">(
  where: Where,
  schema: Schema,
) {
  return validator(where, schema, (result, c) => {
    if (result.success) return;
    const errors = result.error.map(({ message, path = [] }) => {
      const field = path.map((part) => (typeof part === "object" ? part.key : part)).join(".");
      return { field, message };
    });
    const detail = errors
      .map(({ field, message }) => (field === "" ? message : `${field}: ${message}`))
      .join("; ");
    return problem(c as unknown as AdminContext, "invalid", detail, { errors });
  });
}

/** For the OpenAPI document. */
export function gives(summary: string, schema: z.ZodType, status: 200 | 201 = 200) {
  const json = (described: z.ZodType) => ({ "application/json": { schema: resolver(described) } });
  return describeRoute({
    summary,
    responses: {
      [status]: { description: summary, content: json(schema) },
      default: {
        description: "RFC 9457 problem details",
        content: { "application/problem+json": { schema: resolver(problemDetails) } },
      },
    },
  });
}

/** What the authority would say, nothing counted; of a credential that was linked, what the one says that has it now. */
export async function lookAt(env: Env, tag: Tag, ask: Omit<LeaseAsk, "v" | "nonce">): Promise<Grant> {
  const question = { v: PROTOCOL_VERSION, ...ask } as const;
  const grant = await authorityAt(env, tag).look(question);
  const { tenantId } = grant;
  if (grant.verdict !== "moved" || tenantId === undefined) return grant;
  const successor = await authorityOf(env, tenantId).look({ ...question, tenantId });
  // The one has let go of it, and the other has not taken it yet.
  return successor.verdict === "key_unknown" ? grant : successor;
}
