import { createHash } from "node:crypto";
import { base62 } from "../base62.ts";

const LENGTH = 16;

/**
 * Name of a tenant's authority object: the first 95 bits of the SHA-256 of the tenant id, as 16 base62 digits,
 * most significant first. Part of the key format, so it must never change.
 */
export function tagOf(tenantId: string): string {
  const digest = createHash("sha256").update(tenantId).digest("hex");
  return base62(BigInt(`0x${digest.slice(0, 24)}`) >> 1n, LENGTH);
}
