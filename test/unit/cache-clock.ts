import { afterEach, beforeEach, vi } from "vitest";
import { muteConsole } from "../support/mute-console.ts";

/** The clock of lru-cache, stopped for each test of the surrounding suite; timers and error lines are, too. */
export function useCacheClock(): { nowMs: number } {
  const clock = { nowMs: 0 };
  beforeEach(() => {
    clock.nowMs = 1_000;
    vi.spyOn(performance, "now").mockImplementation(() => clock.nowMs);
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    muteConsole("error");
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });
  return clock;
}
