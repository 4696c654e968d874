/** The gateway's own paths: is it up, is it ready, what does an error mean. Refusals are RFC 9457 throughout. */
import { Hono } from "hono";
import { DENIAL_SPECS, type Denial, type DenialReason, pass, type Result } from "../denial.ts";
import type { Deps } from "../deps.ts";
import type { Env } from "../env.ts";
import type { RequestContext } from "../request-context.ts";
import type { Target } from "../route/canonical.ts";
import { readBody } from "../upstream/request-body.ts";
import { VERSION } from "../version.ts";
import type { WaitUntil } from "../wait-until.ts";
import { MAX_BODY_BYTES } from "./limits.ts";
import { PROBLEMS, type ProblemCode } from "./problem.ts";
import { checkReadiness } from "./readiness.ts";
import { Refusal } from "./refusal.ts";

interface OwnEnv {
  readonly env: Env;
  /** Or why the gateway can't work: then it runs, but not as a gateway. */
  readonly deps: Deps | Denial;
  readonly context: RequestContext;
  readonly target: Target;
  readonly waitUntil: WaitUntil;
}

const NO_STORE = { "Cache-Control": "no-store" };

const api = new Hono<{ Bindings: OwnEnv }>().basePath("/_gateway");

api.get("/health", (c) => {
  working(c.env.deps);
  return c.json({ status: "ok", version: VERSION }, 200, NO_STORE);
});

api.get("/ready", async (c) => {
  const { ready, checks } = await checkReadiness(c.env.env, working(c.env.deps));
  const status = ready ? "ready" : "not_ready";
  return c.json({ status, version: VERSION, checks }, ready ? 200 : 503, NO_STORE);
});

/** Where the `type` of a problem leads. */
api.get("/errors/:reason", (c) => {
  const reason = c.req.param("reason");
  if (Object.hasOwn(PROBLEMS, reason) && !Object.hasOwn(DENIAL_SPECS, reason)) {
    return c.json({ code: reason, source: "client", ...PROBLEMS[reason as ProblemCode] });
  }
  if (!Object.hasOwn(DENIAL_SPECS, reason)) throw nothingHere();
  const { status, source, message } = DENIAL_SPECS[reason as DenialReason];
  return c.json({ code: reason, status, source, message });
});

// Off the data path: what the admin API needs is loaded when it is first asked for.
api.get("/openapi.json", async (c) => {
  const { default: document } = await import("../admin/openapi.json");
  return c.json(document, 200, NO_STORE);
});

api.all("/v1/*", async (c) => {
  const { env, context, target, waitUntil } = c.env;
  const deps = working(c.env.deps);
  const { admin } = await import("../admin/app.ts");
  const problem = { requestId: context.requestId, baseUrl: `${target.protocol}://${target.host}` };
  const response = await admin.fetch(c.req.raw, { env, deps, context, problem, waitUntil });
  response.headers.set("Cache-Control", "no-store");
  return response;
});

for (const path of ["/openapi.json", "/health", "/ready", "/errors/:reason"]) {
  api.all(path, (c) => {
    const detail = `${c.req.method} is not possible here; GET and HEAD are`;
    throw new Refusal({ reason: "method_not_allowed", detail, allow: ["GET", "HEAD"] });
  });
}

api.notFound(() => {
  throw nothingHere();
});
api.onError((error) => {
  throw error;
});

function working(deps: Deps | Denial): Deps {
  if ("reason" in deps) throw new Refusal(deps);
  return deps;
}

const nothingHere = () => new Refusal({ reason: "path_unknown", detail: "The gateway has no such path" });

/** On Hono: the proxied paths, which must be fast, never meet a router. */
export async function answerOwn(
  context: RequestContext,
  target: Target,
  deps: Deps | Denial,
  env: Env,
  waitUntil: WaitUntil,
): Promise<Result<Response>> {
  const body = readBody(context, MAX_BODY_BYTES);
  if (!body.ok) return body;
  const { method, headers } = context.request;
  // Whatever the Host field holds, which need not be a name that a URL can have.
  const url = `${target.protocol}://gateway${target.path}${target.query}`;
  const canonical = new Request(url, { method, headers, body: body.value?.stream ?? null });
  try {
    return pass(await api.fetch(canonical, { env, deps, context, target, waitUntil }));
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, denial: error.denial };
    throw error;
  }
}
