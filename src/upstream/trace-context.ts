/** W3C Trace Context: joins the caller's trace, or begins one. */

export interface TraceContext {
  /** 32 hex digits. */
  readonly traceId: string;
  /** `traceparent` for the origin, the gateway being its parent. */
  readonly traceparent: string;
  /** `tracestate` for the origin, or null: it means nothing without a valid `traceparent`, nor where it is malformed. */
  readonly tracestate: string | null;
}

/** version "-" trace-id "-" parent-id "-" flags; a future version may add fields after another dash (§3.2.2). */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[^,]*)?$/;
const ZERO_TRACE = "0".repeat(32);
const ZERO_PARENT = "0".repeat(16);
/** The flags of version 00, level 2: sampled and random. */
const KNOWN_FLAGS = 0b11;

/** One entry of `tracestate` between optional white space; a value may begin with spaces and not end with one (§3.3.1.3). */
const MEMBER =
  /^[ \t]*([a-z0-9][a-z0-9_\-*/@]{0,255})=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e][ \t]*$/;
const NO_MEMBER = /^[ \t]*$/;
const MAX_MEMBERS = 32;

export function continueTrace(headers: Headers): TraceContext {
  const incoming = parse(headers.get("traceparent"));
  const parentId = randomHex(8);
  if (incoming === null) {
    const traceId = randomHex(16);
    // Not sampled: whether a new trace is recorded is for the origin to decide. Random: the id is (level 2 §3.2.2.5).
    return { traceId, traceparent: `00-${traceId}-${parentId}-02`, tracestate: null };
  }
  const { traceId, flags } = incoming;
  return {
    traceId,
    traceparent: `00-${traceId}-${parentId}-${flags}`,
    tracestate: sound(headers.get("tracestate")),
  };
}

/**
 * The caller's list as it came, order and white space included, where every entry is well-formed and no key comes twice.
 * Otherwise null, as for an empty one: a list that is wrong somewhere is worth nothing, and the trace goes on without it.
 */
function sound(tracestate: string | null): string | null {
  if (tracestate === null) return null;
  const members = tracestate.split(",", MAX_MEMBERS + 1);
  if (members.length > MAX_MEMBERS) return null;
  const keys = new Set<string>();
  for (const member of members) {
    const key = MEMBER.exec(member)?.[1];
    if (key === undefined ? !NO_MEMBER.test(member) : keys.has(key)) return null;
    if (key !== undefined) keys.add(key);
  }
  return keys.size === 0 ? null : tracestate;
}

/** Two headers arrive joined by a comma and so do not match: a new trace, as for anything malformed. */
function parse(traceparent: string | null): { traceId: string; flags: string } | null {
  const [, version, traceId = "", parentId, flags = "", more] = TRACEPARENT.exec(traceparent ?? "") ?? [];
  if (version === undefined || version === "ff" || (version === "00" && more !== undefined)) return null;
  if (traceId === ZERO_TRACE || parentId === ZERO_PARENT) return null;
  return { traceId, flags: (Number.parseInt(flags, 16) & KNOWN_FLAGS).toString(16).padStart(2, "0") };
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function randomHex(bytes: number): string {
  let text = "";
  for (const byte of crypto.getRandomValues(new Uint8Array(bytes))) text += HEX[byte];
  return text;
}
