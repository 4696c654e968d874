/** The isolate's side of a lease: one call, bounded in time, retried once where that is safe. */
import type { Env } from "../env.ts";
import { within } from "../timeout.ts";
import { authorityAt } from "./find-authority.ts";
import {
  type Grant,
  type Hearing,
  type LeaseAsk,
  PROTOCOL_VERSION,
  readGrant,
  type Settlement,
  type Testimony,
} from "./protocol.ts";
import type { Tag } from "./tag.ts";

export class AuthorityClient {
  readonly #env: Pick<Env, "TENANT_AUTHORITY">;
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;

  /** `nowMs` must never run backwards. */
  constructor(env: Pick<Env, "TENANT_AUTHORITY">, timeoutMs: number, nowMs: () => number) {
    this.#env = env;
    this.#timeoutMs = timeoutMs;
    this.#nowMs = nowMs;
  }

  /**
   * The grant, or null when the authority gave none that may still be used. A grant is void `usableForMs` after
   * the *ask*: the announced bound of a revocation rests on that, so a late answer is no answer.
   */
  async lease(tag: Tag, ask: Omit<LeaseAsk, "v">): Promise<Grant | null> {
    const askedAtMs = this.#nowMs();
    try {
      const work = this.#ask(tag, { v: PROTOCOL_VERSION, ...ask }, askedAtMs + this.#timeoutMs);
      const grant = readGrant(await within(this.#timeoutMs, work));
      if (grant === null) throw new Error("the grant is not understood");
      const ageMs = this.#nowMs() - askedAtMs;
      return grant.verdict === "granted" && ageMs >= grant.usableForMs ? null : grant;
    } catch (error) {
      console.error(JSON.stringify({ event: "authority_failed", tag, error: String(error) }));
      return null;
    }
  }

  /** Best effort: a token that is never settled only counts a little longer. */
  async settle(tag: Tag, settlement: Settlement): Promise<void> {
    try {
      await within(this.#timeoutMs, authorityAt(this.#env, tag).settle(settlement));
    } catch (error) {
      console.error(JSON.stringify({ event: "settle_failed", tag, error: String(error) }));
    }
  }

  /** What the authority made of it; null where it has not heard it, or nobody knows. */
  async testify(tag: Tag, testimony: Omit<Testimony, "v">): Promise<Hearing | null> {
    try {
      const work = authorityAt(this.#env, tag).testify({ v: PROTOCOL_VERSION, ...testimony });
      return await within(this.#timeoutMs, work);
    } catch (error) {
      console.error(JSON.stringify({ event: "testify_failed", tag, error: String(error) }));
      return null;
    }
  }

  /**
   * A stub is broken by its first exception, so the retry takes a new one; the nonce makes it safe. An overloaded
   * object is left alone: retries are what it has too many of.
   */
  async #ask(tag: Tag, ask: LeaseAsk, deadlineMs: number): Promise<Grant> {
    try {
      return await authorityAt(this.#env, tag).lease(ask);
    } catch (error) {
      // After the deadline nobody waits for the grant any more: it would only use up a token.
      if (!isRetryable(error) || this.#nowMs() >= deadlineMs) throw error;
      return authorityAt(this.#env, tag).lease(ask);
    }
  }
}

/** Set by the runtime on exceptions of Durable Object stubs. */
function isRetryable(error: unknown): boolean {
  const { retryable, overloaded } = error as { retryable?: boolean; overloaded?: boolean };
  return retryable === true && overloaded !== true;
}
