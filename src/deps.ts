/** Composition root: the only file that turns bindings into what the pipeline works with. */
import { AuthorityClient } from "./authority/client.ts";
import { SteadyClock } from "./clock.ts";
import type { Config } from "./config.ts";
import type { Env } from "./env.ts";
import { Inquiries } from "./introspection/inquiries.ts";
import { Introspector } from "./introspection/introspector.ts";
import { LeaseDesk } from "./lease/desk.ts";
import type { Authenticator } from "./principal/authenticate.ts";
import { CredentialIndex } from "./principal/credential-index.ts";
import { HostIndex } from "./principal/host-index.ts";
import { FloodShield } from "./quota/flood-shield.ts";
import type { Target } from "./route/canonical.ts";
import type { FetchOrigin } from "./upstream/forward.ts";

export interface Deps extends Authenticator {
  readonly authority: AuthorityClient;
  readonly config: Config;
  readonly fetchOrigin: FetchOrigin;
  /** Whether the request came in under the origin's own host: forwarding it would only bring it back. */
  readonly isOwnHost: (target: Target) => boolean;
}

/** `clock`: one for each isolate. */
export function compose(env: Env, config: Config, clock = new SteadyClock()): Deps {
  const nowMs = () => clock.nowMs();
  const { ORIGIN } = env;
  const { introspectionTimeoutMs, authorityTimeoutMs } = config;
  const authority = new AuthorityClient(env, authorityTimeoutMs, nowMs);
  const fetchOrigin: FetchOrigin =
    ORIGIN === undefined ? (url, init) => fetch(url, init) : (url, init) => ORIGIN.fetch(url, init);
  const introspector = new Introspector(config, fetchOrigin);
  return {
    config,
    credentials: new CredentialIndex(env.CREDENTIALS),
    lastAnswers: env.INTROSPECTION,
    authority,
    leases: new LeaseDesk(authority, config, clock),
    hosts: new HostIndex(env.CREDENTIALS, nowMs),
    inquiries: new Inquiries(introspector, authority, introspectionTimeoutMs, nowMs),
    flood: new FloodShield(env.FLOOD),
    floodInShadow: config.shadowPolicies.has("flood"),
    learns: config.learnFromOrigin,
    macSecrets: config.macSecrets,
    introspectionTimeoutMs,
    authorityTimeoutMs,
    fetchOrigin,
    // A service binding leads to its Worker whatever the host in the URL.
    isOwnHost: ({ host }) => ORIGIN === undefined && config.originHosts.has(host.toLowerCase()),
    nowMs,
  };
}
