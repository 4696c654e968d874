/** Nothing passes that must not, nothing is refused that must not be, and each answer is the one that was given. */

import type { Books } from "./books.ts";
import { rightReasons, type Seen, type Sent, standing } from "./ledger.ts";

/** An end of its own, unlike one that was announced, has no margin: a request may be on its way to the origin. */
const TRANSIT_MS = 1_000;

/** How long the gateway waits, for its own parts too (docs/wire.md): where the machine stands still, that passes for all. */
const TIME_LIMITS_MS: Readonly<Record<string, number>> = {
  authority_unavailable: 1_000,
  credentials_unavailable: 2_000,
  origin_timeout: 5_000,
  request_malformed: 5_000,
};
const SLOW_PARTS = "refused after a time limit that nobody was to exceed";
/** Of all requests. */
const MAX_SLOW_PARTS = 0.001;

export function checkAdmission(books: Books): void {
  for (const sent of books.ledger.sent) {
    const seen = books.seenOf(sent);
    if (seen !== undefined) checkPassed(books, sent, seen);
    const isRefusal = sent.status !== 0 && sent.reason !== "";
    if (isRefusal) checkCame(books, sent);
    const judge = isRefusal ? judgeRefusal : judgeAnswer;
    const [isRight, what] = judge(books, sent, seen);
    if (isRight) books.count(what);
    else books.find(what, books.nameOf(sent));
  }
  const slow = books.checked.get(SLOW_PARTS) ?? 0;
  if (slow > 1 + MAX_SLOW_PARTS * books.ledger.sent.length) books.find(`${SLOW_PARTS}: ${slow} times`);
}

function checkPassed(books: Books, sent: Sent, { atMs, requestId }: Seen): void {
  const { secret, refusedFor } = sent;
  if (refusedFor !== null || secret === null) {
    books.find(`what had to be refused (${refusedFor?.join(", ")}) reached the origin`, requestId);
    return;
  }
  const phase = secret.phases.findLast(({ fromMs }) => fromMs <= atMs);
  if (phase?.is !== "ended") return;
  const isOfItself = phase.reasons.length === 1 && phase.reasons[0] === "key_expired";
  if (isOfItself && atMs - phase.fromMs <= TRANSIT_MS) return;
  const isDegraded = books.eventsById.get(requestId)?.[0]?.degraded === true;
  if (isDegraded && atMs <= secret.degradedUntilMs) books.count("passed without the tenant's object");
  else books.find(`a secret that had ended (${phase.reasons[0]}) was seen at the origin`, requestId);
}

/** A refusal is the gateway's own: nothing but its end, or the client's leaving, can keep it from coming whole, and in time. */
function checkCame(books: Books, sent: Sent): void {
  const { end } = sent;
  if (end === "whole" || end === "left") return;
  const hasEnded = end === "cut" || end === "broken";
  if (hasEnded && books.overlaps(books.kills, sent)) books.count("refusals that a kill has cut");
  else books.find(`a refusal did not come whole (${end})`, books.nameOf(sent));
}

/** Whether it may be, and what it is. */
type Verdict = readonly [isRight: boolean, what: string];

function judgeRefusal(books: Books, sent: Sent, seen: Seen | undefined): Verdict {
  const { secret, refusedFor, reason, sentAtMs, doneAtMs } = sent;
  if (reason === "rate_limited" && refusedFor === null) return [true, "refused for a limit"];
  if (refusedFor?.includes(reason)) return [true, `refused as it has to be: ${reason}`];
  if (secret !== null && rightReasons(secret, sentAtMs, doneAtMs).includes(reason)) {
    const isSure = standing(secret, sentAtMs, doneAtMs) === "ended";
    return [true, `refused as it ${isSure ? "has to" : "may"} be: ${reason}`];
  }
  if (isOrigins(books, sent, seen)) return [true, `failed as the origin did: ${reason}`];
  const limitMs = TIME_LIMITS_MS[reason];
  if (limitMs !== undefined && doneAtMs - sentAtMs >= limitMs) return [true, SLOW_PARTS];
  return [false, `refused without need: ${reason}, ${sent.kind}`];
}

function isOrigins(books: Books, sent: Sent, seen: Seen | undefined): boolean {
  const { fault = null, end } = seen ?? {};
  switch (sent.reason) {
    case "origin_unreachable":
      if (seen === undefined) return books.overlaps(books.ledger.downs, sent);
      return fault === "reset" || fault === "cut" || end === "down";
    case "origin_invalid":
      return fault === "cut" || end === "down";
    case "origin_timeout":
      return fault === "hang" || fault === "stall";
    default:
      return false;
  }
}

/** An answer of the origin's, or one that never came. */
function judgeAnswer(books: Books, sent: Sent, seen: Seen | undefined): Verdict {
  const { gatewayDowns } = books.ledger;
  // A rollout lets what is at the origin come to its end.
  const wasGatewayDown = books.overlaps(seen === undefined ? gatewayDowns : books.kills, sent);
  switch (sent.end) {
    case "left":
      return [true, "clients that left"];
    case "hung":
    case "under way":
      return [false, "a client waited in vain"];
    case "unreached":
    case "broken":
      if (wasGatewayDown) return [true, "clients that the gateway left"];
      return [false, `no answer (${sent.end}), and the gateway was there: ${sent.kind}`];
    case "cut": {
      const isFailed = seen?.fault === "cut" || seen?.fault === "stall" || seen?.end === "down";
      if (isFailed || wasGatewayDown) return [true, "answers that broke off as they did"];
      return [false, "an answer broke off that the origin had given"];
    }
    case "whole":
      return judgeWhole(sent, seen);
  }
}

function judgeWhole(sent: Sent, seen: Seen | undefined): Verdict {
  if (seen === undefined) return [false, "an answer came from nowhere"];
  if (!sent.intact) return [false, "an answer is not the one that the origin gave"];
  if (sent.status !== statusOf(sent, seen)) return [false, `${sent.status} was not what the origin said`];
  return [true, "answers of the origin's, whole"];
}

function statusOf({ method }: Sent, { fault }: Seen): number {
  if (fault === "early") return 413;
  if (fault === "error") return 500;
  return method === "POST" ? 201 : 200;
}
