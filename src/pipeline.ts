/**
 * The order of things, and the only file that knows it:
 *
 *   Target → Route → Credential → Principal → Entitlement → RateDecision → the origin's Response
 *
 * Each stage takes what the one before returned, or the request ends there with a Denial.
 */
import { preflightResponse } from "./answer/cors.ts";
import { type RelayedAnswer, relayAnswer, speakForApi } from "./answer/relayed-response.ts";
import { type Credential, readCredential } from "./credential/credential.ts";
import { deny, pass, type Result } from "./denial.ts";
import type { Deps } from "./deps.ts";
import { entitle } from "./entitlement/entitle.ts";
import { hostNameIn } from "./entitlement/hosts.ts";
import { authenticate } from "./principal/authenticate.ts";
import type { Principal } from "./principal/principal.ts";
import { decideRate, type RateDecision } from "./quota/decide-rate.ts";
import { quotaAfter, settlementOf } from "./quota/origin-limit.ts";
import { POLICIES } from "./quota/policy.ts";
import { countryOf, type RequestContext } from "./request-context.ts";
import type { Target } from "./route/canonical.ts";
import { type ProtectedRoute, resolveRoute, type UnprotectedRoute } from "./route/route.ts";
import type { EventDraft } from "./telemetry/event-draft.ts";
import { forward, type OriginAnswer, type OriginCall } from "./upstream/forward.ts";
import { refusalOf } from "./upstream/origin-refusal.ts";
import { readBody } from "./upstream/request-body.ts";
import { hasPassedHere, originHeaders } from "./upstream/request-headers.ts";
import type { WaitUntil } from "./wait-until.ts";

/** One request on its way, with what every stage may need. */
export interface Passage {
  readonly context: RequestContext;
  readonly target: Target;
  readonly event: EventDraft;
  readonly deps: Deps;
  /** Keeps work alive that the answer does not wait for. */
  readonly waitUntil: WaitUntil;
}

/** The origin's answer on its way, or one of the gateway's own that is no refusal. */
export type Served =
  | { readonly kind: "forwarded"; readonly answer: RelayedAnswer; readonly bytesIn: () => number }
  | { readonly kind: "answered"; readonly response: Response };

export async function serve(passage: Passage): Promise<Result<Served>> {
  const { context, target, deps } = passage;
  const { method, headers } = context.request;
  if (hasPassedHere(headers)) return deny("loop_detected", "Via names this gateway already");
  const route = resolveRoute(method, target, deps.config.forwardUnprotected);
  if (!route.ok) return route;
  if (route.value.kind === "unprotected") return passOn(passage, route.value);
  if (method === "OPTIONS") {
    return pass({ kind: "answered", response: preflightResponse(headers, deps.config.corsOrigins) });
  }
  return serveProtected(passage, route.value);
}

async function serveProtected(passage: Passage, route: ProtectedRoute): Promise<Result<Served>> {
  const { context, deps, event } = passage;
  const { policy, template, slowMs } = route.operation;
  const { countedByOrigin } = POLICIES[policy];
  event.route = template;
  const body = readBody(context, deps.config.maxBodyBytes);
  if (!body.ok) return body;
  const credential = readCredential(context.request.headers);
  if (!credential.ok) return credential;
  event.credential = credential.value.kind;
  const timeoutMs = Math.max(deps.config.originTimeoutMs, slowMs);
  const admitted = await admit(passage, route, credential.value, timeoutMs);
  if (!admitted.ok) return admitted;

  const { principal, quota } = admitted.value;
  const origin = await carry(passage, {
    url: deps.config.originBase + route.path + route.query,
    authorization: principal.originKey ?? credential.value.secret,
    body: body.value,
    timeoutMs,
    strict: countedByOrigin,
  });
  if (!origin.ok) return origin;
  if (countedByOrigin) {
    const settlement = settlementOf(context.requestId, origin.value.response);
    passage.waitUntil(deps.authority.settle(principal.tag, settlement));
  }
  const about = refusalOf(origin.value);
  if (about === "credential" && principal.originKey !== null) {
    // The next request is to hear of a new one at once.
    deps.leases.forget(credential.value);
    const detail = "Postiz refused the tenant's own key: give the gateway the current one";
    return deny("origin_key_rejected", detail, { owner: event.owner });
  }
  // Before the answer, so that the gateway knows from the next request on.
  if (about !== null) await heed(passage, about, credential.value, principal);
  const answer = relayAnswer(origin.value, context.request, timeoutMs);
  speakForApi(answer.response, quotaAfter(origin.value.response, quota));
  return pass({ kind: "forwarded", answer, bytesIn: origin.value.bytesIn });
}

/** The origin has refused what its own authority here had let in. */
function heed(
  { deps, waitUntil }: Passage,
  about: "credential" | "subscription",
  credential: Credential,
  principal: Principal,
): Promise<void> {
  // What the lease in hand says is not what the next request is to hear.
  deps.leases.forget(credential);
  const generation = principal.grant.generation ?? 0;
  return about === "credential"
    ? deps.inquiries.confirm(credential, principal, generation, waitUntil)
    : deps.inquiries.reportNoSubscription(credential, principal, generation);
}

/** Whether the request may pass: decided, counted, nothing forwarded yet. */
async function admit(
  { context, target, deps, event, waitUntil }: Passage,
  { operation }: ProtectedRoute,
  credential: Credential,
  settleWithinMs: number,
): Promise<Result<RateDecision>> {
  const found = authenticate(
    credential,
    {
      policy: operation.policy,
      nonce: context.requestId,
      settleWithinMs,
      scope: operation.scope,
      host: hostNameIn(target.host),
      country: countryOf(context.request),
      clientAddress: context.clientAddress,
      waitUntil,
      onDecision: (by) => {
        event.decidedBy = by;
      },
      onShadow: (reason) => {
        event.shadow = reason;
      },
    },
    deps,
  );
  const principal = found instanceof Promise ? await found : found;
  if (!principal.ok) return principal;
  const { tenantId, keyId, grant, degraded } = principal.value;
  event.owner = { tenantId, keyId };
  event.stale = grant.stale ?? false;
  event.degraded = degraded;
  event.shadow = grant.wouldHaveBeen ?? event.shadow;
  const entitlement = entitle(principal.value, operation.scope, deps.config, deps.nowMs());
  return entitlement.ok ? decideRate(entitlement.value) : entitlement;
}

/** For those who front the whole host: passed on as it came, credential and all, and answered as it is. */
async function passOn(passage: Passage, route: UnprotectedRoute): Promise<Result<Served>> {
  const { context, deps, event } = passage;
  event.route = "unprotected";
  const body = readBody(context, deps.config.maxBodyBytes);
  if (!body.ok) return body;
  const origin = await carry(passage, {
    url: deps.config.originRoot + route.path + route.query,
    authorization: null,
    body: body.value,
    timeoutMs: deps.config.originTimeoutMs,
    strict: false,
  });
  if (!origin.ok) return origin;
  // Event streams may be silent for as long as they like.
  const answer = relayAnswer(origin.value, context.request, 0);
  return pass({ kind: "forwarded", answer, bytesIn: origin.value.bytesIn });
}

type Load = Pick<OriginCall, "url" | "body" | "timeoutMs" | "strict"> & {
  readonly authorization: string | null;
};

function carry({ context, target, deps, event }: Passage, load: Load): Promise<Result<OriginAnswer>> {
  const { request, requestId, trace, clientAddress } = context;
  const { config, fetchOrigin } = deps;
  const headers = originHeaders(request.headers, {
    authorization: load.authorization,
    clientAddress,
    protocol: target.protocol,
    host: target.host,
    requestId,
    traceparent: trace.traceparent,
    tracestate: trace.tracestate,
    // Whoever is not authenticated here must not be let in there by the gateway's token.
    access: load.authorization === null ? null : config.originAccess,
  });
  event.markForwarded();
  return forward(
    { ...load, method: request.method, headers, maxBodyBytes: config.maxBodyBytes },
    fetchOrigin,
  );
}
