/** How much of something there was lately, in spans of time: the last whole one, and the one at hand. No clock of its own. */
export class Rate {
  readonly #spanMs: number;
  #firstAtMs: number | null = null;
  #beganAtMs = 0;
  #now = 0;
  #before = 0;

  constructor(spanMs: number) {
    this.#spanMs = spanMs;
  }

  note(nowMs: number, amount = 1): void {
    this.#turn(nowMs);
    this.#firstAtMs ??= nowMs;
    this.#now += amount;
  }

  /** In one span: the larger of the two. */
  most(nowMs: number): number {
    this.#turn(nowMs);
    return Math.max(this.#now, this.#before);
  }

  /** Whether it has been watched for a whole span. */
  isKnown(nowMs: number): boolean {
    return this.#firstAtMs !== null && nowMs - this.#firstAtMs >= this.#spanMs;
  }

  #turn(nowMs: number): void {
    const passedMs = nowMs - this.#beganAtMs;
    if (passedMs < this.#spanMs) return;
    this.#before = passedMs < 2 * this.#spanMs ? this.#now : 0;
    this.#now = 0;
    this.#beganAtMs = nowMs;
  }
}
