import type { Target } from "./routing.ts";

/** What Express sends for `res.json()`, to the byte: gateways and clients compare the whole header. */
const JSON_TYPE = "application/json; charset=utf-8";

export function json(status: number, value: unknown, headers: Record<string, string> = {}): Response {
  return new Response(JSON.stringify(value), { status, headers: { "Content-Type": JSON_TYPE, ...headers } });
}

export function noContent(): Response {
  return new Response(null, { status: 204 });
}

/** Nest's body for its built-in exceptions. */
export function badRequest(message: string | readonly string[]): Response {
  return json(400, { message, error: "Bad Request", statusCode: 400 });
}

/** Nest's answer for a path or a method no controller has; given without asking for a credential. */
export function routeNotFound(method: string, { path, query }: Target): Response {
  const url = query === "" ? path : `${path}?${query}`;
  return json(404, { message: `Cannot ${method} ${url}`, error: "Not Found", statusCode: 404 });
}
