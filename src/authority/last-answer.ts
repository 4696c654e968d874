/**
 * The last answer about a token, in KV `INTROSPECTION` under the token's digest: where to find the token's authority
 * when `CREDENTIALS` does not know it yet. The authority decides, on an answer that may be newer; this leads to it.
 */
import { within } from "../timeout.ts";
import { isTenantId, type TenantId } from "./tenant-id.ts";

const RECORD_VERSION = 1;
const KV_TIMEOUT_MS = 2_000;

/** `obtainedAtMs` is for people to read. */
export function lastAnswerRecord(tenantId: TenantId, active: boolean, obtainedAtMs: number): object {
  return { v: RECORD_VERSION, tenantId, active, obtainedAtMs };
}

/** Id of the tenant of a token that was active when it was last asked about; null where nothing is known. */
export async function tenantOfLastAnswer(kv: KVNamespace, digest: string): Promise<TenantId | null> {
  try {
    const text = await within(KV_TIMEOUT_MS, kv.get(digest));
    return text === null ? null : tenantIn(JSON.parse(text));
  } catch (error) {
    console.error(JSON.stringify({ event: "introspection_store_failed", digest, error: String(error) }));
    return null;
  }
}

function tenantIn(record: unknown): TenantId | null {
  const { v, tenantId, active } = (record ?? {}) as Record<string, unknown>;
  return v === RECORD_VERSION && active === true && isTenantId(tenantId) ? tenantId : null;
}
