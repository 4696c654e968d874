/** Every refusal there is, typed out as it is to be on the wire. */
import type { DenialContext } from "../../src/answer/denial-response.ts";
import type { Denial, DenialReason } from "../../src/denial.ts";
import type { Quota } from "../../src/quota/policy.ts";

export const REQUEST_ID = "2b0f6c1e-8a1d-4c57-9a35-0d4d0b7f5f10";
export const context: DenialContext = {
  requestId: REQUEST_ID,
  method: "GET",
  asProblem: false,
  baseUrl: "https://gateway.test",
};
export const DETAIL = 'What "went" wrong';

export const INVALID_KEY = '{"msg":"Invalid API key"}';
export const NO_SUBSCRIPTION = '{"msg":"No subscription found"}';
export const THROTTLED = '{"statusCode":429,"message":"ThrottlerException: Too Many Requests"}';
export const plain = (status: number, code: string): string =>
  `{"statusCode":${status},"message":"What \\"went\\" wrong","msg":"What \\"went\\" wrong","code":"${code}"}`;

const BEARER = 'Bearer realm="Postiz API"';
const INSUFFICIENT_SCOPE = 'Bearer realm="Postiz API", error="insufficient_scope", scope="posts:write"';
const INVALID_TOKEN_ERROR = `${BEARER}, error="invalid_token"`;

export interface OnTheWire {
  readonly status: number;
  readonly body: string;
  readonly proxyError: string;
  readonly challenge: string | null;
  readonly retryAfter: string | null;
}

const row = (
  status: number,
  body: string,
  proxyError: string,
  challenge: string | null = null,
): OnTheWire => ({
  status,
  body,
  proxyError,
  challenge,
  retryAfter: status === 429 || status === 503 ? "60" : null,
});
const refused = (challenge: string): OnTheWire => row(401, INVALID_KEY, "http_request_denied", challenge);

/** Every reason, typed out from the design; proxy error types from RFC 9209 §2.3. */
export const WIRE: Readonly<Record<DenialReason, OnTheWire>> = {
  path_ambiguous: row(400, plain(400, "path_ambiguous"), "http_request_error"),
  request_malformed: row(400, plain(400, "request_malformed"), "http_request_error"),
  credential_missing: refused(BEARER),
  credential_malformed: refused(INVALID_TOKEN_ERROR),
  key_unknown: refused(INVALID_TOKEN_ERROR),
  key_revoked: refused(INVALID_TOKEN_ERROR),
  key_expired: refused(INVALID_TOKEN_ERROR),
  key_disabled: refused(INVALID_TOKEN_ERROR),
  host_not_allowed: refused(INVALID_TOKEN_ERROR),
  token_inactive: row(401, '{"msg":"Invalid OAuth token"}', "http_request_denied", INVALID_TOKEN_ERROR),
  subscription_inactive: row(401, NO_SUBSCRIPTION, "http_request_denied", BEARER),
  scope_insufficient: row(403, plain(403, "scope_insufficient"), "http_request_denied", INSUFFICIENT_SCOPE),
  network_not_allowed: row(403, plain(403, "network_not_allowed"), "http_request_denied"),
  path_unknown: row(404, plain(404, "path_unknown"), "http_request_error"),
  method_not_allowed: row(405, plain(405, "method_not_allowed"), "http_request_error"),
  body_too_large: row(413, plain(413, "body_too_large"), "http_request_error"),
  rate_limited: row(429, THROTTLED, "http_request_error"),
  flood: row(429, plain(429, "flood"), "http_request_error"),
  internal: row(500, plain(500, "internal"), "proxy_internal_error"),
  origin_unreachable: row(502, plain(502, "origin_unreachable"), "destination_unavailable"),
  origin_invalid: row(502, plain(502, "origin_invalid"), "http_protocol_error"),
  authority_unavailable: row(503, plain(503, "authority_unavailable"), "proxy_internal_error"),
  credentials_unavailable: row(503, plain(503, "credentials_unavailable"), "proxy_internal_error"),
  introspection_unavailable: row(503, plain(503, "introspection_unavailable"), "proxy_internal_error"),
  origin_key_missing: row(503, plain(503, "origin_key_missing"), "proxy_internal_error"),
  origin_key_rejected: row(503, plain(503, "origin_key_rejected"), "http_request_denied"),
  config_invalid: row(503, plain(503, "config_invalid"), "proxy_configuration_error"),
  origin_timeout: row(504, plain(504, "origin_timeout"), "http_response_timeout"),
  loop_detected: row(508, plain(508, "loop_detected"), "proxy_loop_detected"),
};
/** A credential under another tenant's host name is one that nobody has. */
export const shownAs = (reason: DenialReason): DenialReason =>
  reason === "host_not_allowed" ? "key_unknown" : reason;

export const REASONS = Object.entries(WIRE) as [DenialReason, OnTheWire][];

export const quota = (name: "posts" | "api"): Quota => ({
  policy: { name, limit: 30, windowSeconds: 3_600 },
  remaining: 0,
  resetSeconds: 17,
});

/** A denial as the pipeline makes it. */
export function denialFor(reason: DenialReason): Denial {
  return {
    reason,
    detail: DETAIL,
    ...(reason === "token_inactive" && { aboutToken: true }),
    ...(reason === "scope_insufficient" && { scope: "posts:write" }),
    ...(reason === "rate_limited" && { quota: quota("posts") }),
  };
}
