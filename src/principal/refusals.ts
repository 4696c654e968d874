/** How keys and tokens differ where they are refused. */
import type { Credential } from "../credential/credential.ts";
import { type DenialReason, deny, type Result } from "../denial.ts";

export const aboutToken = ({ kind }: Credential): boolean => kind === "oauth_token";

export function unknownReason(credential: Credential): DenialReason {
  return aboutToken(credential) ? "token_inactive" : "key_unknown";
}

export function unknownDetail(credential: Credential): string {
  return aboutToken(credential) ? "No such token is active" : "No tenant of this gateway has this key";
}

/** Nobody could say whether the credential is active. */
export function unavailable(
  credential: Credential,
  detail: string,
  retryAfterSeconds: number,
): Result<never> {
  return deny("introspection_unavailable", detail, { retryAfterSeconds, aboutToken: aboutToken(credential) });
}
