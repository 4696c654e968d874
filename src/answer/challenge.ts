/** `WWW-Authenticate` of RFC 6750 §3. */
import type { Denial } from "../denial.ts";

const REALM = 'Bearer realm="Postiz API"';

/**
 * `error="invalid_token"` only where the credential itself is at fault: OAuth clients throw a token away when
 * they see it, and without any credential there is no error to report (§3.1). Null: the origin's own refusal.
 */
export function bearerChallenge(denial: Denial | null): string {
  if (denial === null) return REALM;
  // §3.1: the token is good, for something else.
  if (denial.scope !== undefined) return `${REALM}, error="insufficient_scope", scope="${denial.scope}"`;
  const blameless = denial.reason === "credential_missing" || denial.reason === "subscription_inactive";
  return blameless ? REALM : `${REALM}, error="invalid_token"`;
}
