/**
 * Time, in milliseconds since the epoch, that never runs backwards within an isolate. The runtime's
 * `performance.now()` is its wall clock, so a step back would make whatever ends at an instant live longer; here
 * the clock stands still instead until the wall clock has caught up, and tells that it has been set back.
 */
export class SteadyClock {
  readonly #wallMs: () => number;
  #lastWallMs = 0;
  #lastMs = 0;
  #setBack = 0;

  constructor(wallMs: () => number = Date.now) {
    this.#wallMs = wallMs;
  }

  nowMs(): number {
    const wallMs = this.#wallMs();
    if (wallMs < this.#lastWallMs) this.#setBack++;
    this.#lastWallMs = wallMs;
    if (wallMs > this.#lastMs) this.#lastMs = wallMs;
    return this.#lastMs;
  }

  /** How often the wall clock has been seen to go back: how much time has passed since before is not known then. */
  get timesSetBack(): number {
    return this.#setBack;
  }
}

export const isolateClock = new SteadyClock(() => Date.now());
export const steadyNowMs = (): number => isolateClock.nowMs();
