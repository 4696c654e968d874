/** The ledger as the rules look at it, and what they find. */
import type { GatewayEvent } from "../src/telemetry/event.ts";
import type { GatewayDown, Interval, Ledger, Seen, Sent } from "./ledger.ts";

/** Something that does not add up, with the requests that show it. */
export interface Finding {
  readonly what: string;
  readonly requestIds: string[];
}

export class Books {
  readonly ledger: Ledger;
  readonly sentById = new Map<number, Sent>();
  readonly seenById = new Map<number, Seen[]>();
  readonly eventsById = new Map<string, GatewayEvent[]>();
  readonly checked = new Map<string, number>();
  readonly #findings = new Map<string, Finding>();
  /** Requests whose event a kill has taken along. */
  readonly lost = new Set<string>();

  readonly kills: readonly GatewayDown[];

  constructor(ledger: Ledger) {
    this.ledger = ledger;
    this.kills = ledger.gatewayDowns.filter(({ by }) => by === "kill");
    for (const sent of ledger.sent) this.sentById.set(sent.id, sent);
    for (const seen of ledger.seen) push(this.seenById, seen.id, seen);
    for (const event of ledger.events) push(this.eventsById, event.requestId, event);
  }

  get findings(): readonly Finding[] {
    return [...this.#findings.values()];
  }

  /** The same that was found before is found with more requests. */
  find(what: string, ...requestIds: string[]): void {
    const finding = this.#findings.get(what) ?? { what, requestIds: [] };
    finding.requestIds.push(...requestIds);
    this.#findings.set(what, finding);
  }

  count(what: string, by = 1): void {
    this.checked.set(what, (this.checked.get(what) ?? 0) + by);
  }

  /** The one time that the origin saw it. */
  seenOf({ id }: Sent): Seen | undefined {
    return this.seenById.get(id)?.[0];
  }

  /** Its event's, or a number by which the soak's own record has it. */
  nameOf(sent: Sent): string {
    return sent.requestId || this.seenOf(sent)?.requestId || `(request ${sent.id})`;
  }

  /** Whether it was under way at any time of any of them. */
  overlaps(
    intervals: readonly Interval[],
    { sentAtMs, doneAtMs }: Pick<Sent, "sentAtMs" | "doneAtMs">,
  ): boolean {
    return intervals.some(({ fromMs, untilMs }) => sentAtMs <= untilMs && doneAtMs >= fromMs);
  }
}

function push<Key, Value>(map: Map<Key, Value[]>, key: Key, value: Value): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}
