/** How the gateway ends and comes back: SIGKILL at random, and from version to version. */
import { setTimeout as delay } from "node:timers/promises";
import type { GatewayDown } from "./ledger.ts";
import type { Random } from "./random.ts";
import type { Gateway } from "./scene.ts";

const BETWEEN_KILLS_MS = [12_000, 45_000] as const;
/** To the new version, back to the one before, and to the new one again: at these parts of the time. */
const ROLLOUTS = [
  { at: 0.25, to: "new" },
  { at: 0.5, to: "old" },
  { at: 0.75, to: "new" },
] as const;

type Version = (typeof ROLLOUTS)[number]["to"];
export type Versions = Readonly<Record<Version, string>>;

interface End {
  readonly atMs: number;
  /** Null for a kill. */
  readonly to: Version | null;
}

/**
 * For that long, without the time that the gateway needs to come back; killed once at least. Resolves, when the new version
 * serves, to when none did.
 */
export async function changeLives(
  gateway: Gateway,
  versions: Versions,
  random: Random,
  lastingMs: number,
  signal: AbortSignal,
): Promise<GatewayDown[]> {
  const downs: GatewayDown[] = [];
  let passedMs = 0;
  for (const { atMs, to } of endsWithin(lastingMs, random)) {
    await delay(atMs - passedMs, null, { signal });
    passedMs = atMs;
    const fromMs = Date.now();
    if (to === null) await gateway.kill();
    else await gateway.stop();
    await gateway.start(to === null ? gateway.root : versions[to]);
    downs.push({ fromMs, untilMs: Date.now(), by: to === null ? "kill" : "rollout" });
  }
  return downs;
}

function endsWithin(lastingMs: number, random: Random): End[] {
  const ends: End[] = ROLLOUTS.map(({ at, to }) => ({ atMs: at * lastingMs, to }));
  let atMs = Math.min(random.between(...BETWEEN_KILLS_MS), lastingMs);
  do {
    ends.push({ atMs, to: null });
    atMs += random.between(...BETWEEN_KILLS_MS);
  } while (atMs <= lastingMs);
  return ends.sort((a, b) => a.atMs - b.atMs);
}
