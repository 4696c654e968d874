/** The books of a tenant's own object, as far and as long as a branch may rely on them. In memory only. */
import { LRUCache } from "lru-cache";
import { SteadyClock } from "../clock.ts";
import type { Books } from "./leases.ts";
import type { Ledger } from "./ledger.ts";
import type { OriginKey } from "./origin-key.ts";
import { type Entrusted, PROTOCOL_VERSION, type Trust, type TrustAsk } from "./protocol.ts";
import type { Key, LastUse, Tenant } from "./registry.ts";

const MAX_KEYS = 10_000;
const MISSING = { is: "missing" } as const;

interface Instant {
  readonly atMs: number;
  readonly timesSetBack: number;
}

export class EntrustedBooks implements Books {
  readonly isBranched = true;
  readonly #ledger: Ledger;
  readonly #clock = new SteadyClock();
  #timesSetBack = 0;
  #trust: Trust | null = null;
  #untilMs = 0;
  #renewAtMs = 0;
  /** By digest. */
  readonly #entrusted = new LRUCache<string, Entrusted>({ max: MAX_KEYS });
  /** Nonces of grants that were handed over when the key was entrusted last, by its id. */
  readonly #takenOver = new LRUCache<string, ReadonlySet<string>>({ max: MAX_KEYS });
  #uses = new Map<string, LastUse>();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  get epoch(): string {
    return this.#trust?.epoch ?? "";
  }

  get originKey(): OriginKey {
    return this.#trust?.originKey ?? MISSING;
  }

  tenant(): Tenant | null {
    return this.#trust?.tenant ?? null;
  }

  key(digest: string): Key | null {
    return this.#entrusted.get(digest)?.key ?? null;
  }

  generationOf(digest: string): number {
    return this.#entrusted.get(digest)?.generation ?? 0;
  }

  /** A branch entrusts nothing on. */
  isEntrusted(): boolean {
    return false;
  }

  noteUse(digest: string, use: LastUse): void {
    this.#uses.set(digest, use);
  }

  /** What has not been told yet; `tellAgain` where it was not heard. */
  takeUses(): TrustAsk["uses"] {
    const uses = [...this.#uses].map(([digest, use]) => ({ digest, ...use }));
    this.#uses = new Map();
    return uses;
  }

  tellAgain(uses: TrustAsk["uses"]): void {
    for (const { digest, ...use } of uses) if (!this.#uses.has(digest)) this.#uses.set(digest, use);
  }

  /** Whether the credential is entrusted, for as long as that at least. */
  has(digest: string, leastMs: number): boolean {
    return this.leftMs() >= leastMs && this.#entrusted.has(digest);
  }

  /** For how long (ms) it may decide without asking. */
  leftMs(): number {
    const nowMs = this.nowMs();
    return this.#untilMs - nowMs;
  }

  isRenewalDue(): boolean {
    return this.nowMs() >= this.#renewAtMs;
  }

  /** A clock that was set back does not tell how much time has passed: what was said before is not relied on. */
  nowMs(): number {
    const nowMs = this.#clock.nowMs();
    if (this.#clock.timesSetBack !== this.#timesSetBack) {
      this.#timesSetBack = this.#clock.timesSetBack;
      this.#untilMs = 0;
    }
    return nowMs;
  }

  /** To be remembered with an ask. */
  instant(): Instant {
    return { atMs: this.nowMs(), timesSetBack: this.#timesSetBack };
  }

  /**
   * Takes in what was said to an ask that began at that instant; what comes late is good for what is left of its time.
   * `leastMs`: what it must be good for to be of use.
   */
  learn(trust: Trust, { atMs: askedAtMs, timesSetBack }: Instant, leastMs: number): void {
    if (trust.v !== PROTOCOL_VERSION) throw new Error("the trust is not understood");
    this.nowMs();
    if (timesSetBack !== this.#timesSetBack) throw new Error("the clock was set back while it was asked for");
    if (trust.epoch !== this.#trust?.epoch) this.#entrusted.clear();
    this.#trust = trust;
    const { forMs } = trust;
    this.#untilMs = askedAtMs + forMs;
    this.#renewAtMs = askedAtMs + Math.min(forMs / 2, forMs - 1.5 * leastMs);
    for (const entrusted of trust.entrusted) this.#take(entrusted);
  }

  /** What was handed over before is in the ledger, with what has become of it. */
  #take(entrusted: Entrusted): void {
    const { key, counted } = entrusted;
    const known = this.#takenOver.get(key.keyId);
    this.#ledger.takeOverGrants(
      counted.filter(({ nonce }) => known?.has(nonce) !== true),
      key.keyId,
    );
    this.#takenOver.set(key.keyId, new Set(counted.map(({ nonce }) => nonce)));
    this.#entrusted.set(key.digest, entrusted);
  }
}
