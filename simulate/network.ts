/** Messages between locations: by distance, with jitter, and lost where a location is cut off. */
import type { Geography } from "./geography.ts";
import type { Random } from "./random.ts";
import type { VirtualTime } from "./virtual-time.ts";

/** Of the way's own time, on the average. */
const JITTER = 0.1;

export class Network {
  readonly time: VirtualTime;
  readonly geography: Geography;
  /** The location that nothing gets out of, and nothing into, but what clients send. */
  cutOff: number | null = null;
  readonly #random: Random;

  constructor(time: VirtualTime, geography: Geography, random: Random) {
    this.time = time;
    this.geography = geography;
    this.#random = random;
  }

  /** Milliseconds of one way. */
  wayMs(from: number, to: number): number {
    const ms = this.geography.oneWayMs(from, to);
    return ms + this.#random.exponential(JITTER * ms);
  }

  isLost(from: number, to: number): boolean {
    return from !== to && (from === this.cutOff || to === this.cutOff);
  }

  send(from: number, to: number, arrive: () => void): void {
    if (this.isLost(from, to)) return;
    this.time.after(this.wayMs(from, to), () => {
      this.time.stir();
      arrive();
    });
  }
}
