/**
 * A stand-in for Postiz: a demo server for trying the gateway without one, and the oracle of the test suite.
 * It answers like Postiz where a gateway can tell the difference; it publishes nothing, keeps nothing
 * past its own life, and its log shows whatever it was sent, credentials included. Never for real keys.
 */
import { noContent, routeNotFound } from "./origin/answers.ts";
import { apiRoutes } from "./origin/api-routes.ts";
import { authenticate, unauthorized } from "./origin/auth.ts";
import { readJson } from "./origin/json-body.ts";
import { type Arrival, recordArrival, serveControl } from "./origin/log.ts";
import { findRoute, type OriginEnv, splitUrl } from "./origin/routing.ts";
import { testRoutes } from "./origin/test-routes.ts";
import { throttlePosts } from "./origin/throttle.ts";

const ROUTES = [...apiRoutes, ...testRoutes];

export default {
  async fetch(request, env) {
    const control = serveControl(request.method, splitUrl(request.url).path);
    return control ?? answer(request, env, recordArrival(request));
  },
} satisfies ExportedHandler<OriginEnv>;

/** Postiz's own order: a preflight, the body, the route, the credential, the throttle, then the work. */
async function answer(request: Request, env: OriginEnv, arrival: Arrival): Promise<Response> {
  if (request.method === "OPTIONS") return noContent();

  const body = await readJson(request, arrival);
  if (!body.ok) return body.refusal;

  const target = splitUrl(request.url);
  const route = findRoute(ROUTES, request.method, target.path);
  if (!route) return routeNotFound(request.method, target);

  const caller = authenticate(request.headers, env);
  if (!caller.ok) return unauthorized(caller.msg);

  const throttle = throttlePosts(request, env, caller.credential, Date.now());
  if (!throttle.ok) return throttle.refusal;

  const response = await route.handle({
    request,
    arrival,
    params: route.params,
    query: new URLSearchParams(target.query),
    credential: caller.credential,
    body: body.value,
  });
  for (const [name, value] of throttle.headers) response.headers.set(name, value);
  return response;
}
