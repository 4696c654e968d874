/**
 * The arithmetic of a rolling window, pure: no clock, no storage.
 *
 * A token is *spent* when it is granted and counts until one window after the last instant at which it can
 * reach the origin. So, whatever the isolate that holds it does, no interval of the window's length sees more
 * than `limit` requests.
 */

/** Tokens of one grant that still count. */
export interface Spent {
  /** Identifies the grant. */
  readonly nonce: string;
  readonly tokens: number;
  /** Instant (ms) from which they no longer count. */
  readonly countsUntilMs: number;
}

export interface WindowState {
  /** Tokens that could be granted now. */
  readonly available: number;
  /** Milliseconds until a token comes back; 0 when none is out. */
  readonly resetMs: number;
  /** Milliseconds until one token can be granted; 0 when one is available. */
  readonly retryAfterMs: number;
}

export class RollingWindow {
  /** By `countsUntilMs`, ascending. */
  readonly #spent: Spent[];
  #total = 0;

  constructor(spent: Iterable<Spent> = []) {
    this.#spent = [...spent].sort((a, b) => a.countsUntilMs - b.countsUntilMs);
    for (const { tokens } of this.#spent) this.#total += tokens;
  }

  /** State at `nowMs` under `limit`; forgets what no longer counts. A limit of 0 grants nothing, ever. */
  at(nowMs: number, limit: number): WindowState {
    this.#forget(nowMs);
    const available = Math.max(0, limit - this.#total);
    const next = this.#spent[0];
    return {
      available,
      resetMs: next === undefined ? 0 : next.countsUntilMs - nowMs,
      retryAfterMs: available > 0 ? 0 : this.#untilBelow(limit, nowMs),
    };
  }

  isEmpty(nowMs: number): boolean {
    this.#forget(nowMs);
    return this.#spent.length === 0;
  }

  spend(spent: Spent): void {
    const before = this.#spent.findLastIndex((other) => other.countsUntilMs <= spent.countsUntilMs);
    this.#spent.splice(before + 1, 0, spent);
    this.#total += spent.tokens;
  }

  /**
   * It has turned out what became of a grant: no more than `tokens` of it were used, none of them later than a window before
   * `countsUntilMs`. Nothing counts for more, or for longer, than before.
   */
  settle(nonce: string, countsUntilMs: number, tokens = Number.POSITIVE_INFINITY): void {
    const at = this.#spent.findIndex((spent) => spent.nonce === nonce);
    const spent = this.#spent[at];
    if (spent === undefined) return;
    this.#spent.splice(at, 1);
    this.#total -= spent.tokens;
    const used = Math.min(spent.tokens, tokens);
    const untilMs = Math.min(spent.countsUntilMs, countsUntilMs);
    if (used > 0) this.spend({ nonce, tokens: used, countsUntilMs: untilMs });
  }

  #forget(nowMs: number): void {
    let gone = 0;
    for (const spent of this.#spent) {
      if (spent.countsUntilMs > nowMs) break;
      this.#total -= spent.tokens;
      gone++;
    }
    this.#spent.splice(0, gone);
  }

  #untilBelow(limit: number, nowMs: number): number {
    let total = this.#total;
    for (const spent of this.#spent) {
      total -= spent.tokens;
      if (total < limit) return spent.countsUntilMs - nowMs;
    }
    return Number.POSITIVE_INFINITY;
  }
}
