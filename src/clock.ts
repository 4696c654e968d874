/**
 * Time, in milliseconds since the epoch, that never runs backwards within an isolate. The runtime's `performance.now()` is its
 * wall clock, so a step back would make whatever ends at an instant live longer.
 */
let lastMs = 0;

/** For instants that are written down: stands still until the wall clock has caught up. */
export function steadyNowMs(): number {
  lastMs = Math.max(lastMs, Date.now());
  return lastMs;
}

/** For how long something has lasted: goes on from where it was, as fast as the wall clock, whatever that is set to. */
export class SteadyClock {
  readonly #wallMs: () => number;
  #lastWallMs = 0;
  #lastMs = 0;
  #setBack = 0;

  constructor(wallMs: () => number = () => Date.now()) {
    this.#wallMs = wallMs;
  }

  nowMs(): number {
    const wallMs = this.#wallMs();
    const passedMs = wallMs - this.#lastWallMs;
    if (passedMs < 0) this.#setBack++;
    else this.#lastMs += passedMs;
    this.#lastWallMs = wallMs;
    return this.#lastMs;
  }

  /** How often the wall clock has been seen to go back: how much time has passed since before is not known then. */
  get timesSetBack(): number {
    return this.#setBack;
  }
}
