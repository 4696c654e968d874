/** What goes wrong, and when: the origin now and then all the time, the gateway killed in the first part of the run. */
import { setTimeout as delay } from "node:timers/promises";
import { FAULTS, type Interval } from "./ledger.ts";
import type { Origin } from "./origin.ts";
import type { Random } from "./random.ts";
import type { Gateway } from "./scene.ts";

/** Between two moods of the origin, and how long one lasts. */
const QUIET_MS = [300, 2_500] as const;
const MOOD_MS = [500, 3_000] as const;
const DOWN_MS = [300, 1_500] as const;
const SLOW_MS = [100, 1_500] as const;
const DOWN_CHANCE = 0.1;

const BETWEEN_KILLS_MS = [12_000, 45_000] as const;

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

/**
 * Kills for that long, without the time that the gateway needs to come back, and once at least. Resolves, when it serves, to
 * when it did not.
 */
export async function killAtRandom(
  gateway: Gateway,
  random: Random,
  lastingMs: number,
  signal: AbortSignal,
): Promise<Interval[]> {
  const downs: Interval[] = [];
  let aliveMs = random.between(...BETWEEN_KILLS_MS);
  for (let pauseMs = Math.min(aliveMs, lastingMs); !signal.aborted; ) {
    await delay(pauseMs, null, { signal });
    const fromMs = await gateway.kill();
    await gateway.start();
    downs.push({ fromMs, untilMs: Date.now() });
    pauseMs = random.between(...BETWEEN_KILLS_MS);
    aliveMs += pauseMs;
    if (aliveMs > lastingMs) break;
  }
  return downs;
}
