/**
 * The last answer about a token, in KV `INTROSPECTION` under the token's digest: where to find the token's authority
 * when `CREDENTIALS` does not know it yet and nobody can be asked. The authority decides; this only leads to it.
 */
import { isIdentifier } from "../authority/credential-record.ts";
import { within } from "../timeout.ts";

const RECORD_VERSION = 1;
const KV_TIMEOUT_MS = 2_000;
const KV_CACHE_TTL_SECONDS = 60;

export interface LastGood {
  readonly tenantId: string;
  readonly active: boolean;
  readonly obtainedAtMs: number;
  readonly expiresAtMs: number | null;
}

export function lastGoodRecord(answer: LastGood): object {
  return { v: RECORD_VERSION, ...answer };
}

/** Id of the tenant of a token that was active when it was last asked about; null where nothing is known. */
export async function findTenant(kv: KVNamespace, digest: string): Promise<string | null> {
  try {
    const text = await within(KV_TIMEOUT_MS, kv.get(digest, { cacheTtl: KV_CACHE_TTL_SECONDS }));
    return text === null ? null : tenantIn(JSON.parse(text));
  } catch (error) {
    console.error(JSON.stringify({ event: "introspection_store_failed", digest, error: String(error) }));
    return null;
  }
}

function tenantIn(record: unknown): string | null {
  const { v, tenantId, active } = (record ?? {}) as Record<string, unknown>;
  return v === RECORD_VERSION && active === true && isIdentifier(tenantId) ? (tenantId as string) : null;
}
