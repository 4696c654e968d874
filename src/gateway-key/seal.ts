/**
 * A tenant's Postiz key, kept sealed: AES-256-GCM, with the tenant's id as additional data, so that what was sealed for
 * one tenant opens for no other. `<name of the sealing key>.<nonce>.<ciphertext and tag>`, in base64url.
 */

import { Buffer } from "node:buffer";
import { createCipheriv, createDecipheriv, createHash, randomBytes } from "node:crypto";
import type { TenantId } from "../authority/tenant-id.ts";

/** `SEALING_KEY` and the one before it, 32 bytes each. */
export interface SealingKeys {
  readonly current: Uint8Array;
  readonly previous: Uint8Array | null;
}

const NONCE_BYTES = 12;
const TAG_BYTES = 16;

export function seal(secret: string, tenantId: TenantId, { current }: SealingKeys): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv("aes-256-gcm", current, nonce).setAAD(Buffer.from(tenantId));
  const sealed = Buffer.concat([cipher.update(secret, "utf8"), cipher.final(), cipher.getAuthTag()]);
  return [nameOf(current), nonce.toString("base64url"), sealed.toString("base64url")].join(".");
}

/** Null where no key that is known opens it for this tenant. */
export function unseal(sealed: string, tenantId: TenantId, keys: SealingKeys): string | null {
  const [name, nonce = "", text = ""] = sealed.split(".");
  const key = [keys.current, keys.previous].find((each) => each !== null && nameOf(each) === name);
  if (!key) return null;
  const bytes = Buffer.from(text, "base64url");
  try {
    const decipher = createDecipheriv("aes-256-gcm", key, Buffer.from(nonce, "base64url"))
      .setAAD(Buffer.from(tenantId))
      .setAuthTag(bytes.subarray(-TAG_BYTES));
    return Buffer.concat([decipher.update(bytes.subarray(0, -TAG_BYTES)), decipher.final()]).toString("utf8");
  } catch {
    return null;
  }
}

/** Whether it is to be sealed anew, under the current key. */
export function isSealedUnder(sealed: string, key: Uint8Array): boolean {
  return sealed.startsWith(`${nameOf(key)}.`);
}

function nameOf(key: Uint8Array): string {
  return createHash("sha256").update("postiz-gateway sealing key").update(key).digest("hex").slice(0, 8);
}
