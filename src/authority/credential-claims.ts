/** A credential has one owner: what a tenant's authority says to the directory, and hears from it. */
import type { Env } from "../env.ts";
import { within } from "../timeout.ts";
import { shardOf } from "./find-directory.ts";
import type { Mirror } from "./outbox.ts";
import type { TenantId } from "./tenant-id.ts";

/** Far below the time after which an unconfirmed claim could become another's. */
const TIMEOUT_MS = 10_000;

/** Id of the tenant that owns the credential. What is written right after it is written in time. */
export function claimCredential(
  env: Pick<Env, "DIRECTORY">,
  digest: string,
  tenantId: TenantId,
): Promise<TenantId> {
  return within(TIMEOUT_MS, shardOf(env, digest).claim(digest, tenantId));
}

/**
 * The credential is written down. False: it has become another's after all. Without an answer the directory asks, should
 * another want it.
 */
export async function confirmCredential(
  env: Pick<Env, "DIRECTORY">,
  digest: string,
  tenantId: TenantId,
): Promise<boolean> {
  try {
    return await within(TIMEOUT_MS, shardOf(env, digest).confirm(digest, tenantId));
  } catch (error) {
    console.error(JSON.stringify({ event: "confirm_failed", digest, error: String(error) }));
    return true;
  }
}

/** What passes from one tenant to another, as the directory is to hear of it. */
interface Passing {
  readonly from: TenantId;
  readonly to: TenantId;
}

/** Hears of each passing until it has acknowledged it. */
export function directoryMirror(env: Pick<Env, "DIRECTORY">): Mirror {
  return {
    put: (digest, record) => {
      const { from, to } = JSON.parse(record) as Passing;
      return shardOf(env, digest).pass(digest, from, to);
    },
  };
}
