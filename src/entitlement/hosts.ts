/** Under which host names a tenant is served. */
import type { TenantId } from "../authority/tenant-id.ts";

/** Where a request came in. */
export interface Entrance {
  /** Without its port, in lower case. */
  readonly host: string;
  /** Whose the name is, as far as KV has heard; null where it is nobody's. */
  readonly hostOwner: TenantId | null;
}

/** `allowedHosts`: empty for every name that is not another tenant's. */
export function isServedUnder(
  tenantId: TenantId,
  allowedHosts: readonly string[],
  { host, hostOwner }: Entrance,
): boolean {
  if (allowedHosts.length > 0) return allowedHosts.includes(host);
  return hostOwner === null || hostOwner === tenantId;
}

/** The name in a Host field. */
export function hostNameIn(host: string): string {
  return host.toLowerCase().replace(/\.*(?::\d+)?$/, "");
}

/** As it is compared; null for what is no host name. Names of other alphabets become punycode. */
export function canonicalHostName(text: string): string | null {
  if (!/^[^\s/:@?#[\]\\%*]{1,253}$/.test(text) || !URL.canParse(`http://${text}`)) return null;
  const { hostname } = new URL(`http://${text}`);
  const name = hostname.replace(/\.$/, "");
  return /^(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*$/.test(
    name,
  )
    ? name
    : null;
}
