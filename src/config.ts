/**
 * The only reader of vars and secrets. Validated once per isolate into a frozen Config without optionals; the
 * first bad value makes the whole configuration invalid, because a half-configured gateway is worse than none.
 */
import type { Env } from "./env.ts";

export interface Config {
  /** Scheme, host and path prefix of the origin, without a trailing slash: `https://host/api`. */
  readonly originBase: string;
  /** Scheme and host only, for paths that are passed on untouched. */
  readonly originRoot: string;
  /** The origin's host as a `Host` field may spell it: without and with the scheme's default port. */
  readonly originHosts: ReadonlySet<string>;
  readonly originTimeoutMs: number;
  readonly authorityTimeoutMs: number;
  /** Service token for an origin behind Cloudflare Access. */
  readonly originAccess: { readonly clientId: string; readonly clientSecret: string } | null;
  /** Limit of policy `posts`, requests an hour and tenant. */
  readonly postsPerHour: number;
  readonly subscriptionsRequired: boolean;
  readonly subscriptionGraceDays: number;
  readonly forwardUnprotected: boolean;
  /** 0: no limit. */
  readonly maxBodyBytes: number;
  /** Serialized origins (RFC 6454 §6.2) whose scripts may call the API. */
  readonly corsOrigins: ReadonlySet<string>;
  readonly logEveryRequest: boolean;
}

/** A variable that can't be used: which, what it held (never of a secret), what it may hold. */
export interface ConfigProblem {
  readonly variable: string;
  readonly found: string;
  readonly allowed: string;
}

export type ConfigResult =
  | { readonly ok: true; readonly config: Config }
  | { readonly ok: false; readonly problem: ConfigProblem };

export function readConfig(env: Env): ConfigResult {
  try {
    return { ok: true, config: Object.freeze(parse(env)) };
  } catch (error) {
    if (error instanceof InvalidVariable) return { ok: false, problem: error.problem };
    throw error;
  }
}

class InvalidVariable extends Error {
  readonly problem: ConfigProblem;
  constructor(variable: string, found: string | undefined, allowed: string) {
    super(variable);
    this.problem = { variable, found: isSet(found) ? JSON.stringify(found) : "nothing", allowed };
  }
}

function parse(env: Env): Config {
  requireBindings(env);
  const origin = originUrl(env.ORIGIN_URL);
  return {
    originBase: origin.origin + origin.pathname.replace(/\/$/, ""),
    originRoot: origin.origin,
    originHosts: new Set([
      origin.host,
      `${origin.hostname}:${origin.port || DEFAULT_PORTS[origin.protocol]}`,
    ]),
    originTimeoutMs: integer("ORIGIN_TIMEOUT_MS", env.ORIGIN_TIMEOUT_MS, 30_000, 1, 3_600_000),
    authorityTimeoutMs: integer("AUTHORITY_TIMEOUT_MS", env.AUTHORITY_TIMEOUT_MS, 1_000, 1, 60_000),
    originAccess: originAccess(env),
    postsPerHour: integer("API_LIMIT", env.API_LIMIT, 30, 1, 1_000_000),
    subscriptionsRequired: oneOf("SUBSCRIPTIONS", env.SUBSCRIPTIONS, ["off", "required"]) === "required",
    subscriptionGraceDays: integer("SUBSCRIPTION_GRACE_DAYS", env.SUBSCRIPTION_GRACE_DAYS, 0, 0, 3_650),
    forwardUnprotected: oneOf("UNPROTECTED", env.UNPROTECTED, ["refuse", "forward"]) === "forward",
    maxBodyBytes: integer("MAX_BODY_BYTES", env.MAX_BODY_BYTES, 0, 0, Number.MAX_SAFE_INTEGER),
    corsOrigins: corsOrigins(env.CORS_ORIGINS),
    logEveryRequest: oneOf("LOG_REQUESTS", env.LOG_REQUESTS, ["refusals", "all"]) === "all",
  };
}

function requireBindings(env: Env): void {
  if (!env.CREDENTIALS) throw new InvalidVariable("CREDENTIALS", undefined, "a KV namespace binding");
  if (!env.TENANT_AUTHORITY) {
    throw new InvalidVariable(
      "TENANT_AUTHORITY",
      undefined,
      "a Durable Object binding of class TenantAuthority",
    );
  }
}

/** An empty variable means "not set": dashboards and shells cannot easily express the difference. */
const isSet = (value: string | undefined): value is string => value !== undefined && value !== "";

const DEFAULT_PORTS: Readonly<Record<string, string>> = { "http:": "80", "https:": "443" };

function originUrl(value: string | undefined): URL {
  const allowed = 'an absolute http(s) URL without query, fragment or user name, such as "https://host/api"';
  const url = isSet(value) && URL.canParse(value) ? new URL(value) : null;
  if (
    url === null ||
    !/^https?:$/.test(url.protocol) ||
    url.search ||
    url.hash ||
    url.username ||
    url.password
  ) {
    // A user name or password in the URL is a secret: say that it is there, not what it is.
    throw new InvalidVariable(
      "ORIGIN_URL",
      url?.username || url?.password ? "a URL with credentials" : value,
      allowed,
    );
  }
  if (/\/public(\/v1)?\/?$/i.test(url.pathname)) {
    throw new InvalidVariable(
      "ORIGIN_URL",
      value,
      `${allowed}: the base only, the gateway adds "/public/v1"`,
    );
  }
  return url;
}

function originAccess(env: Env): Config["originAccess"] {
  const clientId = env.ORIGIN_ACCESS_CLIENT_ID;
  const clientSecret = env.ORIGIN_ACCESS_CLIENT_SECRET;
  if (!isSet(clientId) && !isSet(clientSecret)) return null;
  const allowed =
    "both of ORIGIN_ACCESS_CLIENT_ID and ORIGIN_ACCESS_CLIENT_SECRET in visible ASCII, or neither";
  for (const [name, value] of Object.entries({
    ORIGIN_ACCESS_CLIENT_ID: clientId,
    ORIGIN_ACCESS_CLIENT_SECRET: clientSecret,
  })) {
    if (!isSet(value)) throw new InvalidVariable(name, undefined, allowed);
    if (!/^[\x21-\x7e]+$/.test(value)) {
      throw new InvalidVariable(name, `a value of ${value.length} characters`, allowed);
    }
  }
  return { clientId: clientId ?? "", clientSecret: clientSecret ?? "" };
}

function integer(
  name: string,
  value: string | undefined,
  byDefault: number,
  min: number,
  max: number,
): number {
  if (!isSet(value)) return byDefault;
  const parsed = /^\d{1,16}$/.test(value) ? Number(value) : Number.NaN;
  if (!(parsed >= min && parsed <= max)) {
    throw new InvalidVariable(name, value, `a whole number from ${min} to ${max}`);
  }
  return parsed;
}

/** The first of `allowed` is the default. */
function oneOf<T extends string>(name: string, value: string | undefined, allowed: readonly [T, ...T[]]): T {
  if (!isSet(value)) return allowed[0];
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined) throw new InvalidVariable(name, value, allowed.map((a) => `"${a}"`).join(" or "));
  return found;
}

function corsOrigins(value: string | undefined): ReadonlySet<string> {
  const origins = isSet(value) ? value.split(",").map((entry) => entry.trim()) : [];
  for (const origin of origins) {
    if (!URL.canParse(origin) || !/^https?:/.test(origin) || new URL(origin).origin !== origin) {
      const allowed = 'origins as browsers send them, separated by commas: "https://app.example.com"';
      throw new InvalidVariable("CORS_ORIGINS", origin, allowed);
    }
  }
  return new Set(origins);
}
