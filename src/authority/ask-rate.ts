/** How often a tenant's authority is asked, and so how long its leases are to be. No clock of its own. */

/** What one object answers with ease: a fifth of what it could. */
const EASY_PER_SECOND = 50;
const SPAN_MS = 1_000;

export class AskRate {
  #beganAtMs = 0;
  #count = 0;
  #before = 0;

  note(nowMs: number): void {
    this.#turn(nowMs);
    this.#count++;
  }

  /** The longer, the more asks there are; never beyond `maxMs`. */
  stretch(ttlMs: number, maxMs: number, nowMs: number): number {
    this.#turn(nowMs);
    const perSecond = Math.max(this.#count, this.#before);
    return Math.min(maxMs, Math.ceil(ttlMs * Math.max(1, perSecond / EASY_PER_SECOND)));
  }

  #turn(nowMs: number): void {
    const passedMs = nowMs - this.#beganAtMs;
    if (passedMs < SPAN_MS) return;
    this.#before = passedMs < 2 * SPAN_MS ? this.#count : 0;
    this.#count = 0;
    this.#beganAtMs = nowMs;
  }
}
