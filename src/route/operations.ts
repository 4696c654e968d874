/**
 * The public API of Postiz as data (gitroomhq/postiz-app, `/public/v1`, August 2026). A path that is not here is
 * forwarded all the same; the table adds what the gateway knows about the paths that are.
 */
import type { PolicyName } from "../quota/policy.ts";

const MINUTE_MS = 60_000;

export interface Operation {
  /** `*` for a path or a method that Postiz does not document. */
  readonly method: string;
  /** Segments after `/public/v1`; those that begin with ":" are parameters. */
  readonly template: string;
  readonly policy: PolicyName;
  /** How long the origin may take to the response head, where that is longer than usual. */
  readonly slowMs: number;
}

const operation = (method: string, template: string, slowMs = 0): Operation => ({
  method,
  template,
  policy: method === "POST" && template === "/posts" ? "posts" : "api",
  slowMs,
});

export const UNKNOWN_OPERATION = operation("*", "*");

export const OPERATIONS: readonly Operation[] = [
  operation("POST", "/upload"),
  operation("POST", "/upload-from-url", 2 * MINUTE_MS),
  operation("GET", "/find-slot/:id"),
  operation("GET", "/posts"),
  operation("POST", "/posts"),
  operation("DELETE", "/posts/:id"),
  operation("DELETE", "/posts/group/:group"),
  operation("GET", "/posts/:id/missing", 2 * MINUTE_MS),
  operation("PUT", "/posts/:id/settings"),
  operation("PUT", "/posts/:id/status"),
  operation("PUT", "/posts/:id/release-id"),
  operation("GET", "/is-connected"),
  operation("GET", "/groups"),
  operation("GET", "/integrations"),
  operation("DELETE", "/integrations/:id"),
  operation("GET", "/social/:integration", 2 * MINUTE_MS),
  operation("GET", "/integration-settings/:id", 2 * MINUTE_MS),
  operation("POST", "/integration-trigger/:id", 2 * MINUTE_MS),
  operation("GET", "/analytics/:integration", 2 * MINUTE_MS),
  operation("GET", "/analytics/post/:postId", 2 * MINUTE_MS),
  operation("GET", "/notifications"),
  operation("GET", "/users"),
  operation("POST", "/generate-video", 10 * MINUTE_MS),
  operation("POST", "/video/function", 2 * MINUTE_MS),
];
