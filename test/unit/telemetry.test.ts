import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DENIAL_SPECS, type DenialReason } from "../../src/denial.ts";
import { toDataPoint } from "../../src/telemetry/analytics.ts";
import { EVENT_VERSION, type GatewayEvent, type Outcome } from "../../src/telemetry/event.ts";
import { eventSink } from "../../src/telemetry/sink.ts";
import { muteConsole } from "../support/mute-console.ts";

const event: GatewayEvent = {
  v: EVENT_VERSION,
  time: "2026-11-24T08:00:00.000Z",
  requestId: "request-1",
  traceId: "trace-1",
  tenant: "acme",
  keyId: "key-1",
  credential: "api_key",
  decidedBy: "authority",
  method: "POST",
  route: "/posts",
  status: 201,
  outcome: "forwarded",
  source: "upstream",
  gatewayMs: 1.5,
  originMs: 40,
  bytesIn: 10,
  bytesOut: 20,
  country: "DE",
  stale: true,
  shadow: "rate_limited",
  degraded: false,
  version: "0.1.0",
};

const bytesOf = (value: unknown): number => {
  if (typeof value !== "string") throw new Error(`not text: ${typeof value}`);
  return Buffer.byteLength(value);
};

describe("a point in Analytics Engine", () => {
  it("has its columns in this order, which is the schema of version 1", () => {
    expect(toDataPoint(event)).toEqual({
      indexes: ["acme"],
      blobs: [
        "request-1",
        "trace-1",
        "key-1",
        "api_key",
        "POST",
        "/posts",
        "forwarded",
        "upstream",
        "DE",
        "0.1.0",
        "authority",
        "rate_limited",
      ],
      doubles: [1, 201, 1.5, 40, 10, 20, 1, 0],
    });
    expect(EVENT_VERSION).toBe(1);
  });

  it("tells stale and degraded apart", () => {
    expect(toDataPoint({ ...event, stale: false, degraded: true }).doubles?.slice(6)).toEqual([0, 1]);
  });

  it.each([
    ["95 bytes of ASCII", "a".repeat(95), "a".repeat(95)],
    ["96 bytes of ASCII", "a".repeat(96), "a".repeat(96)],
    ["97 bytes of ASCII", "a".repeat(97), "a".repeat(96)],
    ["96 bytes of two each", "é".repeat(48), "é".repeat(48)],
    ["a character across the limit", `${"a".repeat(95)}é`, "a".repeat(95)],
    ["a pair of surrogates across the limit", `${"a".repeat(94)}😀`, "a".repeat(94)],
    ["a pair of surrogates up to the limit", `${"a".repeat(92)}😀b`, `${"a".repeat(92)}😀`],
    ["nothing", "", ""],
  ])("an index of %s is cut between characters, at 96 bytes", (_, tenant, index) => {
    expect(toDataPoint({ ...event, tenant }).indexes).toEqual([index]);
  });

  it("a method as long as a client likes is cut at 256 bytes", () => {
    const { blobs } = toDataPoint({ ...event, method: "X".repeat(100_000) });
    expect(blobs?.[4]).toBe("X".repeat(256));
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])("%d is written as 0", (value) => {
    const point = toDataPoint({
      ...event,
      gatewayMs: value,
      originMs: value,
      bytesIn: value,
      bytesOut: value,
    });
    expect(point.doubles).toEqual([1, 201, 0, 0, 0, 0, 1, 0]);
  });

  it("stays within the platform's limits whatever the event holds", () => {
    const text = fc.oneof(
      fc.string({ unit: "binary", maxLength: 2_000, size: "max" }),
      fc
        .array(fc.constantFrom("\ud83d", "\ude00", "\ufffd", "é", "a", "\0"), { maxLength: 400, size: "max" })
        .map((s) => s.join("")),
    );
    const number = fc.double();
    const anything = fc.record({
      ...{ requestId: text, traceId: text, tenant: text, keyId: text, method: text, route: text },
      ...{ country: text, version: text },
      ...{ status: number, gatewayMs: number, originMs: number, bytesIn: number, bytesOut: number },
    });
    fc.assert(
      fc.property(anything, (held) => {
        const { indexes = [], blobs = [], doubles = [] } = toDataPoint({ ...event, ...held });
        expect(indexes).toHaveLength(1);
        expect(bytesOf(indexes[0])).toBeLessThanOrEqual(96);
        expect(blobs.length).toBeLessThanOrEqual(20);
        expect(blobs.reduce((sum: number, blob) => sum + bytesOf(blob), 0)).toBeLessThanOrEqual(16_384);
        expect(doubles.length).toBeLessThanOrEqual(20);
        expect(doubles.every(Number.isFinite)).toBe(true);
        // What is cut is only ever an end.
        expect(held.tenant.startsWith(String(indexes[0]))).toBe(true);
        expect(held.method.startsWith(String(blobs[4]))).toBe(true);
      }),
    );
  });
});

describe("the sink", () => {
  beforeEach(() => {
    muteConsole("log");
    muteConsole("error");
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  const lines = (): unknown[] => vi.mocked(console.log).mock.calls.map(([line]) => line);
  const datasetOf = (writeDataPoint: (point?: AnalyticsEngineDataPoint) => void) => ({
    EVENTS: { writeDataPoint },
  });
  const waitUntil = () => {};

  it("writes one point an event", () => {
    const write = vi.fn();
    eventSink(datasetOf(write), false).record(event, waitUntil);
    expect(write.mock.calls).toEqual([[toDataPoint(event)]]);
  });

  it("a dataset that throws costs neither the request nor the log line", () => {
    const failing = datasetOf(() => {
      throw new Error("limit exceeded");
    });
    expect(() => eventSink(failing, true).record(event, waitUntil)).not.toThrow();
    expect(lines()).toHaveLength(1);
    expect(vi.mocked(console.error).mock.calls).toEqual([
      ['{"event":"telemetry_failed","requestId":"request-1","error":"Error: limit exceeded"}'],
    ]);
  });

  it("works without a dataset, as on plain workerd", () => {
    expect(() => eventSink({}, false).record({ ...event, outcome: "internal" }, waitUntil)).not.toThrow();
    expect(lines()).toHaveLength(1);
  });

  it("who is about to end the process is told how many requests have no event yet, with the others' in their store", async () => {
    const stored: string[] = [];
    const append = async (events: string) =>
      void stored.push(...JSON.parse(events).map(({ requestId }: typeof event) => requestId));
    const sink = eventSink({ EVENT_STORE: { append } }, false);
    for (let i = 0; i < 3; i++) sink.begin();
    sink.record({ ...event, requestId: "first" }, waitUntil);
    expect([await sink.settle(), stored]).toEqual([2, ["first"]]);
    sink.record({ ...event, requestId: "second" }, waitUntil);
    sink.record({ ...event, requestId: "third" }, waitUntil);
    expect([await sink.settle(), stored]).toEqual([0, ["first", "second", "third"]]);
  });

  it("an event on its way to the store is still to come for who is about to end the process", async () => {
    const arrival = Promise.withResolvers<void>();
    const sink = eventSink({ EVENT_STORE: { append: () => arrival.promise } }, false);
    sink.begin();
    sink.record(event, waitUntil);
    const first = sink.settle();
    expect(await sink.settle()).toBe(1);
    arrival.resolve();
    expect(await first).toBe(0);
  });

  it("a store that fails is told in the log, and is not waited for", async () => {
    const append = () => Promise.reject(new Error("no space left"));
    const sink = eventSink({ EVENT_STORE: { append } }, false);
    sink.begin();
    sink.record(event, waitUntil);
    expect(await sink.settle()).toBe(0);
    expect(vi.mocked(console.error).mock.calls).toEqual([
      ['{"event":"telemetry_failed","events":1,"error":"Error: no space left"}'],
    ]);
  });

  it("logs no line for what went well, unless every request is to be logged", () => {
    for (const outcome of ["forwarded", "answered"] as const)
      eventSink({}, false).record({ ...event, outcome }, waitUntil);
    expect(lines()).toEqual([]);
    for (const outcome of ["forwarded", "answered"] as const)
      eventSink({}, true).record({ ...event, outcome }, waitUntil);
    expect(lines()).toHaveLength(2);
  });

  it.each(Object.keys(DENIAL_SPECS) as DenialReason[])("logs one line for %s", (outcome: Outcome) => {
    eventSink({}, false).record({ ...event, outcome }, waitUntil);
    expect(lines()).toEqual([JSON.stringify({ ...event, outcome })]);
  });

  it("the line is one line of JSON with the event's fields in their order, whatever a client sent", () => {
    eventSink({}, true).record({ ...event, method: "A\nB\ud800", gatewayMs: Number.NaN }, waitUntil);
    const [line] = lines();
    expect(line).not.toContain("\n");
    expect(Object.keys(JSON.parse(String(line)) as object)).toEqual(
      (
        "v time requestId traceId tenant keyId credential decidedBy method route status outcome source " +
        "gatewayMs originMs bytesIn bytesOut country stale shadow degraded version"
      ).split(" "),
    );
  });
});
