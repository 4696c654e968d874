/**
 * The grants of a tenant: committed to SQLite, counted in memory. Everything here is synchronous, so that an ask
 * is decided and committed with no other in between, and the object's output gate holds the reply until it is.
 */
import { POLICIES, type Policy, type PolicyName, type Quota } from "../quota/policy.ts";
import { RollingWindow, type Spent } from "../quota/window.ts";
import { CLOCK_MARGIN_MS, type Done } from "./protocol.ts";
import { Rate } from "./rate.ts";

const PRUNE_EVERY_MS = 60_000;
/** Most that one ask gets of what is left. */
const SHARES = 8;
/** What is no more than a thousandth of what can be spared is missed by nobody. */
const PLENTY = 1_000;
const MAX_PLENTY = 64;
const PLENTY_MS = 300_000;
/** Parts of the limit. */
const UNTOUCHED = 7 / 8;
const SCARCE = 1 / 4;
/** What is used in that time says how fast a limit is used up. */
const USE_MS = 10_000;
const DEADLINE_STEP_MS = 1_000;
/** In place of the last instant of use, and long past: it has been told what became of the tokens. */
const CLOSED = 1;

export interface TokenAsk {
  readonly nonce: string;
  readonly policy: Policy;
  /** What the policy's limit is shared by. */
  readonly partition: string;
  /** Tokens wished for; one at least. */
  readonly wish: number;
  /** And where little of the limit is left; 0: none. */
  readonly scarceWish: number;
  /** No more than one can be used. */
  readonly isSingle: boolean;
  /** Last instant at which one token can be used, and at which several can. */
  readonly usableUntilMs: number;
  readonly severalUntilMs: number;
  /** How long (ms) after that its request can reach the origin. */
  readonly settleWithinMs: number;
  /** What is refused passes all the same: committed like a grant, but of no tokens. */
  readonly inShadow: boolean;
}

export interface TokenAnswer {
  readonly granted: boolean;
  readonly tokens: number;
  /** Last instant at which they can be used. */
  readonly usableUntilMs: number;
  readonly quota: Quota;
}

/** A grant that has not ended yet. */
export interface CountedGrant extends Record<string, SqlStorageValue> {
  readonly nonce: string;
  readonly policy: PolicyName;
  readonly partition: string;
  readonly tokens: number;
  readonly usable_until_ms: number;
  readonly counts_until_ms: number;
}

const GRANT_COLUMNS = "nonce, policy, partition, tokens, usable_until_ms, counts_until_ms";

interface OriginBlock extends Record<string, SqlStorageValue> {
  readonly policy: PolicyName;
  readonly until_ms: number;
}

/** What a tenant has used of its limits, as far as it still counts. */
export interface Counted {
  readonly grants: readonly CountedGrant[];
  readonly blocks: readonly OriginBlock[];
  /** Latest instant at which any isolate may still decide on it. */
  readonly deadlineMs: number;
}

/** What of a limit is used and left. */
export interface LedgerUsage {
  readonly quota: Quota;
  readonly outstanding: number;
  readonly passedInShadow: number;
}

interface GrantRow extends Record<string, SqlStorageValue> {
  readonly policy: PolicyName;
  readonly partition: string;
  readonly tokens: number;
  readonly usable_until_ms: number;
}

type Given = Pick<TokenAnswer, "tokens" | "usableUntilMs">;
const NOTHING: Given = { tokens: 0, usableUntilMs: 0 };

export class Ledger {
  readonly #sql: SqlStorage;
  readonly #windows = new Map<string, RollingWindow>();
  readonly #use = new Map<string, Rate>();
  #prunedAtMs = 0;
  #deadlineMs: number | null = null;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** After a transaction that was rolled back, what was read or raised in it never was. */
  forget(): void {
    this.#windows.clear();
    this.#deadlineMs = null;
  }

  /** What an ask would find, without asking. */
  look(policy: Policy, partition: string, nowMs: number): TokenAnswer {
    const { available, resetMs, retryAfterMs } = this.#window(policy.name, partition, nowMs).at(
      nowMs,
      policy.limit,
    );
    const blockedMs = this.#originBlockUntilMs(policy.name) - nowMs;
    if (blockedMs > 0) return refused(policy, Math.max(blockedMs, retryAfterMs));
    if (available === 0) return refused(policy, retryAfterMs);
    return granted(NOTHING, policy, available, resetMs);
  }

  /** Tokens, if the policy has any to give. An ask that was granted before is granted again, not counted again. */
  take(ask: TokenAsk, nowMs: number): TokenAnswer {
    this.#prune(nowMs);
    const { policy, partition } = ask;
    const window = this.#window(policy.name, partition, nowMs);
    const use = this.#useOf(policy.name, partition);
    const before = window.at(nowMs, policy.limit);
    const earlier = this.#given(ask.nonce);
    if (earlier !== null && earlier.tokens > 0) {
      return granted(earlier, policy, before.available, before.resetMs);
    }
    const blockedMs = this.#originBlockUntilMs(policy.name) - nowMs;
    if (earlier !== null || blockedMs > 0 || before.available === 0) {
      if (ask.inShadow && earlier === null) this.#commit(ask, 0, ask.usableUntilMs);
      return refused(policy, Math.max(blockedMs, before.retryAfterMs));
    }
    // A share of what is left: there are other isolates, and the last tokens are given one by one. Of plenty, also what is
    // not wished for, and for long: it spares a busy tenant's authority asks about each of its keys.
    const spare = this.#spare(policy, before.available, use, nowMs);
    const plenty = ask.isSingle ? 0 : Math.min(MAX_PLENTY, Math.floor(spare));
    const share = Math.max(1, Math.floor(before.available / SHARES));
    const isScarce = before.available < SCARCE * policy.limit;
    const tokens = Math.min(Math.max(isScarce ? ask.scarceWish : ask.wish, plenty), share);
    if (tokens === 0) return granted(NOTHING, policy, before.available, before.resetMs);
    // For long only where it is known how fast the limit is used up, or little of it has been given yet.
    const isUntouched = before.available >= UNTOUCHED * policy.limit;
    const isPlenty = tokens <= spare && (isUntouched || use.isKnown(nowMs));
    const severalUntilMs = isPlenty ? nowMs + PLENTY_MS : ask.severalUntilMs;
    const usableUntilMs = tokens > 1 ? severalUntilMs : ask.usableUntilMs;
    const countsUntilMs = this.#commit(ask, tokens, usableUntilMs);
    window.spend({ nonce: ask.nonce, tokens, countsUntilMs });
    const after = window.at(nowMs, policy.limit);
    return granted({ tokens, usableUntilMs }, policy, after.available, after.resetMs);
  }

  /** None of a grant will be used any more, nor has been later than now. Hearing it twice changes nothing. */
  done({ nonce, used }: Done, nowMs: number): void {
    const row = this.#rowOf(nonce);
    if (row === undefined || POLICIES[row.policy].countedByOrigin || row.tokens === 0) return;
    if (row.usable_until_ms === CLOSED) return;
    const atMost = Math.min(row.tokens, Math.max(0, used));
    this.#useOf(row.policy, row.partition).note(nowMs, atMost);
    this.#close(nonce, { ...row, usable_until_ms: CLOSED }, atMost, nowMs);
  }

  /**
   * The origin has answered: the token reached it no later than now. Returns the policy it was of, or null where
   * no such grant counts any more.
   */
  settle(nonce: string, nowMs: number): PolicyName | null {
    const row = this.#rowOf(nonce);
    if (row === undefined) return null;
    this.#close(nonce, row, row.tokens, nowMs);
    return row.policy;
  }

  /** What was used of a grant counts for one window from now at most; the rest not at all. */
  #close(nonce: string, row: GrantRow, used: number, nowMs: number): void {
    const { policy, partition, tokens, usable_until_ms } = row;
    const countsUntilMs = nowMs + POLICIES[policy].windowSeconds * 1_000 + CLOCK_MARGIN_MS;
    if (used === 0 && tokens > 0) this.#sql.exec("DELETE FROM grant_log WHERE nonce = ?", nonce);
    else {
      this.#sql.exec(
        `UPDATE grant_log SET tokens = ?, usable_until_ms = ?, counts_until_ms = MIN(counts_until_ms, ?)
         WHERE nonce = ?`,
        used,
        usable_until_ms,
        countsUntilMs,
        nonce,
      );
    }
    this.#windows.get(windowKey(policy, partition))?.settle(nonce, countsUntilMs, used);
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

  /** What still counts of one policy and partition, for the branch that takes it over. */
  handOverPart(policy: PolicyName, partition: string, nowMs: number): CountedGrant[] {
    return this.#sql
      .exec<CountedGrant>(
        `SELECT ${GRANT_COLUMNS} FROM grant_log
         WHERE policy = ? AND partition = ? AND counts_until_ms > ? AND tokens > 0`,
        policy,
        partition,
        nowMs,
      )
      .toArray();
  }

  /** All that still counts, for the tenant that takes it over. */
  handOver(nowMs: number): Counted {
    const grants = this.#sql.exec<CountedGrant>(
      `SELECT ${GRANT_COLUMNS} FROM grant_log WHERE counts_until_ms > ? AND tokens > 0`,
      nowMs,
    );
    const blocks = this.#sql.exec<OriginBlock>("SELECT policy, until_ms FROM origin_block");
    return { grants: grants.toArray(), blocks: blocks.toArray(), deadlineMs: this.latestDeadlineMs() };
  }

  /** What another tenant has counted counts here too. `keyId`: what shares the limit of a key from now on. */
  takeOver({ grants, blocks, deadlineMs }: Counted, keyId: string): void {
    this.takeOverGrants(grants, keyId);
    for (const { policy, until_ms } of blocks) this.block(policy, until_ms);
    this.extendDeadline(deadlineMs);
  }

  takeOverGrants(grants: readonly CountedGrant[], keyId: string): void {
    for (const { nonce, policy, partition, tokens, usable_until_ms, counts_until_ms } of grants) {
      const shared = partition === "" ? "" : keyId;
      this.#sql.exec(
        `INSERT INTO grant_log (${GRANT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)
         ON CONFLICT (nonce) DO UPDATE SET counts_until_ms = MIN(counts_until_ms, excluded.counts_until_ms)`,
        nonce,
        policy,
        shared,
        tokens,
        usable_until_ms,
        counts_until_ms,
      );
      // It is read anew, with what has come in.
      this.#windows.delete(windowKey(policy, shared));
    }
  }

  /** Latest instant at which any isolate may still decide by itself. */
  latestDeadlineMs(): number {
    this.#deadlineMs ??= this.#persistedDeadlineMs();
    return this.#deadlineMs;
  }

  /** Call before the answer that lets an isolate decide until then. Rounded up, so that it is not written for each. */
  extendDeadline(untilMs: number): void {
    if (untilMs <= this.latestDeadlineMs()) return;
    this.#deadlineMs = untilMs;
    if (untilMs <= this.#persistedDeadlineMs()) return;
    this.#sql.exec(
      "UPDATE latest_deadline SET until_ms = ?",
      Math.ceil(untilMs / DEADLINE_STEP_MS) * DEADLINE_STEP_MS,
    );
  }

  #persistedDeadlineMs(): number {
    return this.#sql.exec<{ until_ms: number }>("SELECT until_ms FROM latest_deadline").one().until_ms;
  }

  usage(policy: Policy, partition: string, nowMs: number): LedgerUsage {
    return {
      quota: this.look(policy, partition, nowMs).quota,
      outstanding: this.outstanding(policy.name, partition, nowMs),
      passedInShadow: this.passedInShadow(policy.name, partition, nowMs),
    };
  }

  /** Tokens that isolates hold, and may have used or not. */
  outstanding(policy: PolicyName, partition: string, nowMs: number): number {
    return this.#sql
      .exec<{ tokens: number }>(
        `SELECT COALESCE(SUM(tokens), 0) AS tokens FROM grant_log
         WHERE policy = ? AND partition = ? AND counts_until_ms > ? AND usable_until_ms > ?`,
        policy,
        partition,
        nowMs,
        nowMs,
      )
      .one().tokens;
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

  /** Until when (ms) it counts. */
  #commit(ask: TokenAsk, tokens: number, usableUntilMs: number): number {
    const { name, windowSeconds } = ask.policy;
    const countsUntilMs = usableUntilMs + ask.settleWithinMs + windowSeconds * 1_000 + CLOCK_MARGIN_MS;
    this.#sql.exec(
      `INSERT INTO grant_log (${GRANT_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)`,
      ask.nonce,
      name,
      ask.partition,
      tokens,
      usableUntilMs,
      countsUntilMs,
    );
    return countsUntilMs;
  }

  /**
   * What one ask may have unasked: never of what will be used, if it goes on as lately, nor of the last quarter of the limit.
   * Thousands of isolates would keep it from those who have a use for it.
   */
  #spare({ limit, windowSeconds }: Policy, available: number, use: Rate, nowMs: number): number {
    const inWindow = (use.most(nowMs) * windowSeconds * 1_000) / USE_MS;
    return Math.max(0, Math.min(available, limit - inWindow) - SCARCE * limit) / PLENTY;
  }

  /** Tokens of it that isolates have used, as far as they have told in this life of the object. */
  #useOf(policy: PolicyName, partition: string): Rate {
    const key = windowKey(policy, partition);
    let use = this.#use.get(key);
    if (use === undefined) {
      use = new Rate(USE_MS);
      this.#use.set(key, use);
    }
    return use;
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
  #given(nonce: string): Given | null {
    const row = this.#rowOf(nonce);
    return row === undefined ? null : { tokens: row.tokens, usableUntilMs: row.usable_until_ms };
  }

  #rowOf(nonce: string): GrantRow | undefined {
    return this.#sql
      .exec<GrantRow>(
        "SELECT policy, partition, tokens, usable_until_ms FROM grant_log WHERE nonce = ?",
        nonce,
      )
      .toArray()[0];
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
    for (const key of this.#use.keys()) if (!this.#windows.has(key)) this.#use.delete(key);
  }
}

const windowKey = (policy: PolicyName, partition: string): string => `${policy} ${partition}`;

/**
 * Whole seconds, rounded up, so that whoever waits that long is not refused again. A token that is still on its
 * way counts for a little longer than its window; what is announced to a caller who was admitted is the window.
 */
function granted(given: Given, policy: Policy, remaining: number, resetMs: number): TokenAnswer {
  const resetSeconds = Math.min(Math.ceil(resetMs / 1_000), policy.windowSeconds);
  return { granted: true, ...given, quota: { policy, remaining, resetSeconds } };
}

function refused(policy: Policy, waitMs: number): TokenAnswer {
  const resetSeconds = Number.isFinite(waitMs) ? Math.ceil(waitMs / 1_000) : policy.windowSeconds;
  return { granted: false, ...NOTHING, quota: { policy, remaining: 0, resetSeconds } };
}
