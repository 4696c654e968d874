/**
 * Bounds how long one party may keep the gateway waiting, counted only while it does: started when its turn
 * begins, stopped when it has moved. A slow client thereby never uses up the origin's time.
 *
 * One timer serves many turns, because setting and clearing one costs as much as a tenth of a forwarded request.
 */
export class Stopwatch {
  readonly #limitMs: number;
  readonly #onExpiry: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When the turn under way has lasted too long; null between turns. */
  #deadlineMs: number | null = null;
  #state: "idle" | "expired" | "retired" = "idle";

  constructor(limitMs: number, onExpiry: () => void) {
    this.#limitMs = limitMs;
    this.#onExpiry = onExpiry;
  }

  get expired(): boolean {
    return this.#state === "expired";
  }

  start(): void {
    if (this.#state !== "idle") return;
    this.#deadlineMs = Date.now() + this.#limitMs;
    this.#timer ??= setTimeout(() => this.#look(), this.#limitMs);
  }

  stop(): void {
    this.#deadlineMs = null;
  }

  /** For good: what it was waiting for has happened. */
  retire(): void {
    clearTimeout(this.#timer);
    if (this.#state === "idle") this.#state = "retired";
  }

  #look(): void {
    this.#timer = undefined;
    if (this.#deadlineMs === null) return;
    const leftMs = this.#deadlineMs - Date.now();
    if (leftMs > 0) {
      this.#timer = setTimeout(() => this.#look(), leftMs);
      return;
    }
    this.#state = "expired";
    this.#onExpiry();
  }
}
