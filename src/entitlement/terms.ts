/** What a key may be used for, wherever that is decided: by its tenant's authority, or by an isolate that holds a lease. */
import type { TenantId } from "../authority/tenant-id.ts";
import { type Entrance, isServedUnder } from "./hosts.ts";
import { isAllowedFrom } from "./networks.ts";
import { allows, type Scope } from "./scopes.ts";

export interface Terms {
  /** Null: everything. */
  readonly scopes: readonly Scope[] | null;
  /** In CIDR notation; empty: from everywhere. */
  readonly allowedNetworks: readonly string[];
  /** Empty: under every name that is not another tenant's. */
  readonly allowedHosts: readonly string[];
}

/** What of a request they bear on. */
export interface Use {
  readonly scope: Scope;
  readonly clientAddress: string | null;
  /** Null where that is not asked about. */
  readonly entrance: Entrance | null;
}

/** Why the terms do not cover it; null where they do. */
export function beyond(
  terms: Terms,
  tenantId: TenantId,
  { scope, clientAddress, entrance }: Use,
): "host_not_allowed" | "network_not_allowed" | "scope_insufficient" | null {
  if (entrance !== null && !isServedUnder(tenantId, terms.allowedHosts, entrance)) return "host_not_allowed";
  if (!isAllowedFrom(terms.allowedNetworks, clientAddress)) return "network_not_allowed";
  return allows(terms.scopes, scope) ? null : "scope_insufficient";
}
