/**
 * Digest → tenant and key, through KV `CREDENTIALS`, remembered in the isolate. Finding a credential here says
 * whose it claims to be, nothing more: KV is up to a minute behind, so the tenant's authority has the last word.
 */
import { LRUCache } from "lru-cache";
import { type CredentialClaim, claimFor } from "../authority/claim.ts";
import { parseRecord } from "../authority/credential-record.ts";
import { type Credential, digestOf } from "../credential/credential.ts";
import { deny, pass, type Result } from "../denial.ts";
import { within } from "../timeout.ts";

const KV_TIMEOUT_MS = 2_000;
/** KV's default: a shorter one buys nothing, since the authority decides. */
const KV_CACHE_TTL_SECONDS = 60;
/**
 * A credential has at most 512 bytes and an entry little more. Those in use are known by their leases, too.
 *
 * Resolution 0: any other makes the cache wait for a timer to look at the clock again, and a timer dies with the
 * request that set it.
 */
const KNOWN = { max: 8_000, ttl: 300_000, ttlResolution: 0 };
const REFUSED = { max: 10_000, ttl: 10_000, ttlResolution: 0 };
/** A look that takes longer has died with the request that began it. */
const LOOKING = { max: 10_000, ttl: KV_TIMEOUT_MS, ttlResolution: 0 };

type Found = Result<CredentialClaim | null>;

export class CredentialIndex {
  readonly #kv: KVNamespace;
  /** By the raw credential, which saves the digest on the warm path; it never leaves memory. */
  readonly #known = new LRUCache<string, CredentialClaim>(KNOWN);
  readonly #refused = new LRUCache<string, Result<never>>(REFUSED);

  /** Under way: who comes meanwhile with the same credential waits for it. */
  readonly #looking = new LRUCache<string, Promise<Found>>(LOOKING);

  constructor(kv: KVNamespace) {
    this.#kv = kv;
  }

  /** The claim, if this isolate has it in memory. */
  recall(credential: Credential): CredentialClaim | undefined {
    return this.#known.get(credential.secret);
  }

  /** A refusal of a moment ago: whoever repeats a wrong key costs nothing. */
  recallRefusal(credential: Credential): Result<never> | undefined {
    return this.#refused.get(credential.secret);
  }

  /** Forgets a claim that the authority did not confirm, so that the next request reads KV again. */
  forget(credential: Credential): void {
    this.#known.delete(credential.secret);
  }

  remember(credential: Credential, claim: CredentialClaim): CredentialClaim {
    this.#known.set(credential.secret, claim);
    return claim;
  }

  refuse(credential: Credential, refusal: Result<never>): Result<never> {
    this.#refused.set(credential.secret, refusal);
    return refusal;
  }

  /** Reads KV; null where it holds nothing. An error, a time-out or a corrupt record is never a miss. */
  async look(credential: Credential): Promise<Found> {
    const { secret } = credential;
    const underWay = this.#looking.get(secret);
    // The clock of the one who began it may have stopped.
    if (underWay !== undefined) return within(KV_TIMEOUT_MS, underWay).catch(() => UNREADABLE);
    const looking = this.#read(credential);
    this.#looking.set(secret, looking);
    try {
      return await looking;
    } finally {
      if (this.#looking.peek(secret) === looking) this.#looking.delete(secret);
    }
  }

  async #read(credential: Credential): Promise<Found> {
    const digest = digestOf(credential.secret);
    let text: string | null;
    try {
      text = await within(KV_TIMEOUT_MS, this.#kv.get(digest, { cacheTtl: KV_CACHE_TTL_SECONDS }));
    } catch (error) {
      console.error(JSON.stringify({ event: "credentials_failed", digest, error: String(error) }));
      return UNREADABLE;
    }
    if (text === null) return pass(null);
    const record = parseRecord(text);
    if (record === null) {
      console.error(JSON.stringify({ event: "credential_record_corrupt", digest }));
      return deny("credentials_unavailable", "The credential's record is corrupt", { retryAfterSeconds: 60 });
    }
    // A tombstone is terminal, so that however old it is it is true.
    const { tenantId, keyId } = record;
    if (record.state === "revoked") {
      const more = { owner: { tenantId, keyId }, aboutToken: credential.kind === "oauth_token" };
      return this.refuse(credential, deny("key_revoked", "This credential was revoked", more));
    }
    const claim = {
      ...claimFor(tenantId, digest),
      ...(record.branched === true && { branchedKeyId: keyId }),
    };
    return pass(this.remember(credential, claim));
  }
}

const UNREADABLE = deny("credentials_unavailable", "The credential store could not be read", {
  retryAfterSeconds: 5,
});
