/**
 * Bounds how long one party may keep the gateway waiting, counted only while it does: started when its turn
 * begins, stopped when it has moved. A slow client thereby never uses up the origin's time.
 */
export class Stopwatch {
  readonly #limitMs: number;
  readonly #onExpiry: () => void;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #state: "idle" | "expired" | "retired" = "idle";

  constructor(limitMs: number, onExpiry: () => void) {
    this.#limitMs = limitMs;
    this.#onExpiry = onExpiry;
  }

  get expired(): boolean {
    return this.#state === "expired";
  }

  start(): void {
    clearTimeout(this.#timer);
    if (this.#state !== "idle") return;
    this.#timer = setTimeout(() => {
      this.#state = "expired";
      this.#onExpiry();
    }, this.#limitMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  /** For good: what it was waiting for has happened. */
  retire(): void {
    clearTimeout(this.#timer);
    if (this.#state === "idle") this.#state = "retired";
  }
}
