/** Request fields for the origin, pure: what a client may not say is dropped, then the gateway speaks. */
import type { Config } from "../config.ts";

/** Connection-level fields (RFC 9110 §7.6.1), and what could steer the origin around the gateway's decision. */
const DROPPED = new Set([
  "connection",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "expect",
  "host",
  "content-length",
  "forwarded",
  "via",
  "x-real-ip",
  "true-client-ip",
  "client-ip",
  "x-client-ip",
  "x-cluster-client-ip",
  "x-proxyuser-ip",
  "x-appengine-user-ip",
  "x-envoy-external-address",
  "fastly-client-ip",
  "forwarded-for",
  "x-forwarded",
  "x-host",
  "x-url-scheme",
  "front-end-https",
  "x-http-method",
  "x-http-method-override",
  "x-method-override",
  "x-request-id",
  "traceparent",
  "tracestate",
]);
const DROPPED_PREFIXES = ["proxy-", "x-forwarded-", "cf-", "x-original-", "x-rewrite-", "x-postiz-gateway-"];

export const PSEUDONYM = "postiz-gateway";

export interface Identity {
  /** What the origin is to see in `Authorization`; null leaves the client's own in place. */
  readonly authorization: string | null;
  readonly clientAddress: string | null;
  /** `http` or `https`, as the client connected. */
  readonly protocol: string;
  readonly host: string;
  readonly requestId: string;
  readonly traceparent: string;
  readonly tracestate: string | null;
  readonly access: Config["originAccess"];
}

export function originHeaders(incoming: Headers, identity: Identity): Headers {
  const headers = new Headers();
  const nominated = nominatedBy(incoming);
  for (const [name, value] of incoming) {
    if (!isDropped(name) && !nominated.has(name)) headers.append(name, value);
  }
  if (identity.authorization !== null) headers.set("Authorization", identity.authorization);
  if (identity.clientAddress !== null) headers.set("X-Forwarded-For", identity.clientAddress);
  headers.set("X-Forwarded-Proto", identity.protocol);
  headers.set("X-Forwarded-Host", identity.host);
  headers.set("X-Request-Id", identity.requestId);
  headers.set("traceparent", identity.traceparent);
  if (identity.tracestate !== null) headers.set("tracestate", identity.tracestate);
  setAccessToken(headers, identity.access);
  const via = incoming.get("Via");
  headers.set("Via", via === null ? `1.1 ${PSEUDONYM}` : `${via}, 1.1 ${PSEUDONYM}`);
  return headers;
}

/** The service token for an origin behind Cloudflare Access. */
export function setAccessToken(headers: Headers, access: Config["originAccess"]): void {
  if (access === null) return;
  headers.set("CF-Access-Client-Id", access.clientId);
  headers.set("CF-Access-Client-Secret", access.clientSecret);
}

/** RFC 9110 §7.6.1: whatever `Connection` names belongs to this connection only. */
export function nominatedBy(headers: Headers): ReadonlySet<string> {
  const connection = headers.get("Connection");
  if (connection === null) return NONE;
  return new Set(
    connection
      .toLowerCase()
      .split(",")
      .map((name) => name.trim())
      // Empty elements are allowed (RFC 9110 §5.6.1), and what is no name names nothing.
      .filter((name) => TOKEN.test(name)),
  );
}

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9a-z-]+$/;
const NONE: ReadonlySet<string> = new Set();

/** `X_Real_IP` is `X-Real-IP` to servers that follow CGI naming. */
function isDropped(name: string): boolean {
  const canonical = /[_.]/.test(name) ? name.replaceAll(/[_.]/g, "-") : name;
  return DROPPED.has(canonical) || DROPPED_PREFIXES.some((prefix) => canonical.startsWith(prefix));
}

/** RFC 9110 §7.6.3: a request whose `Via` already names this gateway is going in circles. */
export function hasPassedHere(headers: Headers): boolean {
  const via = headers.get("Via");
  if (via === null) return false;
  return via.split(",").some(
    (hop) =>
      hop
        .trim()
        .split(/[\s(]+/)[1]
        ?.toLowerCase() === PSEUDONYM,
  );
}
