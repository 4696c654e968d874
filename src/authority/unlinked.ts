/** Tenants of one credential each, whose organization nobody has told the gateway: learnt, or introspected. */
import { Buffer } from "node:buffer";

/** Reserved: no operator's tenant begins with it. */
const PREFIX = "unlinked-";

/** `digest`: SHA-256 hex of the credential. */
export function unlinkedIdOf(digest: string): string {
  return PREFIX + Buffer.from(digest, "hex").toString("base64url");
}

export const isUnlinked = (tenantId: string): boolean => tenantId.startsWith(PREFIX);
