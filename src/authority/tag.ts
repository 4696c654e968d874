import { createHash } from "node:crypto";

const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const LENGTH = 16;

/**
 * Name of a tenant's authority object: the first 95 bits of the SHA-256 of the tenant id, as 16 base62 digits,
 * most significant first. Part of the key format, so it must never change.
 */
export function tagOf(tenantId: string): string {
  const digest = createHash("sha256").update(tenantId).digest("hex");
  let bits = BigInt(`0x${digest.slice(0, 24)}`) >> 1n;
  let tag = "";
  for (let i = 0; i < LENGTH; i++) {
    tag = (BASE62[Number(bits % 62n)] ?? "") + tag;
    bits /= 62n;
  }
  return tag;
}
