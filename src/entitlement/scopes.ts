/**
 * What a gateway key may do. Postiz's own keys and tokens may do everything: it advertises scopes and enforces none.
 */
export const SCOPES = ["read", "posts:write", "media:write", "channels:write", "*"] as const;

export type Scope = (typeof SCOPES)[number];

/** `held`: null for everything. */
export function allows(held: readonly Scope[] | null, needed: Scope): boolean {
  return held === null || held.includes("*") || held.includes(needed);
}
