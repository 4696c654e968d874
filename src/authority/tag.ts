import { createHash } from "node:crypto";
import { base62 } from "../base62.ts";
import type { TenantId } from "./tenant-id.ts";

const LENGTH = 16;

declare const brand: unique symbol;

/** Name of a tenant's authority object; also part of a gateway key, which so names its tenant's. */
export type Tag = string & { readonly [brand]: "Tag" };

/**
 * The first 95 bits of the SHA-256 of the tenant id, as 16 base62 digits, most significant first. Part of the key
 * format, so it must never change.
 */
export function tagOf(tenantId: TenantId): Tag {
  const digest = createHash("sha256").update(tenantId).digest("hex");
  return base62(BigInt(`0x${digest.slice(0, 24)}`) >> 1n, LENGTH) as Tag;
}

const TAG = new RegExp(`^[0-9A-Za-z]{${LENGTH}}$`);
export const isTag = (text: string): text is Tag => TAG.test(text);
