/**
 * Host name → the tenant that has it, through KV `CREDENTIALS`, remembered in the isolate. What is known goes on being used
 * while it is read anew, so that nobody waits for a name that this isolate has seen.
 */
import { LRUCache } from "lru-cache";
import { hostKey, ownerInHostRecord } from "../authority/host-names.ts";
import type { TenantId } from "../authority/tenant-id.ts";
import { deny, pass, type Result } from "../denial.ts";
import { canonicalHostName } from "../entitlement/hosts.ts";
import { within } from "../timeout.ts";
import type { WaitUntil } from "../wait-until.ts";

const KV_TIMEOUT_MS = 2_000;
const KV_CACHE_TTL_SECONDS = 60;
const FRESH_MS = 60_000;

/** What is older is read before it is used: the isolate may have been idle for long. */
const USABLE_MS = 120_000;

const RETRY_MS = 10_000;

interface Known {
  readonly owner: TenantId | null;
  readonly readAtMs: number;
  /** From when on somebody reads it anew. */
  dueAtMs: number;
}

export class HostIndex {
  readonly #kv: KVNamespace;
  readonly #nowMs: () => number;
  readonly #known = new LRUCache<string, Known>({ max: 1_000 });

  constructor(kv: KVNamespace, nowMs: () => number) {
    this.#kv = kv;
    this.#nowMs = nowMs;
  }

  /** Undefined where it has to be read first. */
  recall(host: string, waitUntil: WaitUntil): TenantId | null | undefined {
    const known = this.#known.get(host);
    const nowMs = this.#nowMs();
    if (known === undefined || nowMs - known.readAtMs >= USABLE_MS) return undefined;
    if (known.dueAtMs <= nowMs) {
      known.dueAtMs = nowMs + FRESH_MS;
      waitUntil(this.#read(host));
    }
    return known.owner;
  }

  async ownerOf(host: string, waitUntil: WaitUntil): Promise<Result<TenantId | null>> {
    const known = this.recall(host, waitUntil);
    if (known !== undefined) return pass(known);
    // No tenant can have it.
    if (canonicalHostName(host) !== host) return pass(null);
    const read = await this.#read(host);
    const last = this.#known.get(host);
    if (read.ok || last === undefined) return read;
    // Nobody can say anything newer, and not every request is to find that out.
    this.#known.set(host, { ...last, readAtMs: this.#nowMs() - USABLE_MS + RETRY_MS });
    return pass(last.owner);
  }

  async #read(host: string): Promise<Result<TenantId | null>> {
    try {
      const text = await within(
        KV_TIMEOUT_MS,
        this.#kv.get(hostKey(host), { cacheTtl: KV_CACHE_TTL_SECONDS }),
      );
      const owner = text === null ? null : ownerInHostRecord(text);
      const readAtMs = this.#nowMs();
      this.#known.set(host, { owner, readAtMs, dueAtMs: readAtMs + FRESH_MS });
      return pass(owner);
    } catch (error) {
      console.error(JSON.stringify({ event: "host_failed", host, error: String(error) }));
      return deny("credentials_unavailable", "Whose host name this is could not be read", {
        retryAfterSeconds: 5,
      });
    }
  }
}
