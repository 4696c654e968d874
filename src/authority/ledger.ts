/**
 * The grants of a tenant: committed to SQLite, counted in memory. Everything here is synchronous, so that an ask
 * is decided and committed with no other in between, and the object's output gate holds the reply until it is.
 */
import { POLICIES, type Policy, type PolicyName, type Quota } from "../quota/policy.ts";
import { RollingWindow, type Spent } from "../quota/window.ts";
import { CLOCK_MARGIN_MS } from "./protocol.ts";

const PRUNE_EVERY_MS = 60_000;

export interface TokenAsk {
  readonly nonce: string;
  readonly policy: Policy;
  /** What the policy's limit is shared by. */
  readonly partition: string;
  /** Last instant at which the token can be used, and at which the request can reach the origin. */
  readonly usableUntilMs: number;
  readonly reachesOriginUntilMs: number;
  /** What is refused passes all the same: committed like a grant, but of no tokens. */
  readonly inShadow: boolean;
}

export interface TokenAnswer {
  readonly granted: boolean;
  readonly quota: Quota;
}

interface CountedGrant extends Record<string, SqlStorageValue> {
  readonly nonce: string;
  readonly policy: PolicyName;
  readonly partition: string;
  readonly tokens: number;
  readonly usable_until_ms: number;
  readonly counts_until_ms: number;
}

interface OriginBlock extends Record<string, SqlStorageValue> {
  readonly policy: PolicyName;
  readonly until_ms: number;
}

/** What a tenant has used of its limits, as far as it still counts. */
export interface Counted {
  readonly grants: readonly CountedGrant[];
  readonly blocks: readonly OriginBlock[];
}

interface GrantRow extends Record<string, SqlStorageValue> {
  readonly policy: PolicyName;
  readonly partition: string;
}

export class Ledger {
  readonly #sql: SqlStorage;
  readonly #windows = new Map<string, RollingWindow>();
  #prunedAtMs = 0;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** What an ask would find, without asking. */
  look(policy: Policy, partition: string, nowMs: number): TokenAnswer {
    const { available, resetMs, retryAfterMs } = this.#window(policy.name, partition, nowMs).at(
      nowMs,
      policy.limit,
    );
    const blockedMs = this.#originBlockUntilMs(policy.name) - nowMs;
    if (blockedMs > 0) return answer(false, policy, 0, Math.max(blockedMs, retryAfterMs));
    return answer(available > 0, policy, available, available > 0 ? resetMs : retryAfterMs);
  }

  /** One token, if the policy has one to give. An ask that was granted before is granted again, not counted again. */
  take(ask: TokenAsk, nowMs: number): TokenAnswer {
    this.#prune(nowMs);
    const window = this.#window(ask.policy.name, ask.partition, nowMs);
    const before = window.at(nowMs, ask.policy.limit);
    const given = this.#tokensGiven(ask.nonce);
    if (given !== null && given > 0) return answer(true, ask.policy, before.available, before.resetMs);
    const blockedMs = this.#originBlockUntilMs(ask.policy.name) - nowMs;
    if (given === 0 || blockedMs > 0 || before.available === 0) {
      if (ask.inShadow && given === null) this.#commit(ask, 0);
      return answer(false, ask.policy, 0, Math.max(blockedMs, before.retryAfterMs));
    }
    const { countsUntilMs } = this.#commit(ask, 1);
    window.spend({ nonce: ask.nonce, tokens: 1, countsUntilMs });
    const after = window.at(nowMs, ask.policy.limit);
    return answer(true, ask.policy, after.available, after.resetMs);
  }

  /**
   * The origin has answered: the token reached it no later than now. Returns the policy it was of, or null where
   * no such grant counts any more.
   */
  settle(nonce: string, nowMs: number): PolicyName | null {
    const row = this.#sql
      .exec<GrantRow>("SELECT policy, partition FROM grant_log WHERE nonce = ?", nonce)
      .toArray()[0];
    if (row === undefined) return null;
    const countsUntilMs = nowMs + POLICIES[row.policy].windowSeconds * 1_000 + CLOCK_MARGIN_MS;
    this.#sql.exec(
      "UPDATE grant_log SET counts_until_ms = MIN(counts_until_ms, ?) WHERE nonce = ?",
      countsUntilMs,
      nonce,
    );
    this.#windows.get(windowKey(row.policy, row.partition))?.settle(nonce, countsUntilMs);
    return row.policy;
  }

  /** The origin's own limiter refuses the policy for a while; asking it again could only prolong that. */
  block(policy: PolicyName, untilMs: number): void {
    this.#sql.exec(
      `INSERT INTO origin_block (policy, until_ms) VALUES (?, ?)
       ON CONFLICT (policy) DO UPDATE SET until_ms = MAX(until_ms, excluded.until_ms)`,
      policy,
      untilMs,
    );
  }

  /** All that still counts, for the tenant that takes it over. */
  handOver(nowMs: number): Counted {
    const grants = this.#sql.exec<CountedGrant>(
      `SELECT nonce, policy, partition, tokens, usable_until_ms, counts_until_ms FROM grant_log
       WHERE counts_until_ms > ?`,
      nowMs,
    );
    const blocks = this.#sql.exec<OriginBlock>("SELECT policy, until_ms FROM origin_block");
    return { grants: grants.toArray(), blocks: blocks.toArray() };
  }

  /** What another tenant has counted counts here too. `keyId`: what shares the limit of a key from now on. */
  takeOver({ grants, blocks }: Counted, keyId: string): void {
    for (const { nonce, policy, partition, tokens, usable_until_ms, counts_until_ms } of grants) {
      this.#sql.exec(
        `INSERT INTO grant_log (nonce, policy, partition, tokens, usable_until_ms, counts_until_ms)
         VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
        nonce,
        policy,
        partition === "" ? "" : keyId,
        tokens,
        usable_until_ms,
        counts_until_ms,
      );
    }
    for (const { policy, until_ms } of blocks) this.block(policy, until_ms);
    // They are read anew, with what has come in.
    this.#windows.clear();
  }

  /** Latest instant at which any grant made so far can be used. */
  latestDeadlineMs(): number {
    return (
      this.#sql.exec<{ latest: number | null }>("SELECT MAX(usable_until_ms) AS latest FROM grant_log").one()
        .latest ?? 0
    );
  }

  /** How many passed in the last window only because the policy was in shadow. */
  passedInShadow(policy: PolicyName, partition: string, nowMs: number): number {
    return this.#sql
      .exec<{ count: number }>(
        `SELECT COUNT(*) AS count FROM grant_log
         WHERE policy = ? AND partition = ? AND counts_until_ms > ? AND tokens = 0`,
        policy,
        partition,
        nowMs,
      )
      .one().count;
  }

  #commit(ask: TokenAsk, tokens: 0 | 1): { readonly countsUntilMs: number } {
    const countsUntilMs = ask.reachesOriginUntilMs + ask.policy.windowSeconds * 1_000 + CLOCK_MARGIN_MS;
    this.#sql.exec(
      `INSERT INTO grant_log (nonce, policy, partition, tokens, usable_until_ms, counts_until_ms)
       VALUES (?, ?, ?, ?, ?, ?)`,
      ask.nonce,
      ask.policy.name,
      ask.partition,
      tokens,
      ask.usableUntilMs,
      countsUntilMs,
    );
    return { countsUntilMs };
  }

  #window(policy: PolicyName, partition: string, nowMs: number): RollingWindow {
    const key = windowKey(policy, partition);
    let window = this.#windows.get(key);
    if (window === undefined) {
      window = new RollingWindow(this.#spent(policy, partition, nowMs));
      this.#windows.set(key, window);
    }
    return window;
  }

  #spent(policy: PolicyName, partition: string, nowMs: number): Iterable<Spent> {
    return this.#sql.exec<{ nonce: string; tokens: number; countsUntilMs: number }>(
      `SELECT nonce, tokens, counts_until_ms AS countsUntilMs FROM grant_log
       WHERE policy = ? AND partition = ? AND counts_until_ms > ? AND tokens > 0`,
      policy,
      partition,
      nowMs,
    );
  }

  /** To an earlier ask with this nonce; null where there was none. */
  #tokensGiven(nonce: string): number | null {
    const rows = this.#sql.exec<{ tokens: number }>("SELECT tokens FROM grant_log WHERE nonce = ?", nonce);
    return rows.toArray()[0]?.tokens ?? null;
  }

  #originBlockUntilMs(policy: PolicyName): number {
    const rows = this.#sql.exec<{ until_ms: number }>(
      "SELECT until_ms FROM origin_block WHERE policy = ?",
      policy,
    );
    return rows.toArray()[0]?.until_ms ?? 0;
  }

  #prune(nowMs: number): void {
    if (nowMs - this.#prunedAtMs < PRUNE_EVERY_MS) return;
    this.#prunedAtMs = nowMs;
    this.#sql.exec("DELETE FROM grant_log WHERE counts_until_ms <= ?", nowMs);
    for (const [key, window] of this.#windows) if (window.isEmpty(nowMs)) this.#windows.delete(key);
  }
}

const windowKey = (policy: PolicyName, partition: string): string => `${policy} ${partition}`;

/**
 * Whole seconds, rounded up, so that whoever waits that long is not refused again. A token that is still on its
 * way counts for a little longer than its window; what is announced to a caller who was admitted is the window.
 */
function answer(granted: boolean, policy: Policy, remaining: number, waitMs: number): TokenAnswer {
  const seconds = Number.isFinite(waitMs) ? Math.ceil(waitMs / 1_000) : policy.windowSeconds;
  const resetSeconds = granted ? Math.min(seconds, policy.windowSeconds) : seconds;
  return { granted, quota: { policy, remaining, resetSeconds } };
}
