import type { Directory } from "./authority/directory.ts";
import type { TenantAuthority } from "./authority/tenant-authority.ts";
import type { EventStore } from "./telemetry/event-batch.ts";

/** The platform's rate-limiting binding: per location, eventually consistent, answers only yes or no. */
export interface RateLimiter {
  limit(options: { key: string }): Promise<{ success: boolean }>;
}

/**
 * Everything the platform hands to the Worker. Only `config.ts` reads the strings.
 */
export interface Env {
  readonly CREDENTIALS: KVNamespace;
  readonly INTROSPECTION: KVNamespace;
  readonly TENANT_AUTHORITY: DurableObjectNamespace<TenantAuthority>;
  readonly DIRECTORY: DurableObjectNamespace<Directory>;
  /** A Worker to forward to in place of `ORIGIN_URL`'s host. */
  readonly ORIGIN?: Fetcher;
  /** Absent on plain workerd: no points are written. */
  readonly EVENTS?: AnalyticsEngineDataset;
  /** In its place on plain workerd. */
  readonly EVENT_STORE?: EventStore;
  /** Absent: no flood shield. */
  readonly FLOOD?: RateLimiter;

  readonly ORIGIN_URL?: string;
  readonly ORIGIN_TIMEOUT_MS?: string;
  readonly ORIGIN_ACCESS_CLIENT_ID?: string;
  readonly ORIGIN_ACCESS_CLIENT_SECRET?: string;
  readonly AUTHORITY_TIMEOUT_MS?: string;
  readonly API_LIMIT?: string;
  readonly SUBSCRIPTIONS?: string;
  readonly SUBSCRIPTION_GRACE_DAYS?: string;
  readonly INTROSPECTION_MODE?: string;
  readonly INTROSPECTION_URL?: string;
  readonly INTROSPECTION_CLIENT_ID?: string;
  readonly INTROSPECTION_CLIENT_SECRET?: string;
  readonly INTROSPECTION_TENANT_CLAIM?: string;
  readonly INTROSPECTION_JWKS_URL?: string;
  readonly INTROSPECTION_ISSUER?: string;
  readonly INTROSPECTION_AUDIENCE?: string;
  readonly INTROSPECTION_TTL?: string;
  readonly INTROSPECTION_STALE_IF_ERROR?: string;
  readonly INTROSPECTION_TIMEOUT_MS?: string;
  readonly LEARN_FROM_ORIGIN?: string;
  readonly UNPROTECTED?: string;
  readonly MAX_BODY_BYTES?: string;
  readonly CORS_ORIGINS?: string;
  readonly LEASE_TTL?: string;
  readonly LEASE_TTL_MAX?: string;
  readonly AUTHORITY_FAILURE?: string;
  readonly SHADOW_POLICIES?: string;
  readonly TRUSTED_PROXIES?: string;
  readonly LOG_REQUESTS?: string;
  readonly KEY_MAC_SECRET?: string;
  readonly KEY_MAC_SECRET_PREVIOUS?: string;
  readonly SEALING_KEY?: string;
  readonly SEALING_KEY_PREVIOUS?: string;
  readonly ADMIN_TOKEN?: string;
  readonly ACCESS_TEAM?: string;
  readonly ACCESS_AUD?: string;
}
