/**
 * A branch: an object that counts the requests of some keys of a busy tenant, and decides about them on what the tenant's
 * own object has entrusted to it, for as long as that said. What was entrusted is in memory only; what it grants is in its
 * ledger, and nobody else counts those requests, so that limits stay exact without asking anybody.
 */
import { steadyNowMs } from "../clock.ts";
import { UNKNOWN_SUBSCRIPTION } from "../entitlement/subscription.ts";
import type { Env } from "../env.ts";
import { within } from "../timeout.ts";
import { type BranchName, tenantTagOf } from "./branch-name.ts";
import { EntrustedBooks } from "./entrusted-books.ts";
import { authorityAt } from "./find-authority.ts";
import { keysStand } from "./introspections.ts";
import { type LeaseRule, Leases } from "./leases.ts";
import type { Ledger } from "./ledger.ts";
import { type Grant, type LeaseAsk, PROTOCOL_VERSION, refusal, type Trust } from "./protocol.ts";
import { callTwice, isUnknownMethod } from "./rpc-error.ts";

/** What is entrusted lasts for so many leases. */
const LEASES_PER_TRUST = 2;
/** Another change may come in between; not again and again. */
const MAX_ASKS = 3;
/** Of keys that were asked about lately, and are renewed along with what is asked for. */
const MAX_RENEWED = 1_000;
/** A tenant's object that has failed is left alone for so long. */
const REST_MS = 1_000;

export class Branch {
  readonly #env: Pick<Env, "TENANT_AUTHORITY">;
  readonly #books: EntrustedBooks;
  readonly #leases: Leases;
  /** Digests that are to be asked about; and those that somebody has asked for since the last ask. */
  #wanted = new Set<string>();
  #lately = new Set<string>();
  /** One call at a time, and one more for what comes meanwhile. */
  #underWay: Promise<Trust | null> | null = null;
  #next: Promise<Trust | null> | null = null;
  #restsUntilMs = 0;

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
    // Without leases nothing is decided on what was heard before the request came.
    const isEnough = (asks: number) => asks > 0 || rule.leaseTtlMs > 0;
    for (let asks = 0; !isEnough(asks) || !this.#books.has(digest, rule.authorityTimeoutMs); asks++) {
      if (asks === MAX_ASKS) throw new Error("what was entrusted had ended, or changed, each time it came");
      this.#wanted.add(digest);
      const trust = await this.#ask(name, rule);
      if (trust?.entrusted.some(({ key }) => key.digest === digest) !== true) return ELSEWHERE;
    }
    this.#lately.add(digest);
    const isAsking = this.#underWay !== null || this.#next !== null;
    // In the background; what is in hand goes on.
    if (this.#books.isRenewalDue() && !isAsking) this.#ask(name, rule).catch(() => {});
    return decide();
  }

  /** What is wanted by then. Null where there is nothing to entrust. */
  async #ask(name: BranchName, rule: LeaseRule): Promise<Trust | null> {
    if (this.#books.nowMs() < this.#restsUntilMs) throw new Error("the tenant's object failed a moment ago");
    this.#next ??= this.#askNext(name, rule);
    return this.#next;
  }

  async #askNext(name: BranchName, rule: LeaseRule): Promise<Trust | null> {
    await this.#underWay?.catch(() => {});
    this.#next = null;
    const asking = this.#askNow(name, rule).finally(() => {
      this.#underWay = null;
    });
    this.#underWay = asking;
    return asking;
  }

  async #askNow(name: BranchName, rule: LeaseRule): Promise<Trust | null> {
    const asked = this.#books.instant();
    const digests = [...this.#wanted, ...[...this.#lately].slice(-MAX_RENEWED)];
    this.#wanted = new Set();
    this.#lately = new Set();
    const uses = this.#books.takeUses();
    const wishForMs = LEASES_PER_TRUST * this.#leases.leaseMs(rule, steadyNowMs());
    try {
      const ask = {
        v: PROTOCOL_VERSION,
        branch: name,
        digests: [...new Set(digests)],
        wishForMs,
        uses,
      } as const;
      // Entrusting twice changes nothing.
      const work = callTwice(() => authorityAt(this.#env, tenantTagOf(name)).entrust(ask));
      const trust = await within(rule.authorityTimeoutMs, work);
      if (trust !== null) this.#books.learn(trust, asked, rule.authorityTimeoutMs);
      return trust;
    } catch (error) {
      this.#books.tellAgain(uses);
      // One of the version before counts by itself.
      if (isUnknownMethod(error)) return null;
      this.#restsUntilMs = this.#books.nowMs() + REST_MS;
      console.error(JSON.stringify({ event: "entrust_failed", branch: name, error: String(error) }));
      // Not as it came: that the tenant's object is overloaded says nothing about this one.
      throw new Error(`the tenant's object entrusted nothing: ${error}`);
    }
  }
}

const ELSEWHERE: Grant = refusal("elsewhere", "", UNKNOWN_SUBSCRIPTION);
