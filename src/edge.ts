/**
 * The HTTP edge: `/_gateway/*` to an application of its own, everything else to the pipeline. A decision becomes
 * a Response here and nowhere else, and every request ends in exactly one event.
 */
import { allowOrigin } from "./answer/cors.ts";
import { denialResponse, wantsProblem } from "./answer/denial-response.ts";
import { lingering } from "./answer/lingering.ts";
import { type Denial, type DenialReason, deny, pass, type Result } from "./denial.ts";
import type { Env } from "./env.ts";
import { depsFor, type Isolate, isolateOf } from "./isolate.ts";
import { answerOwn } from "./own/api.ts";
import { type Served, serve } from "./pipeline.ts";
import { arrive, type RequestContext } from "./request-context.ts";
import { readTarget, type Target } from "./route/canonical.ts";
import { isGatewayPath } from "./route/route.ts";
import { EventDraft } from "./telemetry/event-draft.ts";
import type { RelayEnd } from "./upstream/relay.ts";
import type { WaitUntil } from "./wait-until.ts";

export function handle(request: Request, env: Env, ctx: ExecutionContext): Promise<Response> {
  const answered = respond(request, env, (work) => ctx.waitUntil(work.catch(tellFailure)));
  // A client that leaves before the answer must not take its event and its settlement along.
  ctx.waitUntil(answered);
  return answered;
}

/** Nobody waits for what runs in the background: its failure would be seen by no one. */
function tellFailure(error: unknown): void {
  console.error(JSON.stringify({ event: "background_failed", error: stackOf(error) }));
}

const stackOf = (error: unknown) => (error instanceof Error ? error.stack : String(error));

async function respond(request: Request, env: Env, waitUntil: WaitUntil): Promise<Response> {
  const isolate = isolateOf(env);
  const context = arrive(request, isolate.state.ok ? isolate.state.deps.config.trustedProxies : []);
  const event = new EventDraft(context);
  isolate.events.begin();
  let target: Target | null = null;
  let served: Result<Served>;
  try {
    const protocol = context.forwardedProtocol ?? undefined;
    const read = readTarget(request.url, request.headers.get("Host"), protocol);
    target = read.ok ? read.value : null;
    served = read.ok ? await dispatch(context, event, read.value, isolate, env, waitUntil) : read;
  } catch (error) {
    console.error(JSON.stringify({ event: "internal", requestId: context.requestId, error: stackOf(error) }));
    served = deny("internal", "The gateway failed; its log holds more under the request id");
  }
  const response = served.ok
    ? conclude(served.value, event, isolate, waitUntil)
    : refuse(served.denial, context, event, target, isolate, waitUntil);
  response.headers.set("X-Request-Id", context.requestId);
  if (isolate.state.ok) allowOrigin(response.headers, request.headers, isolate.state.deps.config.corsOrigins);
  return lingering(response, context.body);
}

async function dispatch(
  context: RequestContext,
  event: EventDraft,
  target: Target,
  isolate: Isolate,
  env: Env,
  waitUntil: WaitUntil,
): Promise<Result<Served>> {
  const deps = depsFor(isolate, target);
  if (isGatewayPath(target.path)) {
    event.route = "/_gateway";
    const response = await answerOwn(context, target, deps, env, waitUntil);
    return response.ok ? pass({ kind: "answered", response: response.value }) : response;
  }
  if ("reason" in deps) return { ok: false, denial: deps };
  return serve({ context, target, event, deps, waitUntil });
}

const OWN_URL = /^[a-z]+:\/\/[^/?#]*\/_gateway(?:\/|$)/;

function refuse(
  denial: Denial,
  { request, requestId }: RequestContext,
  event: EventDraft,
  target: Target | null,
  { events }: Isolate,
  waitUntil: WaitUntil,
): Response {
  events.record(event.toRefusal(denial), waitUntil);
  return denialResponse(denial, {
    requestId,
    method: request.method,
    // Of a path that has no reading, as much as it says.
    asProblem:
      isGatewayPath(target?.path ?? "") ||
      (target === null && OWN_URL.test(request.url)) ||
      wantsProblem(request.headers),
    baseUrl: target === null ? "" : `${target.protocol}://${target.host}`,
  });
}

/** The event is written when the answer has ended, which for the origin's is when its body has. */
function conclude(served: Served, event: EventDraft, { events }: Isolate, waitUntil: WaitUntil): Response {
  if (served.kind === "answered") {
    const { status } = served.response;
    const ending = { status, outcome: "answered", source: "gateway", bytesIn: 0, bytesOut: 0 } as const;
    events.record(event.toEvent(ending), waitUntil);
    return served.response;
  }
  const { answer, bytesIn } = served;
  const { status } = answer.response;
  const tell = (end: RelayEnd) => {
    const ending = { status, ...endingOf(end), bytesIn: bytesIn(), bytesOut: end.bytes };
    events.record(event.toEvent(ending), waitUntil);
  };
  if (answer.ended instanceof Promise) waitUntil(answer.ended.then(tell));
  else tell(answer.ended);
  return answer.response;
}

/** After the head the status can't be changed any more; the event says how the answer really ended. */
function endingOf({ outcome }: RelayEnd): {
  outcome: "forwarded" | DenialReason;
  source: "client" | "upstream";
} {
  switch (outcome) {
    case "complete":
      return { outcome: "forwarded", source: "upstream" };
    case "sink_failed":
      return { outcome: "forwarded", source: "client" };
    case "source_stalled":
      return { outcome: "origin_timeout", source: "upstream" };
    case "source_failed":
    case "source_too_large":
      return { outcome: "origin_invalid", source: "upstream" };
  }
}
