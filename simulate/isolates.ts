/** The gateway's isolates in every location: born when a request comes, gone after a while, each with its own memory and clock. */
import { SteadyClock } from "../src/clock.ts";
import { readConfig } from "../src/config.ts";
import { compose, type Deps } from "../src/deps.ts";
import type { Env } from "../src/env.ts";
import type { Geography } from "./geography.ts";
import type { Random } from "./random.ts";
import type { VirtualTime } from "./virtual-time.ts";

const LIFE_MS = 900_000;
/** How far a machine's clock may be off. */
const CLOCK_OFF_MS = 500;

export interface Isolate {
  readonly location: number;
  readonly deps: Deps;
  readonly diesAtMs: number;
  /** Credentials it has seen, for how much its memories have to hold. */
  readonly seen: Set<string>;
}

export class Isolates {
  readonly #time: VirtualTime;
  readonly #random: Random;
  readonly #envOf: (location: number, before: boolean) => Env;
  readonly #slots: (Isolate | null)[][];
  /** Share of the places whose isolates are of the version before leases. */
  #beforeShare = 0;

  constructor(
    time: VirtualTime,
    geography: Geography,
    random: Random,
    envOf: (location: number, before: boolean) => Env,
  ) {
    this.#time = time;
    this.#random = random;
    this.#envOf = envOf;
    this.#slots = geography.locations.map(({ isolates }) => new Array<Isolate | null>(isolates).fill(null));
  }

  /** Any of those in that location, by chance: nothing makes a client come back to the same one. */
  pick(location: number): Isolate {
    const slots = this.#slots[location] ?? [];
    const at = this.#random.below(slots.length);
    const there = slots[at] ?? null;
    if (there !== null && this.#time.nowMs < there.diesAtMs) return there;
    const isolate = this.#bear(location, at < this.#beforeShare * slots.length);
    slots[at] = isolate;
    return isolate;
  }

  all(): Isolate[] {
    return this.#slots.flat().filter((isolate) => isolate !== null);
  }

  /** All are replaced; so many of them by isolates of the version before leases. */
  roll(beforeShare: number): void {
    this.#beforeShare = beforeShare;
    for (const slots of this.#slots) slots.fill(null);
  }

  #bear(location: number, before: boolean): Isolate {
    const env = this.#envOf(location, before);
    const config = readConfig(env);
    if (!config.ok) throw new Error(JSON.stringify(config.problem));
    const offMs = (2 * this.#random.next() - 1) * CLOCK_OFF_MS;
    const clock = new SteadyClock(() => Math.floor(this.#time.nowMs + offMs));
    const diesAtMs = this.#time.nowMs + this.#random.exponential(LIFE_MS);
    return { location, deps: compose(env, config.config, clock), diesAtMs, seen: new Set() };
  }
}
