/** Chance that can be had again: the same seed, the same numbers. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** One of its own for each part, so that what one part draws changes nothing for the others. */
  fork(part: number): Random {
    return new Random(Math.imul(this.#state ^ (part + 1), 0x9e3779b1) ^ 0x5bd1e995);
  }

  /** From 0 to 1, without 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number, both ends included. */
  between(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  chance(part: number): boolean {
    return this.next() < part;
  }

  pick<T>(from: readonly T[]): T {
    const picked = from[Math.floor(this.next() * from.length)];
    if (picked === undefined) throw new Error("there is nothing to pick from");
    return picked;
  }

  /** As between arrivals that know nothing of each other: `mean` on average. */
  pause(mean: number): number {
    return Math.min(10 * mean, -mean * Math.log(1 - this.next()));
  }
}
