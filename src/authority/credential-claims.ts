/** A credential has one owner: what a tenant's authority says to the directory, and hears from it. */
import type { Env } from "../env.ts";
import { within } from "../timeout.ts";
import { shardOf } from "./find-directory.ts";

/** Far below the time after which an unconfirmed claim could become another's. */
const TIMEOUT_MS = 10_000;

/** Id of the tenant that owns the credential. What is written right after it is written in time. */
export function claimCredential(
  env: Pick<Env, "DIRECTORY">,
  digest: string,
  tenantId: string,
): Promise<string> {
  return within(TIMEOUT_MS, shardOf(env, digest).claim(digest, tenantId));
}

/**
 * The credential is written down. False: it has become another's after all. Without an answer the directory asks, should
 * another want it.
 */
export async function confirmCredential(
  env: Pick<Env, "DIRECTORY">,
  digest: string,
  tenantId: string,
): Promise<boolean> {
  try {
    return await within(TIMEOUT_MS, shardOf(env, digest).confirm(digest, tenantId));
  } catch (error) {
    console.error(JSON.stringify({ event: "confirm_failed", digest, error: String(error) }));
    return true;
  }
}
