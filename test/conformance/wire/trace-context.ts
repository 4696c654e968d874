/** W3C Trace Context where it shows on the wire; the grammar is in `../trace-context.test.ts`. */
import { describe, expect, it } from "vitest";
import type { Sent } from "../../support/http.ts";
import type { Stage } from "./stage.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";
const VALID = `00-${TRACE}-${PARENT}-01`;

type Lines = NonNullable<Sent["headers"]>;

export function traceContext(stage: Stage): void {
  describe("Trace Context §3, as the origin gets it", () => {
    it.each<[string, Lines, string | null, string | null]>([
      [
        "§3.2.1 names in any case",
        [
          ["TraceParent", VALID],
          ["TRACESTATE", "foo=1"],
        ],
        TRACE,
        "foo=1",
      ],
      ["§3.2 white space around the value", [["traceparent", ` \t${VALID}\t `]], TRACE, null],
      [
        "§3.2 two traceparent lines",
        [
          ["traceparent", VALID],
          ["traceparent", VALID],
          ["tracestate", "foo=1"],
        ],
        null,
        null,
      ],
      [
        "§3.3.1.1 several tracestate lines",
        [
          ["traceparent", VALID],
          ["tracestate", "foo=1,bar=2"],
          ["tracestate", ""],
          ["tracestate", "baz=3"],
        ],
        TRACE,
        "foo=1,bar=2,baz=3",
      ],
      [
        "§3.3.1.4 a key in two tracestate lines",
        [
          ["traceparent", VALID],
          ["tracestate", "foo=1"],
          ["tracestate", "foo=2"],
        ],
        TRACE,
        null,
      ],
      ["§3.1 a tracestate alone", [["tracestate", "foo=1"]], null, null],
      ["§3.1 neither", [], null, null],
    ])("%s", async (_, headers, traceId, tracestate) => {
      const received = await stage.get(headers);
      const arrived = stage.arrivals[0]?.headers ?? new Headers();
      const [version, trace, parent, flags] = arrived.get("traceparent")?.split("-") ?? [];
      expect([version, flags]).toEqual(["00", traceId === null ? "02" : "01"]);
      expect(trace).toMatch(/^[0-9a-f]{32}$/);
      if (traceId === null) expect(trace).not.toBe(TRACE);
      else expect(trace).toBe(traceId);
      expect(parent).not.toBe(PARENT);
      // White space and empty entries may go or stay (§3.3.1.2).
      const state = arrived
        .get("tracestate")
        ?.match(/[^,\s]+/g)
        ?.join(",");
      expect(state ?? null).toBe(tracestate);
      expect((await stage.gateway.eventOf(received)).traceId).toBe(trace);
    });
  });
}
