/** Which lines go together: calls within the gateway's bounds, some at the same time, a tenant's lines in their order. */
import { MAX_LINES } from "../src/authority/import-rules.ts";
import { MAX_BODY_BYTES } from "../src/own/limits.ts";
import type { Line } from "./lines.ts";

/** Calls under way at the same time. */
const LANES = 4;

/** As many lines as the lanes can take in a call each: what is in memory. */
export async function* rounds(lines: AsyncIterable<Line>): AsyncGenerator<readonly Line[]> {
  let round: Line[] = [];
  let bytes = 0;
  for await (const line of lines) {
    if (round.length === LANES * MAX_LINES || bytes + sizeOf(line) > LANES * MAX_BODY_BYTES) {
      yield round;
      round = [];
      bytes = 0;
    }
    round.push(line);
    bytes += sizeOf(line);
  }
  if (round.length > 0) yield round;
}

/**
 * For each lane its calls, to be made one after the other. All of a tenant's lines are in one lane: whoever is first
 * in the input is first at the gateway.
 */
export function lanesOf(round: readonly Line[]): readonly (readonly Line[][])[] {
  const tenants = byTenant(round).sort((a, b) => b.length - a.length);
  const lanes = Array.from({ length: LANES }, (): Line[] => []);
  for (const lines of tenants) {
    const lightest = lanes.reduce((least, lane) => (lane.length < least.length ? lane : least));
    lightest.push(...lines);
  }
  return lanes.map(callsOf);
}

function byTenant(round: readonly Line[]): Line[][] {
  const groups = new Map<string, Line[]>();
  for (const line of round) {
    const tenant = tenantOf(line);
    const group = groups.get(tenant);
    if (group === undefined) groups.set(tenant, [line]);
    else group.push(line);
  }
  return [...groups.values()];
}

function callsOf(lines: readonly Line[]): Line[][] {
  const calls: Line[][] = [];
  let bytes = 0;
  for (const line of lines) {
    const call = calls.at(-1);
    bytes += sizeOf(line);
    if (call !== undefined && call.length < MAX_LINES && bytes <= MAX_BODY_BYTES) call.push(line);
    else {
      calls.push([line]);
      bytes = sizeOf(line);
    }
  }
  return calls;
}

/** With its newline. */
const sizeOf = ({ text }: Line): number => (text === null ? 0 : Buffer.byteLength(text) + 1);

/** What can't be read is for the gateway to reject, in any lane. */
function tenantOf({ text }: Line): string {
  try {
    const { type, id, tenantId } = JSON.parse(text ?? "") as Record<string, unknown>;
    return String(type === "tenant" ? id : tenantId);
  } catch {
    return "";
  }
}
