/**
 * Why a request did not get through: a closed set of reasons, each with the one status, source and public text
 * it has on the wire. `answer/denial-response.ts` is the only place that turns a Denial into a Response.
 */
import type { Quota } from "./quota/policy.ts";

/** Who caused it. */
export type Source = "client" | "gateway" | "upstream";

interface DenialSpec {
  readonly status: number;
  readonly source: Source;
  /** One sentence for people, safe to show to anyone. */
  readonly message: string;
  /** Proxy error type, RFC 9209 §2.3. */
  readonly proxyError: string;
}

const client = (status: number, message: string): DenialSpec => ({
  status,
  source: "client",
  message,
  proxyError: status === 401 || status === 403 ? "http_request_denied" : "http_request_error",
});

const gateway = (status: number, message: string, proxyError = "proxy_internal_error"): DenialSpec => ({
  status,
  source: "gateway",
  message,
  proxyError,
});

const upstream = (status: number, message: string, proxyError: string): DenialSpec => ({
  status,
  source: "upstream",
  message,
  proxyError,
});

const SPECS = {
  path_ambiguous: client(400, "The request path could be read in more than one way"),
  request_malformed: client(400, "The request is malformed"),
  credential_missing: client(401, "No credential was sent"),
  credential_malformed: client(401, "The credential is malformed"),
  key_unknown: client(401, "The API key is not known"),
  key_revoked: client(401, "The API key was revoked"),
  key_expired: client(401, "The API key has expired"),
  key_disabled: client(401, "The API key is disabled"),
  host_not_allowed: client(401, "The credential may not be used under this host name"),
  token_inactive: client(401, "The OAuth token is not active"),
  subscription_inactive: client(401, "The organization has no active subscription"),
  scope_insufficient: client(403, "The key's scopes do not cover this operation"),
  network_not_allowed: client(403, "The key may not be used from this network"),
  path_unknown: client(404, "There is nothing at this path"),
  method_not_allowed: client(405, "The method is not allowed here"),
  body_too_large: client(413, "The request body is too large"),
  rate_limited: client(429, "The rate limit is exhausted"),
  flood: client(429, "Too many failed credentials came from this network"),
  internal: gateway(500, "The gateway failed"),
  origin_unreachable: upstream(
    502,
    "The origin could not be reached or closed the connection",
    "destination_unavailable",
  ),
  origin_invalid: upstream(
    502,
    "The origin's answer was cut short or could not be used",
    "http_protocol_error",
  ),
  authority_unavailable: gateway(503, "The tenant's authority did not answer"),
  credentials_unavailable: gateway(503, "The credential store did not answer"),
  introspection_unavailable: gateway(503, "Whether the credential is active could not be found out"),
  origin_key_missing: gateway(503, "The tenant's own Postiz key has not been given to the gateway"),
  origin_key_rejected: upstream(503, "Postiz does not accept the tenant's own key", "http_request_denied"),
  config_invalid: gateway(503, "The gateway's configuration is not valid", "proxy_configuration_error"),
  origin_timeout: upstream(504, "The origin did not answer in time", "http_response_timeout"),
  loop_detected: gateway(508, "The request has passed this gateway before", "proxy_loop_detected"),
} as const satisfies Record<string, DenialSpec>;

export type DenialReason = keyof typeof SPECS;

export const DENIAL_SPECS: Readonly<Record<DenialReason, DenialSpec>> = SPECS;

export interface Denial {
  readonly reason: DenialReason;
  /** What was wrong, what was found, what is allowed. Never holds a credential. */
  readonly detail: string;
  /** True where the caller presented an OAuth token: Postiz words those refusals differently. */
  readonly aboutToken?: boolean;
  /** What the operation would have taken, on 403 for scopes. */
  readonly scope?: string;
  /** Seconds until it makes sense to try again. */
  readonly retryAfterSeconds?: number;
  /** State of the policy that refused. */
  readonly quota?: Quota;
  /** Methods allowed here, on 405. */
  readonly allow?: readonly string[];
  /** Whose credential was refused, where that is known; for the event only. */
  readonly owner?: { readonly tenantId: string; readonly keyId: string };
}

export type Result<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly denial: Denial };

export function pass<T>(value: T): Result<T> {
  return { ok: true, value };
}

export function deny(
  reason: DenialReason,
  detail: string,
  more?: Omit<Denial, "reason" | "detail">,
): { readonly ok: false; readonly denial: Denial } {
  return { ok: false, denial: { reason, detail, ...more } };
}
