/**
 * Where events go: a point each, or a store of our own, and a log line for refusals and failures. Never throws: a
 * request is not lost for its record.
 */
import type { Env } from "../env.ts";
import type { WaitUntil } from "../wait-until.ts";
import { toDataPoint } from "./analytics.ts";
import type { GatewayEvent, Outcome } from "./event.ts";
import { EventBatch } from "./event-batch.ts";

export interface EventSink {
  /** A request has begun, which will end in an event. */
  begin(): void;
  record(event: GatewayEvent, waitUntil: WaitUntil): void;
  /** Of a store of our own: resolves, when it has what was recorded, to how many requests have not ended yet. */
  settle(): Promise<number>;
}

const QUIET: ReadonlySet<Outcome> = new Set<Outcome>(["forwarded", "answered"]);

export function eventSink(
  { EVENTS, EVENT_STORE }: Pick<Env, "EVENTS" | "EVENT_STORE">,
  logEveryRequest: boolean,
): EventSink {
  const batch = EVENT_STORE && new EventBatch(EVENT_STORE);
  return {
    begin: () => batch?.expect(),
    settle: async () => batch?.settle() ?? 0,
    record(event, waitUntil) {
      try {
        // Lines cost throughput and money, so that what went well is only counted.
        if (logEveryRequest || !QUIET.has(event.outcome)) console.log(JSON.stringify(event));
        EVENTS?.writeDataPoint(toDataPoint(event));
        batch?.add(event, waitUntil);
      } catch (error) {
        console.error(
          JSON.stringify({ event: "telemetry_failed", requestId: event.requestId, error: String(error) }),
        );
      }
    },
  };
}
