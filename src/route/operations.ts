/**
 * The public API of Postiz as data (gitroomhq/postiz-app, `/public/v1`, August 2026). A path that is not here is
 * forwarded all the same; the table adds what the gateway knows about the paths that are.
 */
import type { Scope } from "../entitlement/scopes.ts";
import type { PolicyName } from "../quota/policy.ts";

const MINUTE_MS = 60_000;

export interface Operation {
  /** `*` for a path or a method that Postiz does not document. */
  readonly method: string;
  /** Segments after `/public/v1`; those that begin with ":" are parameters. */
  readonly template: string;
  readonly policy: PolicyName;
  /** What of a gateway key's scopes it takes. */
  readonly scope: Scope;
  /** How long the origin may take to the response head, where that is longer than usual. */
  readonly slowMs: number;
}

const operation = (method: string, template: string, scope: Scope, slowMs = 0): Operation => ({
  method,
  template,
  policy: method === "POST" && template === "/posts" ? "posts" : "api",
  scope,
  slowMs,
});

/** A path or a method that Postiz does not document: nobody knows what it would change. */
export const unknownOperation = (method: string): Operation =>
  method === "GET" || method === "HEAD" ? UNKNOWN_READ : UNKNOWN_WRITE;
const UNKNOWN_READ = operation("*", "*", "read");
const UNKNOWN_WRITE = operation("*", "*", "*");

export const OPERATIONS: readonly Operation[] = [
  operation("POST", "/upload", "media:write"),
  operation("POST", "/upload-from-url", "media:write", 2 * MINUTE_MS),
  operation("GET", "/find-slot/:id", "read"),
  operation("GET", "/posts", "read"),
  operation("POST", "/posts", "posts:write"),
  operation("DELETE", "/posts/:id", "posts:write"),
  operation("DELETE", "/posts/group/:group", "posts:write"),
  operation("GET", "/posts/:id/missing", "read", 2 * MINUTE_MS),
  operation("PUT", "/posts/:id/settings", "posts:write"),
  operation("PUT", "/posts/:id/status", "posts:write"),
  operation("PUT", "/posts/:id/release-id", "posts:write"),
  operation("GET", "/is-connected", "read"),
  operation("GET", "/groups", "read"),
  operation("GET", "/integrations", "read"),
  operation("DELETE", "/integrations/:id", "channels:write"),
  operation("GET", "/social/:integration", "read", 2 * MINUTE_MS),
  operation("GET", "/integration-settings/:id", "read", 2 * MINUTE_MS),
  operation("POST", "/integration-trigger/:id", "channels:write", 2 * MINUTE_MS),
  operation("GET", "/analytics/:integration", "read", 2 * MINUTE_MS),
  operation("GET", "/analytics/post/:postId", "read", 2 * MINUTE_MS),
  operation("GET", "/notifications", "read"),
  operation("GET", "/users", "read"),
  operation("POST", "/generate-video", "media:write", 10 * MINUTE_MS),
  operation("POST", "/video/function", "media:write", 2 * MINUTE_MS),
];
