/** Requests that an isolate may admit on its own: tokens of one grant, used one by one. No clock of its own. */
import type { Done } from "../authority/protocol.ts";
import type { Quota } from "../quota/policy.ts";

/** What is used in less time than that is a burst, and no measure of what comes. */
const MEASURED_MS = 1_000;

export class TokenBucket {
  readonly #nonce: string;
  readonly #granted: number;
  /** From then on they can't be used any more. */
  readonly untilMs: number;
  readonly #beganAtMs: number;
  readonly #quota: Quota;
  /** When (ms) the next token comes back to the policy. */
  readonly #resetAtMs: number;
  #used = 0;

  constructor(nonce: string, granted: number, quota: Quota, beganAtMs: number, untilMs: number) {
    this.#nonce = nonce;
    this.#granted = granted;
    this.#quota = quota;
    this.#beganAtMs = beganAtMs;
    this.untilMs = untilMs;
    this.#resetAtMs = beganAtMs + quota.resetSeconds * 1_000;
  }

  /** Of the policy that they were granted under. */
  get limit(): number {
    return this.#quota.policy.limit;
  }

  isOver(nowMs: number): boolean {
    return this.#used >= this.#granted || nowMs >= this.untilMs;
  }

  left(nowMs: number): number {
    return nowMs < this.untilMs ? this.#granted - this.#used : 0;
  }

  /** Little is left of what is used up faster than it lasts. */
  isRunningOut(nowMs: number): boolean {
    const left = this.left(nowMs);
    if (left === 0 || left > this.#granted / 4) return false;
    return left <= Math.ceil(this.expected(this.untilMs - nowMs, nowMs));
  }

  /** How many are used in that time, as far as the past tells; not rounded, so that what is seldom stays seldom. */
  expected(forMs: number, nowMs: number): number {
    return (this.#used * forMs) / Math.max(MEASURED_MS, nowMs - this.#beganAtMs);
  }

  /** One request; call where it is not over. The state of its policy afterwards, as far as this isolate knows. */
  take(nowMs: number): Quota {
    this.#used++;
    const { policy, remaining } = this.#quota;
    const resetSeconds = Math.max(1, Math.ceil((this.#resetAtMs - nowMs) / 1_000));
    return { policy, remaining: remaining + this.#granted - this.#used, resetSeconds };
  }

  done(): Done {
    return { nonce: this.#nonce, used: this.#used };
  }
}
