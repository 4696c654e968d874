/**
 * The clock of a simulation: events in the order of their instants, and the globals that the gateway's modules read time from.
 * Nothing waits for real: between two events only what is already due runs.
 */

const TURN = setImmediate;
/** So often the process may see to other things, such as signals. */
const TURN_EVERY = 20_000;
/** Whoever remembers the latest instant must not see an earlier one in the next simulation of the same process. */
let nextBeginMs = 2_000_000_000_000;
const BEGIN_STEP_MS = 1_000_000_000;

export interface Timer {
  readonly atMs: number;
  readonly order: number;
  /** Null once it has been cleared. */
  work: (() => void) | null;
}

export class VirtualTime {
  readonly beganAtMs: number;
  readonly #heap: Timer[] = [];
  #nowMs: number;
  #order = 0;
  #isStirred = false;
  #needsTurn = false;
  #settled = 0;
  #ids = 0;

  constructor() {
    this.beganAtMs = nextBeginMs;
    this.#nowMs = nextBeginMs;
  }

  /** Milliseconds since the epoch, with fractions. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** Milliseconds since this time began. */
  get passedMs(): number {
    return this.#nowMs - this.beganAtMs;
  }

  after(ms: number, work: () => void): Timer {
    const timer = { atMs: this.#nowMs + Math.max(0, ms), order: this.#order++, work };
    this.#push(timer);
    return timer;
  }

  sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      this.after(ms, () => {
        this.stir();
        resolve();
      });
    });
  }

  /** What the event at hand does goes on in promises, which have to settle before the next one. */
  stir(): void {
    this.#isStirred = true;
  }

  /** The same, where the promises are of the platform's own and may take more than a microtask. */
  stirDeeply(): void {
    this.#isStirred = true;
    this.#needsTurn = true;
  }

  async runUntil(untilMs: number): Promise<void> {
    await this.#settle();
    for (let next = this.#heap[0]; next !== undefined && next.atMs <= untilMs; next = this.#heap[0]) {
      this.#pop();
      const { work } = next;
      if (work === null) continue;
      this.#nowMs = next.atMs;
      work();
      if (this.#isStirred) await this.#settle();
    }
    this.#nowMs = Math.max(this.#nowMs, untilMs);
    nextBeginMs = Math.max(nextBeginMs, Math.ceil((this.#nowMs + 1) / BEGIN_STEP_MS) * BEGIN_STEP_MS);
  }

  /** Puts this time in the place of the real one. Returns what undoes that. */
  install(): () => void {
    const { setTimeout: realSet, clearTimeout: realClear } = globalThis;
    const [realNow, realPerformanceNow] = [Date.now, performance.now];
    const [realRandomUUID, realTimeout, realError] = [crypto.randomUUID, AbortSignal.timeout, console.error];
    const set = (work: () => void, ms = 0) =>
      this.after(ms, () => {
        this.stir();
        work();
      });
    const clear = (timer?: Timer) => {
      if (timer !== undefined) timer.work = null;
    };
    const never = new AbortController().signal;
    Object.assign(globalThis, { setTimeout: set, clearTimeout: clear });
    Date.now = () => Math.floor(this.#nowMs);
    performance.now = () => Math.floor(this.#nowMs);
    crypto.randomUUID = () => `00000000-0000-4000-8000-${String(this.#ids++).padStart(12, "0")}`;
    AbortSignal.timeout = () => never;
    // What the gateway would log is counted by what comes of it.
    console.error = () => {};
    return () => {
      Object.assign(globalThis, { setTimeout: realSet, clearTimeout: realClear });
      Date.now = realNow;
      performance.now = realPerformanceNow;
      crypto.randomUUID = realRandomUUID;
      AbortSignal.timeout = realTimeout;
      console.error = realError;
    };
  }

  /** Every promise that can settle without time passing has settled afterwards. */
  async #settle(): Promise<void> {
    do {
      const isTurn = this.#needsTurn || ++this.#settled % TURN_EVERY === 0;
      this.#isStirred = false;
      this.#needsTurn = false;
      // What was queued from within a microtask runs when all microtasks have.
      await new Promise<void>((resolve) => (isTurn ? TURN(resolve) : process.nextTick(resolve)));
      if (isTurn) await new Promise<void>((resolve) => TURN(resolve));
    } while (this.#isStirred);
  }

  #push(timer: Timer): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(timer);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || isBefore(above, timer)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = timer;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop();
    if (last === undefined || heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      const [left, right] = [heap[child], heap[child + 1]];
      if (left === undefined) break;
      let lesser = left;
      if (right !== undefined && isBefore(right, left)) {
        lesser = right;
        child++;
      }
      if (isBefore(last, lesser)) break;
      heap[at] = lesser;
      at = child;
    }
    heap[at] = last;
  }
}

const isBefore = (a: Timer, b: Timer): boolean => a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
