/** What goes wrong with the origin, and when: now and then, all the time. */
import { setTimeout as delay } from "node:timers/promises";
import { FAULTS } from "./ledger.ts";
import type { Origin } from "./origin.ts";
import type { Random } from "./random.ts";

/** Between two moods of the origin, and how long one lasts. */
const QUIET_MS = [300, 2_500] as const;
const MOOD_MS = [500, 3_000] as const;
const DOWN_MS = [300, 1_500] as const;
const SLOW_MS = [100, 1_500] as const;
const DOWN_CHANCE = 0.1;

export async function troubleOrigin(origin: Origin, random: Random, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    await delay(random.between(...QUIET_MS));
    if (random.chance(DOWN_CHANCE)) {
      await origin.goDown(delay(random.between(...DOWN_MS)));
      continue;
    }
    const share = random.pick([0.1, 0.3, 0.8]);
    origin.mood = {
      fault: random.pick(FAULTS),
      appliesTo: () => random.chance(share),
      slowMs: () => random.between(...SLOW_MS),
    };
    await delay(random.between(...MOOD_MS));
    origin.mood = null;
  }
}
