/**
 * Time, in milliseconds since the epoch, that never runs backwards within an isolate. The runtime's
 * `performance.now()` is its wall clock, so a step back would make whatever ends at an instant live longer; here
 * the clock stands still instead until the wall clock has caught up.
 */
let lastMs = 0;

export function steadyNowMs(): number {
  lastMs = Math.max(lastMs, Date.now());
  return lastMs;
}
