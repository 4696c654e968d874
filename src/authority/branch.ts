/**
 * A branch: an object that counts the requests of some keys of a busy tenant, and decides about them on what the tenant's
 * own object has entrusted to it, for as long as that said. What was entrusted is in memory only; what it grants is in its
 * ledger, and nobody else counts those requests, so that limits stay exact without asking anybody.
 */
import { LRUCache } from "lru-cache";
import { SteadyClock, steadyNowMs } from "../clock.ts";
import { UNKNOWN_SUBSCRIPTION } from "../entitlement/subscription.ts";
import type { Env } from "../env.ts";
import { within } from "../timeout.ts";
import { type BranchName, tenantTagOf } from "./branch-name.ts";
import { authorityAt } from "./find-authority.ts";
import { keysStand } from "./introspections.ts";
import { type Books, type LeaseRule, Leases } from "./leases.ts";
import type { Ledger } from "./ledger.ts";
import {
  type Entrusted,
  type Grant,
  type LeaseAsk,
  PROTOCOL_VERSION,
  refusal,
  type Trust,
  type TrustAsk,
} from "./protocol.ts";
import type { Key, LastUse, Tenant } from "./registry.ts";

const MAX_KEYS = 10_000;
/** What is entrusted lasts for so many leases, and is renewed when there is one left. */
const LEASES_PER_TRUST = 2;
/** Another change may come in between; not again and again. */
const MAX_ASKS = 3;

export class Branch {
  readonly #env: Pick<Env, "TENANT_AUTHORITY">;
  readonly #books: EntrustedBooks;
  readonly #leases: Leases;
  /** By digest; empty: of none. */
  readonly #asking = new Map<string, Promise<boolean>>();

  constructor(env: Pick<Env, "TENANT_AUTHORITY">, ledger: Ledger) {
    this.#env = env;
    const books = new EntrustedBooks(ledger);
    this.#books = books;
    // Tokens, whose answers age, are not entrusted; nor are keys of which something else has to be heard.
    const introspections = { standing: (digest: string) => keysStand(books.generationOf(digest)) };
    this.#leases = new Leases(books, ledger, introspections, { open: () => books.originKey });
  }

  /** Decides one request; `name`: what this object was asked by. */
  lease(name: BranchName, ask: LeaseAsk, rule: LeaseRule): Promise<Grant> {
    return this.#onTrust(name, ask.digest, rule, () =>
      this.#leases.lease(ask, rule, steadyNowMs(), this.#books.leftMs()),
    );
  }

  /** What a lease would answer, and nothing counted. */
  look(name: BranchName, ask: Omit<LeaseAsk, "nonce">, rule: LeaseRule): Promise<Grant> {
    return this.#onTrust(name, ask.digest, rule, () => this.#leases.look(ask, rule, steadyNowMs()));
  }

  /** Decides at the very moment at which the credential is known to be entrusted; throws where nobody could say. */
  async #onTrust(name: BranchName, digest: string, rule: LeaseRule, decide: () => Grant): Promise<Grant> {
    for (let asks = 0; !this.#books.has(digest, rule.authorityTimeoutMs); asks++) {
      if (asks === MAX_ASKS) throw new Error("what was entrusted had ended, or changed, each time it came");
      if (!(await this.#ask(name, digest, rule))) return ELSEWHERE;
    }
    if (this.#books.leftMs() < this.#wishMs(rule) / LEASES_PER_TRUST) {
      // In the background; what is in hand goes on.
      this.#ask(name, "", rule).catch(() => {});
    }
    return decide();
  }

  #wishMs(rule: LeaseRule): number {
    const wishMs = LEASES_PER_TRUST * this.#leases.leaseMs(rule, steadyNowMs());
    return Math.min(wishMs, rule.leaseTtlMaxMs);
  }

  /** One ask about each credential at a time. Whether it was entrusted. */
  #ask(name: BranchName, digest: string, rule: LeaseRule): Promise<boolean> {
    let asking = this.#asking.get(digest);
    if (asking === undefined) {
      asking = this.#askNow(name, digest, rule).finally(() => this.#asking.delete(digest));
      this.#asking.set(digest, asking);
    }
    return asking;
  }

  async #askNow(name: BranchName, digest: string, rule: LeaseRule): Promise<boolean> {
    const askedAtMs = this.#books.nowMs();
    const uses = this.#books.takeUses();
    const ask: TrustAsk = {
      v: PROTOCOL_VERSION,
      branch: name,
      digest: digest === "" ? null : digest,
      wishForMs: this.#wishMs(rule),
      uses,
    };
    try {
      const work = authorityAt(this.#env, tenantTagOf(name)).entrust(ask);
      const trust = await within(rule.authorityTimeoutMs, work);
      if (trust === null) return false;
      this.#books.learn(trust, askedAtMs);
      return trust.entrusted !== null;
    } catch (error) {
      for (const use of uses) this.#books.noteUse(use.digest, use);
      console.error(JSON.stringify({ event: "entrust_failed", branch: name, error: String(error) }));
      throw error;
    }
  }
}

const ELSEWHERE: Grant = refusal("elsewhere", "", UNKNOWN_SUBSCRIPTION);

/** The books of the tenant's own object, as far and as long as this one may rely on them. */
class EntrustedBooks implements Books {
  readonly isBranched = true;
  readonly #ledger: Ledger;
  readonly #clock = new SteadyClock();
  #timesSetBack = 0;
  #trust: Trust | null = null;
  #untilMs = 0;
  /** By digest. */
  readonly #entrusted = new LRUCache<string, Entrusted>({ max: MAX_KEYS });
  /** Ids of keys of which everything that was granted elsewhere is in the ledger. */
  readonly #takenOver = new Set<string>();
  #uses = new Map<string, LastUse>();

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  get epoch(): string {
    return this.#trust?.epoch ?? "";
  }

  get originKey() {
    return this.#trust?.originKey ?? ({ is: "missing" } as const);
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

  /** There is no further one. */
  isEntrusted(): boolean {
    return false;
  }

  noteUse(digest: string, use: LastUse): void {
    this.#uses.set(digest, use);
  }

  takeUses(): TrustAsk["uses"] {
    const uses = [...this.#uses].map(([digest, use]) => ({ digest, ...use }));
    this.#uses = new Map();
    return uses;
  }

  /** Whether the credential is entrusted, for as long as that at least. */
  has(digest: string, leastMs: number): boolean {
    return this.leftMs() >= leastMs && this.#entrusted.has(digest);
  }

  /** For how long (ms) it may decide without asking. */
  leftMs(): number {
    return this.#untilMs - this.nowMs();
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

  /** Takes in what was said to an ask that began at `askedAtMs`. What comes late is good for what is left of its time. */
  learn(trust: Trust, askedAtMs: number): void {
    if (trust.v !== PROTOCOL_VERSION) throw new Error("the trust is not understood");
    if (trust.epoch !== this.#trust?.epoch) {
      this.#entrusted.clear();
      this.#untilMs = 0;
    }
    this.#trust = trust;
    this.#untilMs = Math.max(askedAtMs + trust.forMs, this.#untilMs);
    if (trust.entrusted === null) return;
    const { key, counted } = trust.entrusted;
    if (!this.#takenOver.has(key.keyId)) {
      this.#ledger.takeOverGrants(counted, key.keyId);
      this.#takenOver.add(key.keyId);
    }
    this.#entrusted.set(key.digest, trust.entrusted);
  }
}
