import type { Arrival } from "./log.ts";

/** The bindings, all text. Lists are comma-separated. */
export interface OriginEnv {
  /** Raw credentials Postiz would know; `*` stands for every well-formed one. */
  readonly ACCEPTED_CREDENTIALS?: string;
  /** Credentials Postiz knows, of organizations without a subscription. */
  readonly UNSUBSCRIBED_CREDENTIALS?: string;
  /** How many `POST /posts` an hour a credential may make; absent: no throttle. */
  readonly THROTTLE_POSTS?: string;
}

/** One authenticated request to a known route. */
export interface Call {
  readonly request: Request;
  readonly arrival: Arrival;
  readonly params: readonly string[];
  readonly query: URLSearchParams;
  readonly credential: string;
  /** The parsed body of an `application/json` request; otherwise undefined, and the stream is unread. */
  readonly body: unknown;
}

export type Handler = (call: Call) => Response | Promise<Response>;

export interface Route {
  readonly method: string;
  readonly pattern: RegExp;
  readonly handle: Handler;
}

interface FoundRoute {
  readonly handle: Handler;
  readonly params: readonly string[];
}

export interface Target {
  readonly path: string;
  readonly query: string;
}

/**
 * Cuts the URL up as text. `new URL` would resolve `/../`, and Express routes what is on the wire: a path
 * that a gateway failed to canonicalise must be a 404 here, not a success.
 */
export function splitUrl(url: string): Target {
  const pathStart = url.indexOf("/", url.indexOf("://") + 3);
  if (pathStart === -1) return { path: "/", query: "" };
  const queryStart = url.indexOf("?", pathStart);
  if (queryStart === -1) return { path: url.slice(pathStart), query: "" };
  return { path: url.slice(pathStart, queryStart), query: url.slice(queryStart + 1) };
}

/** `path` is below `/public/v1`; `:name` matches one segment; method `*` is any. */
export function route(method: string, path: string, handle: Handler): Route {
  const segments = path.replaceAll(/:[a-z]+/g, "([^/]+)");
  // As Express by default: case does not matter, one trailing slash is allowed.
  return { method, pattern: new RegExp(`^/public/v1${segments}/?$`, "i"), handle };
}

export function findRoute(routes: readonly Route[], method: string, path: string): FoundRoute | undefined {
  // Express answers HEAD with the GET handler; the runtime leaves the body out.
  const wanted = method === "HEAD" ? "GET" : method;
  for (const { method: own, pattern, handle } of routes) {
    const match = own === wanted || own === "*" ? pattern.exec(path) : null;
    if (match) return { handle, params: match.slice(1) };
  }
  return undefined;
}
