/**
 * Which tenant: the one thing that keeps tenants apart. Whatever is stored or addressed for a tenant is so under a name
 * made of its id, and an id is made only here.
 */
import { Buffer } from "node:buffer";

declare const brand: unique symbol;

/** Of a form that has been checked. */
export type TenantId = string & { readonly [brand]: "TenantId" };

/** Of tenants and keys. */
export const IDENTIFIER = /^[A-Za-z0-9_-]{1,64}$/;
export const isIdentifier = (value: unknown): value is string =>
  typeof value === "string" && IDENTIFIER.test(value);
export const isTenantId = (value: unknown): value is TenantId => isIdentifier(value);

/** Throws where it is none: for what has been checked before, or written by a person. */
export function tenantIdOf(text: string): TenantId {
  if (isTenantId(text)) return text;
  throw new Error(`a tenant id is 1 to 64 of A-Z, a-z, 0-9, "_" and "-"; found ${JSON.stringify(text)}`);
}

/** Reserved: no operator's tenant begins with it. */
const UNLINKED = "unlinked-";

/**
 * The tenant of one credential whose organization nobody has told the gateway: learnt, or introspected.
 * `digest`: SHA-256 hex of the credential.
 */
export function unlinkedIdOf(digest: string): TenantId {
  return tenantIdOf(UNLINKED + Buffer.from(digest, "hex").toString("base64url"));
}

/** SHA-256 hex of the one credential of an unlinked tenant. */
export function digestIn(unlinkedId: TenantId): string {
  return Buffer.from(unlinkedId.slice(UNLINKED.length), "base64url").toString("hex");
}

export const isUnlinked = (tenantId: string): boolean => tenantId.startsWith(UNLINKED);
