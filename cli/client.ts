/** The gateway's admin API, typed from its own routes; what can go wrong with a call is one of `failures.ts`. */
import { type ClientResponse, hc } from "hono/client";
import type { admin } from "../src/admin/app.ts";
import { type Problem, Refused, Unreachable } from "./failures.ts";

/** A call, from the connection to the last byte of the answer. */
const TIMEOUT_MS = 30_000;
/** One that was given up may still be at work when its lines are brought again, so not too soon. */
const IMPORT_TIMEOUT_MS = 120_000;
const PAGE = 100;

export type Api = ReturnType<typeof connect>["api"];
type Body<R> =
  R extends ClientResponse<infer T, infer Status, "json"> ? (Status extends 200 | 201 ? T : never) : never;

/** `token`: null for what needs none. */
export function connect(baseUrl: string, token: string | null) {
  const headers: Record<string, string> = token === null ? {} : { Authorization: `Bearer ${token}` };
  const exchange = async (input: unknown, init?: RequestInit): Promise<Response> => {
    const url = String(input);
    const timeoutMs = url.endsWith("/import") ? IMPORT_TIMEOUT_MS : TIMEOUT_MS;
    return answerOf(baseUrl, url, init, timeoutMs);
  };
  const api = hc<typeof admin>(baseUrl, { headers, fetch: exchange as typeof fetch })._gateway.v1;
  /** What is no part of the admin API. */
  const get = (path: string) => exchange(`${baseUrl}${path}`);
  return { api, get };
}

/** The body of a success; whatever else there is was thrown. */
export async function ask<R extends { json(): Promise<unknown> }>(call: Promise<R>): Promise<Body<R>> {
  return (await (await call).json()) as Body<R>;
}

/** A page of a list at a time, until the end, or until there were `limit` items. */
export async function* pages<T>(
  get: (query: { cursor?: string; limit: string }) => Promise<{
    readonly items: readonly T[];
    readonly nextCursor: string | null;
  }>,
  limit = Number.POSITIVE_INFINITY,
): AsyncGenerator<readonly T[]> {
  let cursor: string | null = null;
  for (let left = limit; left > 0; ) {
    const size = String(Math.min(left, PAGE));
    const page = await get(cursor === null ? { limit: size } : { cursor, limit: size });
    yield page.items;
    left -= page.items.length;
    cursor = page.nextCursor;
    if (cursor === null) return;
  }
}

async function answerOf(
  baseUrl: string,
  url: string,
  init: RequestInit | undefined,
  timeoutMs: number,
): Promise<Response> {
  const giveUp = new AbortController();
  const timer = setTimeout(() => giveUp.abort(), timeoutMs);
  try {
    // The token is for this address, and not for where somebody there may point to.
    const signal = AbortSignal.any([giveUp.signal, ...(init?.signal ? [init.signal] : [])]);
    const response = await fetch(url, { ...init, redirect: "manual", signal });
    const { status, headers } = response;
    const type = headers.get("Content-Type") ?? "no content type";
    if (status === 200 && type.startsWith("application/x-ndjson") && !url.endsWith("/import"))
      return response;
    const text = await response.text();
    if (type.startsWith("application/problem+json")) throw refusalOf(text, headers, baseUrl);
    const isReport = url.endsWith("/_gateway/ready") && status === 503;
    const isOwn = /^application\/(?:json|x-ndjson)\b/.test(type);
    if ((response.ok || isReport) && isOwn && isWhole(text, type))
      return new Response(text, { status, headers });
    throw notTheGateway(baseUrl, `${status} with ${type}`, headers.get("Location"));
  } catch (error) {
    if (error instanceof Refused || error instanceof Unreachable) throw error;
    const reason = giveUp.signal.aborted ? `no answer within ${timeoutMs / 1_000} s` : reasonOf(error);
    throw new Unreachable(`The gateway at ${baseUrl} can't be reached: ${reason}.`);
  } finally {
    clearTimeout(timer);
  }
}

function refusalOf(text: string, headers: Headers, baseUrl: string): Refused | Unreachable {
  const after = Number(headers.get("Retry-After") ?? Number.NaN);
  const problem = parse(text) as Problem | undefined;
  if (typeof problem?.code !== "string" || typeof problem.instance !== "string") {
    return notTheGateway(baseUrl, "problem details that are not the gateway's", null);
  }
  return new Refused(problem, Number.isFinite(after) ? after : null);
}

function notTheGateway(baseUrl: string, found: string, location: string | null): Unreachable {
  const hint =
    location === null
      ? "Is GATEWAY_URL the gateway's own address?"
      : `It leads on to ${JSON.stringify(location)}: is there a login in front of the gateway?`;
  return new Unreachable(`What answers at ${baseUrl} is not the gateway: ${found}. ${hint}`);
}

/** Lines are read where they are used. */
const isWhole = (text: string, type: string): boolean =>
  type.startsWith("application/x-ndjson") || parse(text) !== undefined;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Of `fetch`, whose own message is "fetch failed". */
export function reasonOf(error: unknown): string {
  const { cause } = error as { cause?: unknown };
  if (cause instanceof AggregateError && cause.errors[0] instanceof Error) return cause.errors[0].message;
  if (cause instanceof Error && cause.message !== "") return cause.message;
  return error instanceof Error ? error.message : String(error);
}
