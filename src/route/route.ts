/**
 * Target → Route: where a request goes, decided on the canonical path alone.
 *
 * Postiz (Express) matches paths without regard to case but throttles by a case-sensitive test, so
 * `POST /public/V1/posts` is un-throttled there. Known paths are therefore forwarded in their canonical spelling.
 */
import { deny, pass, type Result } from "../denial.ts";
import type { Target } from "./canonical.ts";
import { OPERATIONS, type Operation, unknownOperation } from "./operations.ts";

export interface ProtectedRoute {
  readonly kind: "protected";
  /** Below the origin's base: `/public/v1/…`, canonical. */
  readonly path: string;
  readonly query: string;
  readonly operation: Operation;
}

/** A path outside the public API, passed on as it came for those who front the whole host. */
export interface UnprotectedRoute {
  readonly kind: "unprotected";
  readonly path: string;
  readonly query: string;
}

export type Route = ProtectedRoute | UnprotectedRoute;

const API = "/public/v1";
const PROTECTED = /^(?:\/api)?\/public\/v1(?=\/|$)/i;

/** Reserved for the gateway itself: never forwarded. */
export function isGatewayPath(path: string): boolean {
  return path === "/_gateway" || path.startsWith("/_gateway/");
}

export function resolveRoute(method: string, target: Target, forwardUnprotected: boolean): Result<Route> {
  if (method === "TRACE") {
    return deny("method_not_allowed", "TRACE would echo credentials and is never forwarded", {
      allow: ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
    });
  }
  const prefix = PROTECTED.exec(target.path)?.[0];
  if (prefix !== undefined) {
    const { path, operation } = match(method, target.path.slice(prefix.length));
    return pass({ kind: "protected", path: API + path, query: target.query, operation });
  }
  // Below whatever prefix the origin has, this is the protected API: never a way around.
  if (forwardUnprotected && !/\/public\/v1(?:\/|$)/i.test(target.path))
    return pass({ kind: "unprotected", path: target.rawPath, query: target.query });
  const detail = forwardUnprotected
    ? "The public API is served below /public/v1 and /api/public/v1 only"
    : "Only /public/v1/… and /api/public/v1/… are served here";
  return deny("path_unknown", detail);
}

interface Pattern {
  readonly segments: readonly string[];
  readonly byMethod: ReadonlyMap<string, Operation>;
  readonly template: string;
}

/** Patterns by their number of segments; those with fewer parameters first, so that literals win. */
const PATTERNS: ReadonlyMap<number, readonly Pattern[]> = index(OPERATIONS);

function index(operations: readonly Operation[]): Map<number, Pattern[]> {
  const byTemplate = Map.groupBy(operations, (operation) => operation.template);
  const patterns = [...byTemplate].map(([template, known]) => ({
    segments: template.slice(1).split("/"),
    byMethod: new Map(known.map((operation) => [operation.method, operation])),
    template,
  }));
  patterns.sort((a, b) => parameters(a) - parameters(b));
  return Map.groupBy(patterns, (pattern) => pattern.segments.length);
}

function parameters(pattern: Pattern): number {
  return pattern.segments.filter((segment) => segment.startsWith(":")).length;
}

/**
 * HEAD is GET without a body, and counts the same (RFC 9110 §9.3.2; Postiz authenticates it like GET). The method
 * helps to tell paths apart: `PUT /posts/GROUP/settings` is about a post called GROUP.
 */
function match(method: string, path: string): { path: string; operation: Operation } {
  const segments = path.slice(1).split("/");
  const asked = method === "HEAD" ? "GET" : method;
  const fitting = (PATTERNS.get(segments.length) ?? []).filter((pattern) => fits(pattern, segments));
  const pattern = fitting.find(({ byMethod }) => byMethod.has(asked)) ?? fitting[0];
  if (pattern === undefined) return { path, operation: unknownOperation(asked) };
  const canonical = pattern.segments.map((known, i) => (known.startsWith(":") ? segments[i] : known));
  const known = pattern.byMethod.get(asked);
  const { template } = pattern;
  return { path: `/${canonical.join("/")}`, operation: known ?? { ...unknownOperation(asked), template } };
}

function fits({ segments: known }: Pattern, segments: readonly string[]): boolean {
  return known.every((segment, i) => segment.startsWith(":") || segment === segments[i]?.toLowerCase());
}
