/**
 * Whether it all adds up. Pure: the same ledger, the same findings. The rules are told in docs/reliability.md.
 *
 * Here: every request is accounted for exactly once. Who may pass is in `admission.ts`, how many in `windows.ts`.
 */
import type { GatewayEvent } from "../src/telemetry/event.ts";
import { checkAdmission } from "./admission.ts";
import { Books, type Finding } from "./books.ts";
import { checkLives, checkOperator } from "./care.ts";
import type { Ledger, Seen, Sent } from "./ledger.ts";
import { checkCounters, checkWindows, type Fill } from "./windows.ts";

export interface Reconciled {
  readonly findings: readonly Finding[];
  /** What was looked at → how often. */
  readonly checked: ReadonlyMap<string, number>;
  /** Events that a kill has taken along. */
  readonly lostEvents: number;
  readonly fills: readonly Fill[];
}

/** Events are gathered for up to a second; as long again for a machine that is busy. */
const EVENT_DELAY_MS = 2_000;
const OWN_ROUTE = "/_gateway";

export function reconcile(ledger: Ledger): Reconciled {
  const books = new Books(ledger);
  checkOrigin(books);
  checkClients(books);
  checkEvents(books);
  checkAdmission(books);
  const fills = checkWindows(books);
  checkCounters(books);
  checkLives(books);
  checkOperator(books);
  const { findings, checked, lost } = books;
  return { findings, checked, lostEvents: lost.size, fills };
}

/** What an event can say of a request that went to the origin. */
const FORWARDED: ReadonlySet<string> = new Set([
  "forwarded",
  "origin_unreachable",
  "origin_invalid",
  "origin_timeout",
  "request_malformed",
]);

function checkOrigin(books: Books): void {
  for (const [id, all] of books.seenById) {
    const sent = books.sentById.get(id);
    const ids = all.map(({ requestId }) => requestId);
    if (sent === undefined) books.find("the origin saw what no client had sent", ...ids);
    else if (all.length > 1) books.find("the origin saw a request more than once", ...ids);
  }
  for (const seen of books.ledger.seen) {
    books.count("requests at the origin");
    const sent = books.sentById.get(seen.id);
    if (sent === undefined) continue;
    if (sent.secret !== null && seen.tenant !== sent.secret.tenant)
      books.find("the origin saw another tenant's credential", seen.requestId);
    if (seen.body === "wrong") books.find("the origin got another body than was sent", seen.requestId);
    if (seen.body === "whole" && sent.manner === "leaves in body")
      books.find("half a body was whole to the origin", seen.requestId);
    const endedAtMs = Math.max(seen.endedAtMs || Number.POSITIVE_INFINITY, sent.doneAtMs);
    const event = oneEvent(books, seen.requestId, sent.sentAtMs, endedAtMs);
    if (event === null) continue;
    if (!FORWARDED.has(event.outcome))
      books.find(`the origin saw a request whose event says ${event.outcome}`, seen.requestId);
    else if (sent.reason === "" && !outcomesOf(books, sent, seen).includes(event.outcome))
      books.find(
        `an event says ${event.outcome} of an answer that was ${sent.end} (${seen.fault ?? seen.end})`,
        seen.requestId,
      );
    if (event.tenant !== sent.secret?.tenant || event.keyId !== sent.secret.keyId)
      books.find("an event names another key than was sent", seen.requestId);
  }
}

/** What an event may say of how it ended, where nobody was given a reason. */
function outcomesOf(books: Books, sent: Sent, seen: Seen): readonly string[] {
  const failures = failuresOf(seen, sent.status !== 0);
  switch (sent.end) {
    case "whole":
      return ["forwarded"];
    case "cut":
      return books.overlaps(books.kills, sent) ? ["forwarded", ...failures] : failures;
    case "left":
      return ["forwarded", ...(sent.manner === "leaves in body" ? ["request_malformed"] : []), ...failures];
    default:
      // No answer at all: a kill, or a finding of its own.
      return [...FORWARDED];
  }
}

/** `hasBegun`: the answer, so that there can be no other. */
function failuresOf({ fault, end }: Seen, hasBegun: boolean): string[] {
  const late = fault === "hang" || fault === "stall" ? ["origin_timeout"] : [];
  if (fault !== "reset" && fault !== "cut" && end !== "down") return late;
  return [...late, "origin_invalid", ...(hasBegun ? [] : ["origin_unreachable"])];
}

function checkClients(books: Books): void {
  const heard = new Set<string>();
  for (const sent of books.ledger.sent) {
    if (sent.status === 0) continue;
    if (sent.requestId === "") {
      books.find("an answer had no X-Request-Id", books.nameOf(sent));
      continue;
    }
    if (heard.has(sent.requestId)) books.find("two answers had the same X-Request-Id", sent.requestId);
    heard.add(sent.requestId);
    const seen = books.seenOf(sent);
    if (seen !== undefined && seen.requestId !== sent.requestId)
      books.find("client and origin were told different ids", sent.requestId, seen.requestId);
    books.count("answers to clients");
    const event = oneEvent(
      books,
      sent.requestId,
      sent.sentAtMs,
      Math.max(sent.doneAtMs, seen?.endedAtMs ?? 0),
    );
    if (event === null) continue;
    if (event.status !== sent.status)
      books.find("an event has another status than the client got", sent.requestId);
    const isSame = sent.reason === "" ? BEGUN.has(event.outcome) : event.outcome === sent.reason;
    if (!isSame) books.find("an event has another reason than the client got", sent.requestId);
    if (sent.reason !== "" && !isOwner(event, sent))
      books.find("a refusal's event names another key than was sent", sent.requestId);
  }
}

/** Of refusals before it was found out whose the credential is, or by a tenant that does not have it. */
const UNOWNED = /^(key_unknown|token_inactive|flood|\w+_unavailable)$/;

/** Whether a refusal's event names whom the secret belongs to: nobody, where it is of none. */
function isOwner({ tenant, keyId }: GatewayEvent, { secret, reason }: Sent): boolean {
  const is = (name: string, owner = "") => name === owner || (name === "" && UNOWNED.test(reason));
  return is(tenant, secret?.tenant) && is(keyId, secret?.keyId);
}

/** What an event can say of an answer of the origin's that has begun. */
const BEGUN: ReadonlySet<string> = new Set(["forwarded", "origin_invalid", "origin_timeout"]);

/** Null, and noted, where there is not exactly one. */
function oneEvent(books: Books, requestId: string, fromMs: number, endedAtMs: number): GatewayEvent | null {
  const [event, ...others] = books.eventsById.get(requestId) ?? [];
  if (event === undefined) {
    const isLost = books.kills.some(
      (down) => fromMs <= down.fromMs && endedAtMs >= down.fromMs - EVENT_DELAY_MS,
    );
    if (isLost) books.lost.add(requestId);
    else books.find("a request has no event", requestId);
    return null;
  }
  if (others.length > 0) books.find("a request has more than one event", requestId);
  return event;
}

function checkEvents(books: Books): void {
  const known = new Set<string>();
  let unheard = 0;
  for (const sent of books.ledger.sent) {
    if (sent.requestId !== "") known.add(sent.requestId);
    else if (sent.end !== "unreached" && books.seenOf(sent) === undefined) unheard++;
  }
  const atOrigin = new Set(books.ledger.seen.map(({ requestId }) => requestId));
  const nobodys: string[] = [];
  for (const { requestId, outcome, route } of books.ledger.events) {
    books.count("events");
    if (route === OWN_ROUTE) continue;
    if (outcome === "forwarded" && !atOrigin.has(requestId))
      books.find("an event says forwarded, and the origin has not seen it", requestId);
    if (!known.has(requestId) && !atOrigin.has(requestId)) nobodys.push(requestId);
  }
  // Of clients that left before they heard the id.
  if (nobodys.length > unheard)
    books.find(
      `${nobodys.length} events are of no request that is known, ${unheard} at most may be`,
      ...nobodys,
    );
  books.count("events of clients that had left", nobodys.length);
}
