/** The isolate's side of a lease: one ask, bounded in time, repeated once where that is safe. */
import { LRUCache } from "lru-cache";
import type { Env } from "../env.ts";
import { within } from "../timeout.ts";
import { type Answers, AskLine } from "./ask-line.ts";
import { type BranchName, isBranch, tenantTagOf } from "./branch-name.ts";
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
import { callTwice, isUnknownMethod } from "./rpc-error.ts";
import type { Tag } from "./tag.ts";

export class AuthorityClient {
  readonly #env: Pick<Env, "TENANT_AUTHORITY">;
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;
  readonly #lines = new LRUCache<Tag | BranchName, AskLine>({ max: 1_000 });

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
  async lease(
    name: Tag | BranchName,
    ask: Omit<LeaseAsk, "v">,
    withinMs = this.#timeoutMs,
  ): Promise<Grant | null> {
    const askedAtMs = this.#nowMs();
    try {
      const work = this.#ask(name, { v: PROTOCOL_VERSION, ...ask, canBranch: true }, withinMs);
      const grant = readGrant(await within(withinMs, work));
      if (grant === null) throw new Error("the grant is not understood");
      const ageMs = this.#nowMs() - askedAtMs;
      const isLate = grant.verdict === "granted" && ageMs >= grant.usableForMs;
      if (isLate) throw new Error(`the grant came ${ageMs} ms after the ask`);
      return grant;
    } catch (error) {
      console.error(JSON.stringify({ event: "authority_failed", tag: name, error: String(error) }));
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

  #ask(name: Tag | BranchName, ask: LeaseAsk, withinMs: number): Promise<unknown> {
    const line = this.#lines.get(name) ?? this.#newLine(name);
    this.#lines.set(name, line);
    return line.ask(ask, withinMs);
  }

  /** The nonces make a second call safe. An overloaded object is left alone: retries are what it has too many of. */
  #newLine(name: Tag | BranchName): AskLine {
    const send = (asks: readonly LeaseAsk[], deadlineMs: number): Promise<Answers> => {
      // After the deadline nobody waits for the grant any more: it would only use up a token.
      return callTwice(
        () => this.#sendOnce(name, asks),
        () => this.#nowMs() < deadlineMs,
      );
    };
    return new AskLine(send, this.#timeoutMs, this.#nowMs);
  }

  /** A branch of the version before knows of no branches: the tenant's own object says what to do. */
  async #sendOnce(name: Tag | BranchName, asks: readonly LeaseAsk[]): Promise<Answers> {
    if (!isBranch(name)) return this.#sendToTenant(name, asks);
    try {
      const [first, ...others] = asks;
      const branch = authorityAt(this.#env, name);
      if (first === undefined) return [];
      if (others.length === 0) return [await branch.leaseAtBranch(name, first)];
      return await branch.leaseAllAtBranch(name, asks);
    } catch (error) {
      if (!isUnknownMethod(error)) throw error;
      return this.#sendToTenant(tenantTagOf(name), asks);
    }
  }

  async #sendToTenant(tag: Tag, asks: readonly LeaseAsk[]): Promise<Answers> {
    const [first, ...others] = asks;
    if (first === undefined) return [];
    if (others.length === 0) return [await authorityAt(this.#env, tag).lease(first)];
    try {
      return await authorityAt(this.#env, tag).leaseAll(asks);
    } catch (error) {
      if (!isUnknownMethod(error)) throw error;
      // An object of the version before, in the middle of a rollout.
      return Promise.all(
        asks.map((ask) =>
          authorityAt(this.#env, tag)
            .lease(ask)
            .catch(() => null),
        ),
      );
    }
  }
}
