/**
 * Where events go: a point each, and a log line for refusals and failures. Never throws: a request is not lost
 * for its record.
 */
import { toDataPoint } from "./analytics.ts";
import type { GatewayEvent, Outcome } from "./event.ts";

export type EventSink = (event: GatewayEvent) => void;

const QUIET: ReadonlySet<Outcome> = new Set<Outcome>(["forwarded", "answered"]);

export function eventSink(dataset: AnalyticsEngineDataset | undefined, logEveryRequest: boolean): EventSink {
  return (event) => {
    try {
      // Lines cost throughput and money, so that what went well is only counted.
      if (logEveryRequest || !QUIET.has(event.outcome)) console.log(JSON.stringify(event));
      dataset?.writeDataPoint(toDataPoint(event));
    } catch (error) {
      console.error(
        JSON.stringify({ event: "telemetry_failed", requestId: event.requestId, error: String(error) }),
      );
    }
  };
}
