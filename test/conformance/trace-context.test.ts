/**
 * W3C Trace Context, level 2. The rows on `tracestate` follow the harness of the W3C (`test_tracestate_*` and the unit
 * tests of its reference parser); what it asks of headers on the wire is in `wire/`.
 */
import { describe, expect, it } from "vitest";
import { continueTrace } from "../../src/upstream/trace-context.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";
const STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
const VALID = `00-${TRACE}-${PARENT}-01`;

const traced = (traceparent: string, tracestate = STATE): Headers => new Headers({ traceparent, tracestate });
const stateOf = (tracestate: string): string | null => continueTrace(traced(VALID, tracestate)).tracestate;

describe("Trace Context §3.2, traceparent that goes on, the gateway being the new parent", () => {
  it.each([
    ["§3.2.2.5.1 sampled", `00-${TRACE}-${PARENT}-01`, "01"],
    ["§3.2.2.5.1 not sampled", `00-${TRACE}-${PARENT}-00`, "00"],
    [
      "§3.2.2.5.2 random, which says something about the trace id and so stays",
      `00-${TRACE}-${PARENT}-02`,
      "02",
    ],
    ["§3.2.2.5.2 sampled and random", `00-${TRACE}-${PARENT}-03`, "03"],
    ["§3.2.2.5.3 other flags: sent as zero", `00-${TRACE}-${PARENT}-ff`, "03"],
    ["§3.2.4 a later version, sent as the one that is known", `01-${TRACE}-${PARENT}-01`, "01"],
    [
      "§3.2.4 a later version with more fields",
      `cc-${TRACE}-${PARENT}-01-what-the-future-will-be-like`,
      "01",
    ],
    ["§3.2.4 a later version with a dash and nothing after it", `cc-${TRACE}-${PARENT}-01-`, "01"],
    ["§3.2.2.1 the last version there can be", `fe-${TRACE}-${PARENT}-01`, "01"],
  ])("%s", (_, traceparent, flags) => {
    const trace = continueTrace(traced(traceparent));
    expect(trace.traceId).toBe(TRACE);
    expect(trace.traceparent).toMatch(new RegExp(`^00-${TRACE}-(?!0{16})[0-9a-f]{16}-${flags}$`));
    expect(trace.traceparent).not.toContain(PARENT);
    expect(trace.tracestate).toBe(STATE);
  });
});

describe("Trace Context §3.2, traceparent that begins anew, without the tracestate that came (§3.4)", () => {
  it.each([
    ["§3.1 missing", ""],
    ["§3.2.2 in upper case", `00-${TRACE.toUpperCase()}-${PARENT}-01`],
    ["§3.2.2.1 of version ff", `ff-${TRACE}-${PARENT}-01`],
    ["§3.2.2.1 with a version of one digit", `0-${TRACE}-${PARENT}-01`],
    ["§3.2.2.1 with a version of three digits", `000-${TRACE}-${PARENT}-01`],
    ["§3.2.2.1 with a version that is no number", `.0-${TRACE}-${PARENT}-01`],
    ["§3.2.2.2 of version 00 with more fields", `00-${TRACE}-${PARENT}-01-what-the-future-will-be-like`],
    ["§3.2.2.2 of version 00 with one more character", `00-${TRACE}-${PARENT}-01.`],
    ["§3.2.2.2 without flags", `00-${TRACE}-${PARENT}`],
    ["§3.2.2.3 with a trace id of zeros", `00-${"0".repeat(32)}-${PARENT}-01`],
    ["§3.2.2.3 with a trace id too short", `00-${TRACE.slice(1)}-${PARENT}-01`],
    ["§3.2.2.3 with a trace id too long", `00-${TRACE}0-${PARENT}-01`],
    ["§3.2.2.3 with a character that is no hex digit", `00-${TRACE.replace("a", "g")}-${PARENT}-01`],
    ["§3.2.2.3 with a space inside", `00-${TRACE} -${PARENT}-01`],
    ["§3.2.2.4 with a parent id of zeros", `00-${TRACE}-${"0".repeat(16)}-01`],
    ["§3.2.2.4 with a parent id too short", `00-${TRACE}-${PARENT.slice(1)}-01`],
    ["§3.2.2.4 with a parent id too long", `00-${TRACE}-${PARENT}0-01`],
    ["§3.2.2.5 with one digit of flags", `00-${TRACE}-${PARENT}-1`],
    ["§3.2.2.5 with three digits of flags", `00-${TRACE}-${PARENT}-011`],
    ["§3.2.2.5 with flags that are no number", `00-${TRACE}-${PARENT}-.1`],
    ["§3.2.4 of a later version with more characters but no dash", `cc-${TRACE}-${PARENT}-01.what`],
    ["§3.2.4 of a later version, shorter than version 00", `cc-${TRACE}-${PARENT}-0`],
    ["§3.2 sent twice", `${VALID}, ${VALID}`],
    ["§3.2 sent twice, the first of a later version", `01-${TRACE}-${PARENT}-01-x, ${VALID}`],
  ])("%s", (_, traceparent) => {
    const trace = continueTrace(traced(traceparent));
    expect(trace.traceId).toMatch(/^(?!0{32})[0-9a-f]{32}$/);
    expect(trace.traceId).not.toBe(TRACE);
    // Not sampled, and random (§3.2.2.5).
    expect(trace.traceparent).toMatch(new RegExp(`^00-${trace.traceId}-[0-9a-f]{16}-02$`));
    expect(trace.tracestate).toBeNull();
  });

  it("§4.2 two requests never share a parent id or a new trace", () => {
    const [one, other] = [continueTrace(new Headers()), continueTrace(new Headers())];
    expect(one.traceId).not.toBe(other.traceId);
    expect(continueTrace(traced(VALID)).traceparent).not.toBe(continueTrace(traced(VALID)).traceparent);
  });
});

const members = (count: number): string =>
  Array.from({ length: count }, (_, i) => `bar${String(i + 1).padStart(2, "0")}=${i + 1}`).join(",");
const KEY_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789_-*/@";
/** Visible ASCII and space, less "," and "=". */
const VALUE_CHARACTERS = Array.from({ length: 0x7f - 0x20 }, (_, i) => String.fromCharCode(0x20 + i))
  .filter((character) => !",=".includes(character))
  .join("");

describe("Trace Context §3.3, tracestate that is sent on as it came, order included (§3.5)", () => {
  it.each([
    ["§3.3.1.2 one entry", "foo=1"],
    ["§3.3.1.2 several", "foo=1,bar=2,baz=3"],
    ["§3.3.1.2 32 entries", members(32)],
    ["§3.3.1.2 white space around entries", "foo=1 \t , \t bar=2, \t baz=3"],
    ["§3.3.1.2 empty entries among others", "foo=1,, \t ,bar=2"],
    ["§3.3.1.3.1 every character that a key may have", `${KEY_CHARACTERS}=1`],
    ["§3.3.1.3.1 a key that begins with a digit", "1a=1"],
    ["§3.3.1.3.1 a key of 256 characters", `${"z".repeat(256)}=1`],
    ["§3.3.1.3.1 a key of a vendor's tenant", "fw529a3039@dt=1"],
    ["§3.3.1.3.1 at signs anywhere but in front", "special@=1,special@@vendor=2,special@vendor@tenant=3"],
    ["§3.3.1.3.2 every character that a value may have", `foo=${VALUE_CHARACTERS}`],
    ["§3.3.1.3.2 a value that begins with spaces", "foo=  1"],
    ["§3.3.1.3.2 a value of 256 characters", `foo=${"v".repeat(256)}`],
    ["§3.3.1.5 512 characters", `foo=${"v".repeat(250)},bar=${"w".repeat(253)}`],
    ["§3.3.1.5 many more: nothing is cut off", members(32).replaceAll("=", `=${"v".repeat(200)}`)],
  ])("%s", (_, tracestate) => {
    expect(stateOf(tracestate)).toBe(tracestate);
  });

  it("§3.3.1.1 several fields are one list, in their order; an empty one among them is nothing", () => {
    const headers = traced(VALID, "foo=1,bar=2");
    for (const line of ["", "rojo=1,congo=2", "baz=3"]) headers.append("tracestate", line);
    expect(continueTrace(headers).tracestate).toBe("foo=1,bar=2, , rojo=1,congo=2, baz=3");
  });

  it("§3.3.3 under a traceparent of a later version it is read by the same rules", () => {
    expect(continueTrace(traced(`cc-${TRACE}-${PARENT}-01-more`, "foo=1")).tracestate).toBe("foo=1");
    expect(continueTrace(traced(`cc-${TRACE}-${PARENT}-01-more`, "FOO=1")).tracestate).toBeNull();
  });
});

describe("Trace Context §3.3, tracestate that is dropped, and leaves traceparent alone", () => {
  it.each([
    ["§3.3.1.1 empty", ""],
    ["§3.3.1.2 nothing but empty entries", " , \t,"],
    ["§3.3.1.2 33 entries", members(33)],
    ["§3.3.1.2 33 entries, one of them empty", `${members(32)},`],
    ["§3.3.1.3 no key and value", "foo"],
    ["§3.3.1.3.1 an empty key", "=1"],
    ["§3.3.1.3.1 upper case", "FOO=1"],
    ["§3.3.1.3.1 a character that is not allowed", "foo.bar=1"],
    ["§3.3.1.3.1 a space before the equals sign", "foo =1"],
    ["§3.3.1.3.1 an underscore in front", "_foo=1"],
    ["§3.3.1.3.1 an at sign in front", "@foo=1,bar=2"],
    ["§3.3.1.3.1 a key of 257 characters", `foo=1,${"z".repeat(257)}=1`],
    ["§3.3.1.3.2 an empty value", "foo=,bar=3"],
    ["§3.3.1.3.2 a value of nothing but spaces", "foo=   "],
    ["§3.3.1.3.2 an equals sign in a value", "foo=bar=baz"],
    ["§3.3.1.3.2 a tab in a value", "foo=a\tb"],
    ["§3.3.1.3.2 a character outside ASCII", "foo=caf\u00e9"],
    ["§3.3.1.3.2 a value of 257 characters", `foo=${"v".repeat(257)}`],
    ["§3.3.1.4 a key twice, with one value", "foo=1,foo=1"],
    ["§3.3.1.4 a key twice, with two", "foo=1,bar=1,foo=2"],
    ["§3.3.1 a thousand entries", members(1_000)],
  ])("%s", (_, tracestate) => {
    const trace = continueTrace(traced(VALID, tracestate));
    expect(trace.tracestate).toBeNull();
    expect(trace.traceId).toBe(TRACE);
  });

  it("§3.3.1.4 a key twice, in two fields", () => {
    const headers = traced(VALID, "foo=1");
    headers.append("tracestate", "foo=2");
    expect(continueTrace(headers).tracestate).toBeNull();
  });

  it("§3.3 there is none where none came", () => {
    expect(continueTrace(new Headers({ traceparent: VALID })).tracestate).toBeNull();
  });

  it("§6 a megabyte of entries costs no more than a glance", () => {
    const before = performance.now();
    stateOf(`foo=${" ".repeat(1_000_000)}\u0001`);
    stateOf("a=1,".repeat(250_000));
    expect(performance.now() - before).toBeLessThan(1_000);
  });
});
