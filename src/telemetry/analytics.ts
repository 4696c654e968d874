/**
 * GatewayEvent → Analytics Engine point. Columns have numbers, not names, so their order is the schema: it is
 * documented in docs/telemetry.md, pinned by a test, and changes only with `v`.
 */
import type { GatewayEvent } from "./event.ts";

/** Limits of the platform, which the local runtime does not enforce: 16 KB of blobs, 96 bytes of index. */
const MAX_INDEX_BYTES = 96;
/** Twelve blobs of at most this size stay well under the limit together. */
const MAX_BLOB_BYTES = 256;

export function toDataPoint(event: GatewayEvent): AnalyticsEngineDataPoint {
  return {
    indexes: [clip(event.tenant, MAX_INDEX_BYTES)],
    blobs: [
      event.requestId, // blob1
      event.traceId, // blob2
      event.keyId, // blob3
      event.credential, // blob4
      event.method, // blob5
      event.route, // blob6
      event.outcome, // blob7
      event.source, // blob8
      event.country, // blob9
      event.version, // blob10
      event.decidedBy, // blob11
      event.shadow, // blob12
    ].map((blob) => clip(blob, MAX_BLOB_BYTES)),
    doubles: [
      event.v, // double1
      event.status, // double2
      event.gatewayMs, // double3
      event.originMs, // double4
      event.bytesIn, // double5
      event.bytesOut, // double6
      event.stale ? 1 : 0, // double7
      event.degraded ? 1 : 0, // double8
    ].map((double) => (Number.isFinite(double) ? double : 0)),
  };
}

const encoder = new TextEncoder();

/** At most `maxBytes` of UTF-8, cut between characters. */
function clip(text: string, maxBytes: number): string {
  if (text.length * 3 <= maxBytes) return text;
  const { read } = encoder.encodeInto(text, new Uint8Array(maxBytes));
  return text.slice(0, read);
}
