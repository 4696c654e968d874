/** How often a tenant's authority is asked, and so how long its leases are to be. No clock of its own. */
import { Rate } from "./rate.ts";

/** What one object answers with ease: a tenth of what it could. */
const EASY_PER_SECOND = 50;
/** Half of what it could. */
const BUSY_PER_SECOND = 250;

export class AskRate {
  readonly #perSecond = new Rate(1_000);

  note(nowMs: number): void {
    this.#perSecond.note(nowMs);
  }

  /** The longer, the more asks there are; never beyond `maxMs`. */
  stretch(ttlMs: number, maxMs: number, nowMs: number): number {
    const perSecond = this.#perSecond.most(nowMs);
    return Math.min(maxMs, Math.ceil(ttlMs * Math.max(1, perSecond / EASY_PER_SECOND)));
  }

  /** How much of what it may be asked it is asked: from 0 to 1. */
  load(nowMs: number): number {
    return Math.min(1, this.#perSecond.most(nowMs) / BUSY_PER_SECOND);
  }
}
