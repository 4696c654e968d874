/** What is true, counted apart from the gateway: exact windows over what was admitted, and ends of what was revoked. */

/** Requests in any interval of a window's length. Instants are milliseconds and come in their order. */
export class ExactWindow {
  readonly #windowMs: number;
  #instants: number[] = [];
  #first = 0;

  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  countAt(atMs: number): number {
    while (this.#first < this.#instants.length && (this.#instants[this.#first] ?? 0) <= atMs - this.#windowMs)
      this.#first++;
    if (this.#first > 4_096 && 2 * this.#first > this.#instants.length) {
      this.#instants = this.#instants.slice(this.#first);
      this.#first = 0;
    }
    return this.#instants.length - this.#first;
  }

  add(atMs: number): void {
    this.#instants.push(atMs);
  }
}

/**
 * A limit, watched: what was admitted beyond it, and what somebody who sees everything at once would have admitted. What was let
 * in by an isolate that could not ask is nobody's fault but its own: it does not count against the others.
 */
export class LimitOracle {
  readonly #limit: number;
  readonly #granted: ExactWindow;
  readonly #all: ExactWindow;
  readonly #ideal: ExactWindow;

  constructor(limit: number, windowMs: number) {
    this.#limit = limit;
    this.#granted = new ExactWindow(windowMs);
    this.#all = new ExactWindow(windowMs);
    this.#ideal = new ExactWindow(windowMs);
  }

  /** A request comes in. Whether it would have been admitted by who sees everything. */
  comes(atMs: number): boolean {
    if (this.#ideal.countAt(atMs) >= this.#limit) return false;
    this.#ideal.add(atMs);
    return true;
  }

  /** A request is admitted. Whether it is one too many, and whether only together with those of who could not ask. */
  admitted(atMs: number, degraded = false): "within" | "over" | "over degraded" {
    const isOver = !degraded && this.#granted.countAt(atMs) >= this.#limit;
    const isOverAll = this.#all.countAt(atMs) >= this.#limit;
    if (!degraded) this.#granted.add(atMs);
    this.#all.add(atMs);
    if (isOver) return "over";
    return isOverAll ? "over degraded" : "within";
  }
}

export interface Revocation {
  /** When the operator had the answer. */
  readonly answeredAtMs: number;
  readonly effectiveByMs: number;
  readonly degradedUntilMs: number;
  /** Latest admission by who could ask, and by who could not. */
  lastMs: number;
  lastDegradedMs: number;
}

/** Ends of credentials: how long after the answer they were still admitted, and whether longer than announced. */
export class RevocationOracle {
  readonly #revoked = new Map<string, Revocation>();

  /** What all of them have seen, together. */
  static of(oracles: readonly RevocationOracle[]): RevocationOracle {
    const all = new RevocationOracle();
    // The same key may have been revoked in each of them.
    for (const [i, oracle] of oracles.entries())
      for (const [digest, revocation] of oracle.#revoked) all.#revoked.set(`${i} ${digest}`, revocation);
    return all;
  }

  revoked(
    digest: string,
    receipt: Pick<Revocation, "answeredAtMs" | "effectiveByMs" | "degradedUntilMs">,
  ): void {
    this.#revoked.set(digest, { ...receipt, lastMs: 0, lastDegradedMs: 0 });
  }

  admitted(digest: string, atMs: number, degraded: boolean): void {
    if (this.#revoked.size === 0) return;
    const revocation = this.#revoked.get(digest);
    if (revocation === undefined) return;
    if (degraded) revocation.lastDegradedMs = atMs;
    else revocation.lastMs = atMs;
  }

  get count(): number {
    return this.#revoked.size;
  }

  /** Milliseconds from the answer to the last admission, ascending; 0 where there was none after it. */
  delaysMs(): number[] {
    const last = ({ lastMs, lastDegradedMs }: Revocation) => Math.max(lastMs, lastDegradedMs);
    return [...this.#revoked.values()]
      .map((each) => Math.max(0, last(each) - each.answeredAtMs))
      .sort(ascending);
  }

  /** Milliseconds from the answer to what was announced, ascending. */
  boundsMs(): number[] {
    return [...this.#revoked.values()]
      .map(({ effectiveByMs, answeredAtMs }) => Math.max(0, effectiveByMs - answeredAtMs))
      .sort(ascending);
  }

  /** How many were admitted after the announced instant. */
  get late(): number {
    return [...this.#revoked.values()].filter(
      ({ lastMs, effectiveByMs, lastDegradedMs, degradedUntilMs }) =>
        lastMs > effectiveByMs || lastDegradedMs > degradedUntilMs,
    ).length;
  }
}

const ascending = (a: number, b: number): number => a - b;
