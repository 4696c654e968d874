/** How the gateway ended in order and came back, and what its operator was answered. */
import type { Books } from "./books.ts";

/** What is under way has as long to come to its end (docs/standalone.md); what is left then is killed. */
const DRAIN_MS = 30_000;
/** Some seconds, where the machine is not busy; 39 were seen where it was. */
const START_MS = 120_000;
const LONGEST_MS = { kill: START_MS, rollout: DRAIN_MS + START_MS } as const;

/** How long the gateway waits for a tenant's object (docs/wire.md): where the machine stands still, that passes for all. */
const TIME_LIMIT_MS = 1_000;
const SLOW_PARTS = "the operator was answered 503 after a time limit that nobody was to exceed";
/** Of all that the operator asked. */
const MAX_SLOW_PARTS = 0.01;

export function checkLives(books: Books): void {
  for (const { by, fromMs, untilMs } of books.ledger.gatewayDowns) {
    const tookMs = untilMs - fromMs;
    books.count(`times without a gateway, by ${by}`);
    if (tookMs > LONGEST_MS[by]) books.find(`there was no gateway for ${tookMs} ms, by ${by}`);
  }
  for (const { exitCode, tookMs } of books.ledger.stops) {
    books.count("ends in order");
    if (exitCode !== 0) books.find(`SIGTERM ended with ${exitCode ?? "a signal"}, not with exit code 0`);
    // Killed by its own after that, it says 0, too.
    if (tookMs >= DRAIN_MS)
      books.find(`SIGTERM took ${tookMs} ms: what was under way did not come to its end`);
  }
}

/** A change that was asked for twice, after an answer that was lost, is answered as if it were the first time. */
export function checkOperator(books: Books): void {
  const { asked, gatewayDowns } = books.ledger;
  for (const one of asked) {
    const { what, status, sentAtMs, doneAtMs } = one;
    if (status >= 200 && status < 300) books.count("answers to the operator");
    else if (status === 0 && books.overlaps(gatewayDowns, one)) books.count("the operator found no gateway");
    else if (status === 503 && doneAtMs - sentAtMs >= TIME_LIMIT_MS) books.count(SLOW_PARTS);
    else books.find(`the operator was answered ${status || "nothing"}`, what);
  }
  const slow = books.checked.get(SLOW_PARTS) ?? 0;
  if (slow > 1 + MAX_SLOW_PARTS * asked.length) books.find(`${SLOW_PARTS}: ${slow} times`);
}
