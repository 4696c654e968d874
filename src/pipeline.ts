/**
 * The order of things, and the only file that knows it:
 *
 *   Route → Credential → Principal → Entitlement → RateDecision → the origin's Response
 *
 * Each stage takes what the one before returned, or the request ends there with a Denial.
 */
import { apiHeaders, endToEndHeaders, type RelayedAnswer, relayAnswer } from "./answer/relayed-response.ts";
import { readCredential } from "./credential/credential.ts";
import { pass, type Result } from "./denial.ts";
import type { Deps } from "./deps.ts";
import { entitle } from "./entitlement/entitle.ts";
import type { Exchange } from "./exchange.ts";
import { authenticate } from "./principal/authenticate.ts";
import { decideRate } from "./quota/decide-rate.ts";
import { quotaAfter, settlementOf } from "./quota/origin-limit.ts";
import type { Target } from "./route/canonical.ts";
import type { ProtectedRoute, UnprotectedRoute } from "./route/route.ts";
import { clientAddressOf } from "./upstream/client-address.ts";
import { forward, type OriginCall } from "./upstream/forward.ts";
import { readBody } from "./upstream/request-body.ts";
import { originHeaders } from "./upstream/request-headers.ts";

export interface Served {
  readonly answer: RelayedAnswer;
  readonly bytesIn: () => number;
}

export async function serveProtected(
  exchange: Exchange,
  target: Target,
  route: ProtectedRoute,
  deps: Deps,
  waitUntil: (work: Promise<unknown>) => void,
): Promise<Result<Served>> {
  const { request } = exchange;
  const { config, authority } = deps;
  const { operation } = route;
  exchange.route = operation.template;

  const body = readBody(request, config.maxBodyBytes);
  if (!body.ok) return body;

  const credential = readCredential(request.headers);
  if (!credential.ok) return credential;
  exchange.credential = credential.value.kind;

  const timeoutMs = Math.max(config.originTimeoutMs, operation.slowMs);
  const clientAddress = clientAddressOf(request);
  const demand = {
    policy: operation.policy,
    nonce: exchange.requestId,
    settleWithinMs: timeoutMs,
    clientAddress,
  };
  const principal = await authenticate(credential.value, demand, deps);
  if (!principal.ok) return principal;
  exchange.owner = principal.value;

  const entitlement = entitle(principal.value, config, deps.wallNowMs());
  if (!entitlement.ok) return entitlement;

  const rate = decideRate(entitlement.value);
  if (!rate.ok) return rate;
  const { quota } = rate.value;

  const isPost = operation.policy === "posts";
  exchange.markForwarded();
  const origin = await forward(
    {
      url: config.originBase + route.path + route.query,
      method: request.method,
      headers: headersFor(exchange, target, deps, credential.value.secret, clientAddress),
      body: body.value,
      timeoutMs,
      strict: isPost,
      maxBodyBytes: config.maxBodyBytes,
    },
    deps.fetchOrigin,
  );
  if (isPost) waitUntil(authority.settle(principal.value.tag, settlementOf(exchange.requestId, origin)));
  if (!origin.ok) return origin;
  const { response, bytesIn } = origin.value;
  const headers = apiHeaders(response, quotaAfter(response, quota));
  return pass({ answer: relayAnswer(response, headers, request.method, timeoutMs), bytesIn });
}

/** For those who front the whole host: passed on as it came, credential and all, and answered as it is. */
export async function serveUnprotected(
  exchange: Exchange,
  target: Target,
  route: UnprotectedRoute,
  deps: Deps,
): Promise<Result<Served>> {
  const { request } = exchange;
  const { config } = deps;
  exchange.route = "unprotected";
  const body = readBody(request, config.maxBodyBytes);
  if (!body.ok) return body;
  exchange.markForwarded();
  const call: OriginCall = {
    url: config.originRoot + route.path + route.query,
    method: request.method,
    headers: headersFor(exchange, target, deps, null, clientAddressOf(request)),
    body: body.value,
    timeoutMs: config.originTimeoutMs,
    strict: false,
    maxBodyBytes: config.maxBodyBytes,
  };
  const origin = await forward(call, deps.fetchOrigin);
  if (!origin.ok) return origin;
  const { response, bytesIn } = origin.value;
  // Event streams may be silent for as long as they like.
  return pass({ answer: relayAnswer(response, endToEndHeaders(response), request.method, 0), bytesIn });
}

function headersFor(
  { request, requestId, trace }: Exchange,
  target: Target,
  { config }: Deps,
  authorization: string | null,
  clientAddress: string | null,
): Headers {
  return originHeaders(request.headers, {
    authorization,
    clientAddress,
    protocol: target.protocol,
    host: target.host,
    requestId,
    traceparent: trace.traceparent,
    tracestate: trace.tracestate,
    access: config.originAccess,
  });
}
