/** Tenants and keys as operators see them: times in RFC 3339 UTC, nothing that could be used as a credential. */
import type { Scope } from "../entitlement/scopes.ts";
import type { SubscriptionStatus } from "../entitlement/subscription.ts";
import type { PolicyName } from "../quota/policy.ts";
import type { PolicyUsage } from "./leases.ts";
import type { Key, LastUse, Tenant } from "./registry.ts";
import type { TenantId } from "./tenant-id.ts";

export interface TenantView {
  readonly id: TenantId;
  readonly name: string;
  readonly status: Tenant["status"];
  readonly subscription: {
    readonly status: SubscriptionStatus;
    readonly tier: string | null;
    readonly currentPeriodEnd: string | null;
  };
  /** Null: as for everybody. */
  readonly limits: { readonly postsPerHour: number | null; readonly apiPerMinute: number | null };
  readonly shadowPolicies: readonly PolicyName[];
  /** Empty: under every name that is not another tenant's. */
  readonly allowedHosts: readonly string[];
  readonly hasOriginKey: boolean;
  readonly createdAt: string | null;
  readonly version: number;
}

export interface KeyView {
  readonly id: string;
  readonly kind: Key["kind"];
  readonly name: string;
  readonly hint: string;
  readonly state: "active" | "disabled" | "revoked" | "expired";
  readonly scopes: readonly Scope[];
  readonly allowedNetworks: readonly string[];
  /** Null: as for every key of the tenant. */
  readonly apiPerMinute: number | null;
  readonly createdAt: string | null;
  readonly expiresAt: string | null;
  readonly lastUsedAt: string | null;
  readonly lastUsedCountry: string | null;
  /** The secret before the current one, while it still works. */
  readonly predecessor: { readonly hint: string; readonly expiresAt: string | null } | null;
  readonly version: number;
}

export interface QuotaView {
  readonly limit: number;
  readonly remaining: number;
  readonly windowSeconds: number;
  readonly resetSeconds: number;
  /** What isolates hold, and may have used or not: at most this much more is left. */
  readonly outstanding: number;
  readonly inShadow: boolean;
  /** In the last window, and only because the policy was in shadow. */
  readonly passedInShadow: number;
}

export interface Usage {
  readonly posts: QuotaView;
  readonly keys: readonly {
    readonly id: string;
    readonly name: string;
    /** Null where its branch did not answer. */
    readonly api: QuotaView | null;
    readonly lastUsedAt: string | null;
  }[];
}

/** What the holder of a key may know. */
export interface Self {
  readonly tenant: Pick<TenantView, "id" | "name" | "subscription">;
  readonly key: KeyView;
}

export function viewOfUsage({ quota, outstanding, inShadow, passedInShadow }: PolicyUsage): QuotaView {
  const { policy, remaining, resetSeconds } = quota;
  const { limit, windowSeconds } = policy;
  return { limit, remaining, windowSeconds, resetSeconds, outstanding, inShadow, passedInShadow };
}

export const timeOf = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());
/** 0: of a version that did not note it. */
const creationOf = (ms: number): string | null => timeOf(ms === 0 ? null : ms);

export function viewOfTenant(tenant: Tenant): TenantView {
  const { subscription, limits } = tenant;
  return {
    id: tenant.id,
    name: tenant.name,
    status: tenant.status,
    subscription: {
      status: subscription.status,
      tier: tenant.tier,
      currentPeriodEnd: timeOf(subscription.currentPeriodEndMs),
    },
    limits: { postsPerHour: limits.postsPerHour ?? null, apiPerMinute: limits.apiPerMinute ?? null },
    shadowPolicies: tenant.shadowPolicies,
    allowedHosts: tenant.allowedHosts,
    hasOriginKey: tenant.sealedOriginKey !== null,
    createdAt: creationOf(tenant.createdAtMs),
    version: tenant.version,
  };
}

/** `secrets`: all of one key's, the current one first. */
export function viewOfKey(
  secrets: readonly [Key, ...Key[]],
  lastUse: LastUse | null,
  nowMs: number,
): KeyView {
  const [current, ...others] = secrets;
  const predecessor = others.find(({ state, expiresAtMs }) => {
    return state !== "revoked" && (expiresAtMs === null || nowMs < expiresAtMs);
  });
  const isExpired = current.expiresAtMs !== null && nowMs >= current.expiresAtMs;
  return {
    id: current.keyId,
    kind: current.kind,
    name: current.name,
    hint: current.hint,
    state: current.state === "active" && isExpired ? "expired" : current.state,
    scopes: current.scopes ?? ["*"],
    allowedNetworks: current.allowedNetworks,
    apiPerMinute: current.limits.apiPerMinute ?? null,
    createdAt: creationOf(current.createdAtMs),
    expiresAt: timeOf(current.expiresAtMs),
    lastUsedAt: timeOf(lastUse?.atMs ?? null),
    lastUsedCountry: lastUse?.country || null,
    predecessor: predecessor ? { hint: predecessor.hint, expiresAt: timeOf(predecessor.expiresAtMs) } : null,
    version: current.generation,
  };
}
