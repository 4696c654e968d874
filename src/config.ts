/**
 * The only reader of vars and secrets. Validated once per isolate into a frozen Config without optionals; the
 * first bad value makes the whole configuration invalid, because a half-configured gateway is worse than none.
 */
import ipaddr from "ipaddr.js";
import {
  aes256Key,
  type ConfigProblem,
  entriesOf,
  httpUrl,
  InvalidVariable,
  integer,
  longSecret,
  oneOf,
  quoted,
  someOf,
  textOf,
  type Variable,
  visibleAscii,
} from "./config-values.ts";
import type { Env } from "./env.ts";
import type { MacSecrets } from "./gateway-key/format.ts";
import type { SealingKeys } from "./gateway-key/seal.ts";
import { POLICY_NAMES, type Shadowable } from "./quota/policy.ts";
import type { Networks } from "./upstream/client-address.ts";

export interface Config {
  /** Scheme, host and path prefix of the origin, without a trailing slash: `https://host/api`. */
  readonly originBase: string;
  /** Scheme and host only, for paths that are passed on untouched. */
  readonly originRoot: string;
  /** The origin's host as a `Host` field may spell it: without and with the scheme's default port. */
  readonly originHosts: ReadonlySet<string>;
  readonly originTimeoutMs: number;
  readonly authorityTimeoutMs: number;
  /** How long an isolate may decide for a tenant without asking; 0: never. And how long where there are many asks. */
  readonly leaseTtlMs: number;
  readonly leaseTtlMaxMs: number;
  /** What has been granted goes on for a while where the authority can't be asked. */
  readonly degradesWithoutAuthority: boolean;
  /** Service token for an origin behind Cloudflare Access. */
  readonly originAccess: { readonly clientId: string; readonly clientSecret: string } | null;
  /** Limit of policy `posts`, requests an hour and tenant. */
  readonly postsPerHour: number;
  /** For every tenant; a tenant may have more of them. */
  readonly shadowPolicies: ReadonlySet<Shadowable>;
  readonly subscriptionsRequired: boolean;
  readonly subscriptionGraceDays: number;
  /** Null: tokens are tried at the origin. */
  readonly rfc7662: Rfc7662Config | null;
  /** How long an answer about a token may be used, from when it was obtained. */
  readonly introspectionTtlMs: number;
  /** How long it may be used where no new one can be had. */
  readonly introspectionStaleIfErrorMs: number;
  readonly introspectionTimeoutMs: number;
  /** An unknown API key is tried at the origin, and what it says remembered. */
  readonly learnFromOrigin: boolean;
  readonly forwardUnprotected: boolean;
  /** 0: no limit. */
  readonly maxBodyBytes: number;
  /** Serialized origins (RFC 6454 §6.2) whose scripts may call the API. */
  readonly corsOrigins: ReadonlySet<string>;
  /** Proxies in front of the gateway on plain workerd; on Cloudflare there are none. */
  readonly trustedProxies: Networks;
  readonly logEveryRequest: boolean;
  /** Null: gateway keys can't be made, and those that exist are looked up in KV. */
  readonly macSecrets: MacSecrets | null;
  /** Null: tenants' own Postiz keys can't be kept, nor used. */
  readonly sealingKeys: SealingKeys | null;
  /** Who may call the admin API; null: nobody, it is not there. */
  readonly admin: AdminConfig | null;
}

export interface AdminConfig {
  readonly token: string | null;
  /** Cloudflare Access in front of the admin API: the team's URL, and the application's audience. */
  readonly access: { readonly team: string; readonly audience: string } | null;
}

export interface Rfc7662Config {
  readonly url: string;
  readonly clientId: string;
  readonly clientSecret: string;
  /** Name of the claim that holds the tenant's id. */
  readonly tenantClaim: string;
  /** Null: answers are plain JSON. Otherwise only signed ones count (RFC 9701). */
  readonly signed: { readonly jwksUrl: string; readonly issuer: string; readonly audience: string } | null;
}

export type ConfigResult =
  | { readonly ok: true; readonly config: Config; readonly unknown: readonly string[] }
  | { readonly ok: false; readonly problem: ConfigProblem };

export function readConfig(env: Env): ConfigResult {
  try {
    return { ok: true, config: Object.freeze(parse(env)), unknown: unknownVariables(env) };
  } catch (error) {
    if (error instanceof InvalidVariable) return { ok: false, problem: error.problem };
    throw error;
  }
}

/** Every variable and secret there is. */
export const VARIABLES = Object.keys({
  ORIGIN_URL: true,
  ORIGIN_TIMEOUT_MS: true,
  ORIGIN_ACCESS_CLIENT_ID: true,
  ORIGIN_ACCESS_CLIENT_SECRET: true,
  AUTHORITY_TIMEOUT_MS: true,
  API_LIMIT: true,
  SUBSCRIPTIONS: true,
  SUBSCRIPTION_GRACE_DAYS: true,
  INTROSPECTION_MODE: true,
  INTROSPECTION_URL: true,
  INTROSPECTION_CLIENT_ID: true,
  INTROSPECTION_CLIENT_SECRET: true,
  INTROSPECTION_TENANT_CLAIM: true,
  INTROSPECTION_JWKS_URL: true,
  INTROSPECTION_ISSUER: true,
  INTROSPECTION_AUDIENCE: true,
  INTROSPECTION_TTL: true,
  INTROSPECTION_STALE_IF_ERROR: true,
  INTROSPECTION_TIMEOUT_MS: true,
  LEARN_FROM_ORIGIN: true,
  UNPROTECTED: true,
  MAX_BODY_BYTES: true,
  CORS_ORIGINS: true,
  LEASE_TTL: true,
  LEASE_TTL_MAX: true,
  AUTHORITY_FAILURE: true,
  SHADOW_POLICIES: true,
  TRUSTED_PROXIES: true,
  LOG_REQUESTS: true,
  KEY_MAC_SECRET: true,
  KEY_MAC_SECRET_PREVIOUS: true,
  SEALING_KEY: true,
  SEALING_KEY_PREVIOUS: true,
  ADMIN_TOKEN: true,
  ACCESS_TEAM: true,
  ACCESS_AUD: true,
} satisfies Record<Variable, true>);

/**
 * Texts under a name that means nothing here, most likely a misspelt one. No reason to refuse service: a later
 * version may have known them, before a rollback.
 */
function unknownVariables(env: Env): string[] {
  return Object.entries(env)
    .filter(([name, value]) => /^(string|number|boolean)$/.test(typeof value) && !VARIABLES.includes(name))
    .map(([name]) => name);
}

function parse(env: Env): Config {
  requireBindings(env);
  const origin = originUrl(env);
  const defaultPort = origin.protocol === "https:" ? "443" : "80";
  return {
    originBase: origin.origin + origin.pathname.replace(/\/+$/, ""),
    originRoot: origin.origin,
    originHosts: new Set([origin.host, `${origin.hostname}:${origin.port || defaultPort}`]),
    originTimeoutMs: integer(env, "ORIGIN_TIMEOUT_MS", { byDefault: 30_000, min: 1, max: 3_600_000 }),
    authorityTimeoutMs: integer(env, "AUTHORITY_TIMEOUT_MS", { byDefault: 1_000, min: 1, max: 60_000 }),
    ...leases(env),
    degradesWithoutAuthority: oneOf(env, "AUTHORITY_FAILURE", ["degrade", "deny"]) === "degrade",
    originAccess: originAccess(env),
    postsPerHour: integer(env, "API_LIMIT", { byDefault: 30, min: 1, max: 1_000_000 }),
    shadowPolicies: new Set(someOf(env, "SHADOW_POLICIES", [...POLICY_NAMES, "flood"])),
    subscriptionsRequired: oneOf(env, "SUBSCRIPTIONS", ["off", "required"]) === "required",
    subscriptionGraceDays: integer(env, "SUBSCRIPTION_GRACE_DAYS", { byDefault: 0, min: 0, max: 3_650 }),
    rfc7662: rfc7662(env),
    introspectionTtlMs: 1_000 * integer(env, "INTROSPECTION_TTL", { byDefault: 60, min: 1, max: 3_600 }),
    introspectionStaleIfErrorMs:
      1_000 * integer(env, "INTROSPECTION_STALE_IF_ERROR", { byDefault: 600, min: 0, max: 86_400 }),
    introspectionTimeoutMs: integer(env, "INTROSPECTION_TIMEOUT_MS", {
      byDefault: 2_000,
      min: 1,
      max: 30_000,
    }),
    learnFromOrigin: oneOf(env, "LEARN_FROM_ORIGIN", ["false", "true"]) === "true",
    forwardUnprotected: oneOf(env, "UNPROTECTED", ["refuse", "forward"]) === "forward",
    maxBodyBytes: integer(env, "MAX_BODY_BYTES", { byDefault: 0, min: 0, max: Number.MAX_SAFE_INTEGER }),
    corsOrigins: corsOrigins(env),
    trustedProxies: trustedProxies(env),
    logEveryRequest: oneOf(env, "LOG_REQUESTS", ["refusals", "all"]) === "all",
    macSecrets: rotating(longSecret, env, "KEY_MAC_SECRET"),
    sealingKeys: rotating(aes256Key, env, "SEALING_KEY"),
    admin: admin(env),
  };
}

function requireBindings(env: Env): void {
  for (const name of ["CREDENTIALS", "INTROSPECTION"] as const) {
    if (!env[name]) throw new InvalidVariable(name, "nothing", "a KV namespace binding");
  }
  for (const [name, className] of [
    ["TENANT_AUTHORITY", "TenantAuthority"],
    ["DIRECTORY", "Directory"],
  ] as const) {
    if (!env[name])
      throw new InvalidVariable(name, "nothing", `a Durable Object binding of class ${className}`);
  }
}

function originUrl(env: Env): URL {
  const allowed = 'an absolute http(s) URL without query, fragment or user name, such as "https://host/api"';
  const text = textOf(env, "ORIGIN_URL");
  if (text === null) throw new InvalidVariable("ORIGIN_URL", "nothing", allowed);
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || /[?#]/.test(text) || url.username || url.password) {
    // A user name or a password is a secret: say that there may be one, not what it is.
    const found = text.includes("@") ? 'something with an "@"' : quoted(text);
    throw new InvalidVariable("ORIGIN_URL", found, allowed);
  }
  if (/\/public(\/v1)?\/*$/i.test(url.pathname)) {
    const base = `${allowed}: the base only, the gateway adds "/public/v1"`;
    throw new InvalidVariable("ORIGIN_URL", quoted(text), base);
  }
  return url;
}

function originAccess(env: Env): Config["originAccess"] {
  const clientId = visibleAscii(env, "ORIGIN_ACCESS_CLIENT_ID");
  const clientSecret = visibleAscii(env, "ORIGIN_ACCESS_CLIENT_SECRET");
  if (clientId !== null && clientSecret !== null) return { clientId, clientSecret };
  if (clientId === null && clientSecret === null) return null;
  const missing = clientId === null ? "ORIGIN_ACCESS_CLIENT_ID" : "ORIGIN_ACCESS_CLIENT_SECRET";
  throw new InvalidVariable(missing, "nothing", "both halves of the service token, or neither");
}

/** A secret, and the one before it, which may be kept for what was made under it. */
function rotating<T>(
  read: (env: Env, name: Variable) => T | null,
  env: Env,
  name: "KEY_MAC_SECRET" | "SEALING_KEY",
): { readonly current: T; readonly previous: T | null } | null {
  const current = read(env, name);
  const previous = read(env, `${name}_PREVIOUS`);
  if (current !== null) return { current, previous };
  if (previous === null) return null;
  throw new InvalidVariable(name, "nothing", `a value, with ${name}_PREVIOUS set`);
}

function admin(env: Env): AdminConfig | null {
  const token = longSecret(env, "ADMIN_TOKEN");
  const team = httpUrl(env, "ACCESS_TEAM");
  const audience = visibleAscii(env, "ACCESS_AUD");
  if ((team === null) !== (audience === null)) {
    const missing = team === null ? "ACCESS_TEAM" : "ACCESS_AUD";
    throw new InvalidVariable(missing, "nothing", "both of ACCESS_TEAM and ACCESS_AUD, or neither");
  }
  const access = team === null || audience === null ? null : { team: new URL(team).origin, audience };
  return token === null && access === null ? null : { token, access };
}

/** Null in mode `probe`. */
function rfc7662(env: Env): Rfc7662Config | null {
  const mode = oneOf(env, "INTROSPECTION_MODE", ["probe", "rfc7662"]);
  const unused = textOf(env, "INTROSPECTION_URL");
  if (mode === "probe" && unused === null) return null;
  if (mode === "probe") {
    throw new InvalidVariable("INTROSPECTION_MODE", quoted(mode), '"rfc7662", or INTROSPECTION_URL not set');
  }
  const byMode = (name: Variable) =>
    new InvalidVariable(name, "nothing", 'text, with INTROSPECTION_MODE "rfc7662"');
  const required = (name: Variable, value: string | null): string => {
    if (value === null) throw byMode(name);
    return value;
  };
  const secret = "INTROSPECTION_CLIENT_SECRET";
  return {
    url: required("INTROSPECTION_URL", httpUrl(env, "INTROSPECTION_URL")),
    clientId: required("INTROSPECTION_CLIENT_ID", clientText(env, "INTROSPECTION_CLIENT_ID")),
    clientSecret: required(secret, clientText(env, secret)),
    tenantClaim: textOf(env, "INTROSPECTION_TENANT_CLAIM") ?? "organization_id",
    signed: signedAnswers(env),
  };
}

/** RFC 6749 appendix A.1 and A.2: visible ASCII and spaces. What was found is never said. */
function clientText(env: Env, name: Variable): string | null {
  const text = textOf(env, name);
  if (text === null || /^[\x20-\x7e]+$/.test(text)) return text;
  throw new InvalidVariable(
    name,
    `a value of ${text.length} characters`,
    "visible ASCII characters and spaces",
  );
}

function signedAnswers(env: Env): Rfc7662Config["signed"] {
  const jwksUrl = httpUrl(env, "INTROSPECTION_JWKS_URL");
  const issuer = textOf(env, "INTROSPECTION_ISSUER");
  const audience = textOf(env, "INTROSPECTION_AUDIENCE");
  if (jwksUrl !== null && issuer !== null && audience !== null) return { jwksUrl, issuer, audience };
  if (jwksUrl === null && issuer === null && audience === null) return null;
  const missing = Object.entries({
    INTROSPECTION_JWKS_URL: jwksUrl,
    INTROSPECTION_ISSUER: issuer,
    INTROSPECTION_AUDIENCE: audience,
  }).find(([, value]) => value === null);
  const allowed = "all three of INTROSPECTION_JWKS_URL, _ISSUER and _AUDIENCE, or none";
  throw new InvalidVariable(missing?.[0] ?? "", "nothing", allowed);
}

function leases(env: Env): Pick<Config, "leaseTtlMs" | "leaseTtlMaxMs"> {
  const ttl = integer(env, "LEASE_TTL", { byDefault: 5, min: 0, max: 300 });
  const max = integer(env, "LEASE_TTL_MAX", { byDefault: Math.max(30, ttl), min: ttl, max: 300 });
  return { leaseTtlMs: 1_000 * ttl, leaseTtlMaxMs: 1_000 * max };
}

function corsOrigins(env: Env): ReadonlySet<string> {
  const origins = entriesOf(env, "CORS_ORIGINS");
  for (const origin of origins) {
    if (!isSerializedOrigin(origin)) {
      const allowed = 'origins as browsers send them, separated by commas: "https://app.example.com"';
      throw new InvalidVariable("CORS_ORIGINS", quoted(origin), allowed);
    }
  }
  return new Set(origins);
}

function trustedProxies(env: Env): Networks {
  return entriesOf(env, "TRUSTED_PROXIES").map((entry) => {
    if (ipaddr.isValidCIDR(entry)) return ipaddr.parseCIDR(entry);
    if (ipaddr.isValid(entry)) {
      const address = ipaddr.process(entry);
      return [address, address.kind() === "ipv4" ? 32 : 128];
    }
    const allowed = 'addresses and networks, separated by commas: "127.0.0.1, 10.0.0.0/8, fd00::/8"';
    throw new InvalidVariable("TRUSTED_PROXIES", quoted(entry), allowed);
  });
}

/** As browsers write it (RFC 6454 §6.2): lower case, no default port, no path; and no wildcard, which none sends. */
function isSerializedOrigin(text: string): boolean {
  return /^https?:/.test(text) && !text.includes("*") && URL.canParse(text) && new URL(text).origin === text;
}
