import type { TenantId } from "../authority/tenant-id.ts";

/** What was learnt about a credential from whoever knows: the origin, or an introspection endpoint (RFC 7662). */
export interface Answer {
  /** Null: nothing was learnt, which is never a no. */
  readonly active: boolean | null;
  /** Whether its organization has a subscription; null where that was not said. */
  readonly subscribed: boolean | null;
  /** Instant (ms) from which it is no longer active, by `exp`; null where none was given. */
  readonly expiresAtMs: number | null;
  /** The tenant it belongs to, where that was said. */
  readonly tenantId: TenantId | null;
}

export const UNKNOWN: Answer = { active: null, subscribed: null, expiresAtMs: null, tenantId: null };
export const INACTIVE: Answer = { ...UNKNOWN, active: false };
