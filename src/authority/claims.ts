/** A credential has one owner, and so has a host name: what a tenant's authority says to the directory, and hears from it. */
import type { Env } from "../env.ts";
import { within } from "../timeout.ts";
import { shardOf } from "./find-directory.ts";
import type { Mirror } from "./outbox.ts";
import type { TenantId } from "./tenant-id.ts";

/** Far below the time after which an unconfirmed claim could become another's. */
const TIMEOUT_MS = 10_000;

/** Nobody could say whose it is. */
export class DirectoryUnavailable extends Error {}

/** Id of the tenant that owns it; `name`: a digest, or `host:<name>`. What is written right after it is written in time. */
export async function claim(
  env: Pick<Env, "DIRECTORY">,
  name: string,
  tenantId: TenantId,
): Promise<TenantId> {
  try {
    return await within(TIMEOUT_MS, shardOf(env, name).claim(name, tenantId));
  } catch (error) {
    console.error(JSON.stringify({ event: "claim_failed", name, error: String(error) }));
    throw new DirectoryUnavailable("the directory did not answer");
  }
}

/**
 * It is written down. False: it has become another's after all. Without an answer the directory asks, should
 * another want it.
 */
export async function confirm(
  env: Pick<Env, "DIRECTORY">,
  name: string,
  tenantId: TenantId,
): Promise<boolean> {
  try {
    return await within(TIMEOUT_MS, shardOf(env, name).confirm(name, tenantId));
  } catch (error) {
    console.error(JSON.stringify({ event: "confirm_failed", name, error: String(error) }));
    return true;
  }
}

/** What passes from one tenant to another, or to nobody, as the directory is to hear of it. */
export interface Passing {
  readonly from: TenantId;
  readonly to: TenantId | null;
}

/** Hears of each passing until it has acknowledged it. */
export function directoryMirror(env: Pick<Env, "DIRECTORY">): Mirror {
  return {
    put: (name, record) => {
      const { from, to } = JSON.parse(record) as Passing;
      return shardOf(env, name).pass(name, from, to);
    },
  };
}
