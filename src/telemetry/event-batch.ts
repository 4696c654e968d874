/** Events on their way to a store of our own: gathered in the isolate, because a call for each would cost too much. */
import { pause } from "../timeout.ts";
import type { WaitUntil } from "../wait-until.ts";
import type { GatewayEvent } from "./event.ts";

/** A Worker that keeps events, where there is no Analytics Engine. */
export interface EventStore {
  /** `events`: a JSON array of them. Text is cheap between Workers; objects are taken apart and put together again. */
  append(events: string): Promise<void>;
}

const MAX_EVENTS = 200;
/** How long (ms) an event may wait; one that was left behind by a request that has died goes with the next. */
const MAX_AGE_MS = 1_000;

export class EventBatch {
  readonly #store: EventStore;
  /** Of requests that have begun: not in the store yet. */
  #due = 0;
  #waiting: GatewayEvent[] = [];
  #flushAtMs = 0;

  constructor(store: EventStore) {
    this.#store = store;
  }

  expect(): void {
    this.#due++;
  }

  /** Resolves, when what waits is in the store, to how many are still to come. */
  async settle(): Promise<number> {
    await this.#flush();
    return this.#due;
  }

  add(event: GatewayEvent, waitUntil: WaitUntil): void {
    const nowMs = Date.now();
    this.#waiting.push(event);
    if (this.#waiting.length === 1) {
      this.#flushAtMs = nowMs + MAX_AGE_MS;
      waitUntil(pause(MAX_AGE_MS).then(() => this.#flush()));
    } else if (this.#waiting.length >= MAX_EVENTS || nowMs > this.#flushAtMs) {
      waitUntil(this.#flush());
    }
  }

  async #flush(): Promise<void> {
    const events = this.#waiting;
    this.#waiting = [];
    if (events.length === 0) return;
    try {
      await this.#store.append(JSON.stringify(events));
    } catch (error) {
      console.error(
        JSON.stringify({ event: "telemetry_failed", events: events.length, error: String(error) }),
      );
    } finally {
      this.#due -= events.length;
    }
  }
}
