/**
 * The HTTP edge: `/_gateway/*` to an application of its own, everything else to the pipeline. A decision becomes
 * a Response here and nowhere else, and every request ends in exactly one event.
 */
import { allowOrigin, preflightResponse } from "./answer/cors.ts";
import { denialResponse, wantsProblem } from "./answer/denial-response.ts";
import { type Denial, type DenialReason, deny, type Result } from "./denial.ts";
import type { Env } from "./env.ts";
import { Exchange } from "./exchange.ts";
import { type Gateway, gatewayOf, problemText } from "./gateway.ts";
import { gatewayApi } from "./health/api.ts";
import { type Served, serveProtected, serveUnprotected } from "./pipeline.ts";
import { readTarget, type Target } from "./route/canonical.ts";
import { isGatewayPath, resolveRoute } from "./route/route.ts";
import type { RelayEnd } from "./upstream/relay.ts";
import { hasPassedHere } from "./upstream/request-headers.ts";

/** What became of a request: the origin's answer, the gateway's own, or a refusal. */
type Answer =
  | { readonly kind: "forwarded"; readonly served: Served }
  | { readonly kind: "answered"; readonly response: Response }
  | { readonly kind: "refused"; readonly denial: Denial };

export async function handle(request: Request, env: Env, ctx: ExecutionContext): Promise<Response> {
  const exchange = new Exchange(request);
  const gateway = gatewayOf(env);
  let answer: Answer;
  try {
    answer = await answerTo(exchange, gateway, env, ctx);
  } catch (error) {
    const stack = error instanceof Error ? error.stack : String(error);
    console.error(JSON.stringify({ event: "internal", requestId: exchange.requestId, error: stack }));
    answer = refused(deny("internal", "The gateway failed; its log holds more under the request id"));
  }
  const response = send(answer, exchange, gateway, ctx);
  response.headers.set("X-Request-Id", exchange.requestId);
  if (gateway.state.ok) allowOrigin(response.headers, request.headers, gateway.state.deps.config.corsOrigins);
  return response;
}

async function answerTo(
  exchange: Exchange,
  gateway: Gateway,
  env: Env,
  ctx: ExecutionContext,
): Promise<Answer> {
  const { request } = exchange;
  const target = readTarget(request.url);
  if (!target.ok) return refused(target);
  exchange.target = target.value;
  if (isGatewayPath(target.value.path)) return answerOwn(exchange, target.value, gateway, env);

  if (!gateway.state.ok) return refused(deny("config_invalid", problemText(gateway.state.problem)));
  const { deps } = gateway.state;
  if (hasPassedHere(request.headers)) return refused(deny("loop_detected", "Via names this gateway already"));
  if (deps.isOwnHost(target.value))
    return refused(deny("config_invalid", "ORIGIN_URL is the gateway itself"));

  const route = resolveRoute(request.method, target.value, deps.config.forwardUnprotected);
  if (!route.ok) return refused(route);
  if (route.value.kind === "unprotected") {
    return forwarded(await serveUnprotected(exchange, target.value, route.value, deps));
  }
  if (request.method === "OPTIONS")
    return { kind: "answered", response: preflightResponse(request.headers, deps.config.corsOrigins) };
  return forwarded(
    await serveProtected(exchange, target.value, route.value, deps, (work) => ctx.waitUntil(work)),
  );
}

/** The gateway's own paths, on Hono: the proxied ones, which must be fast, never meet a router. */
async function answerOwn(exchange: Exchange, target: Target, gateway: Gateway, env: Env): Promise<Answer> {
  exchange.route = "/_gateway";
  let denial: Denial | null = null;
  const refuse = (because: Denial) => {
    denial = because;
    return new Response(null);
  };
  const request = new Request(`${target.protocol}://${target.host}${target.path}`, {
    method: exchange.request.method,
  });
  const response = await gatewayApi.fetch(request, { gateway, env, target, refuse });
  return denial === null ? { kind: "answered", response } : { kind: "refused", denial };
}

const refused = ({ denial }: { readonly denial: Denial }): Answer => ({ kind: "refused", denial });

const forwarded = (served: Result<Served>): Answer =>
  served.ok ? { kind: "forwarded", served: served.value } : refused(served);

function send(answer: Answer, exchange: Exchange, { record }: Gateway, ctx: ExecutionContext): Response {
  switch (answer.kind) {
    case "refused": {
      const response = denialResponse(answer.denial, {
        requestId: exchange.requestId,
        method: exchange.request.method,
        asProblem: isGatewayPath(exchange.target?.path ?? "") || wantsProblem(exchange.request.headers),
        baseUrl: exchange.target === null ? "" : `${exchange.target.protocol}://${exchange.target.host}`,
      });
      record(exchange.refused(answer.denial));
      return response;
    }
    case "answered": {
      const { response } = answer;
      record(
        exchange.ended({
          status: response.status,
          outcome: "answered",
          source: "gateway",
          bytesIn: 0,
          bytesOut: 0,
        }),
      );
      return response;
    }
    case "forwarded": {
      const { answer: relayed, bytesIn } = answer.served;
      const { status } = relayed.response;
      ctx.waitUntil(
        relayed.ended.then((end) =>
          record(exchange.ended({ status, ...endingOf(end), bytesIn: bytesIn(), bytesOut: end.bytes })),
        ),
      );
      return relayed.response;
    }
  }
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
    default:
      return { outcome: "origin_invalid", source: "upstream" };
  }
}
