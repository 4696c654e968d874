import { vi } from "vitest";
import { record } from "./record.ts";

/** In place of the console, for what would only disturb: recorded all the same. */
export function muteConsole(...methods: ("log" | "error")[]): void {
  for (const method of methods) {
    vi.spyOn(console, method).mockImplementation((...words) => record("unit", words.map(String).join(" ")));
  }
}
