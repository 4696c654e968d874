/**
 * Host names that tenants are served under. A tenant's authority says which are its own; the directory sees to it that a
 * name is one tenant's, and mirrors who has it in KV `CREDENTIALS`, under `host:<name>`, for the requests of others.
 */
import { isTenantId, type TenantId } from "./tenant-id.ts";

const PREFIX = "host:";
const RECORD_VERSION = 1;

/** In KV, and in the directory. */
export const hostKey = (name: string): string => PREFIX + name;
export const isHostKey = (key: string): boolean => key.startsWith(PREFIX);
export const nameIn = (hostKey: string): string => hostKey.slice(PREFIX.length);

/** Null where it is nobody's any more. */
export function hostRecord(tenantId: TenantId | null): object {
  return { v: RECORD_VERSION, tenantId };
}

/** Throws where no version of the gateway wrote it. */
export function ownerInHostRecord(text: string): TenantId | null {
  const { v, tenantId } = (JSON.parse(text) ?? {}) as Record<string, unknown>;
  if (v === RECORD_VERSION && (tenantId === null || isTenantId(tenantId))) return tenantId;
  throw new Error("the record of a host name is corrupt");
}
