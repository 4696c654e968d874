/** Brings lines to the gateway, and brings again what it can't have taken: the same again changes nothing there. */
import { setTimeout as delay } from "node:timers/promises";
import { BRING_AGAIN } from "../src/authority/import-rules.ts";
import type { ImportResult } from "../src/authority/import-writer.ts";
import type { Api } from "./client.ts";
import { Refused, Unreachable } from "./failures.ts";
import { type Line, MAX_LINE_BYTES } from "./lines.ts";
import { lanesOf, rounds } from "./rounds.ts";

type Answer = ImportResult & { readonly line: number };

export interface Round {
  /** In the order of their lines. */
  readonly answers: readonly Answer[];
  /** The first line without an answer, where it was stopped; all before it have one. */
  readonly stoppedAt: number | null;
  /** Why, where nobody wanted it. */
  readonly failure: Error | null;
}

export interface Watcher {
  /** As soon as they are known. */
  answered(lines: readonly Line[]): void;
  waiting(reason: string, seconds: number): void;
}

/** About a minute, if the gateway does not say how long to wait. */
const ATTEMPTS = 7;
const BACKOFF_MIN_SECONDS = 1;
const BACKOFF_MAX_SECONDS = 30;
const RETRY_AFTER_MAX_SECONDS = 60;

/** Ends after a round that was stopped; `signal` lets the calls under way come to their end. */
export async function* bringAll(
  api: Api,
  lines: AsyncIterable<Line>,
  signal: AbortSignal,
  watcher: Watcher,
): AsyncGenerator<Round> {
  for await (const round of rounds(lines)) {
    const answers = new Map<number, Answer>();
    let failure: Error | null = null;
    const work = lanesOf(round).map(async (calls) => {
      for (const call of calls) {
        if (signal.aborted || failure !== null) return;
        const { known, failure: own } = await bring(api, call, signal, watcher);
        for (const answer of known) answers.set(answer.line, answer);
        watcher.answered(call.filter(({ number }) => answers.has(number)));
        failure ??= own;
      }
    });
    await Promise.all(work);
    const stoppedAt = round.find(({ number }) => !answers.has(number))?.number ?? null;
    yield { answers: [...answers.values()].sort((a, b) => a.line - b.line), stoppedAt, failure };
    if (stoppedAt !== null) return;
  }
}

interface Brought {
  readonly known: Iterable<Answer>;
  readonly failure: Error | null;
}

async function bring(
  api: Api,
  call: readonly Line[],
  signal: AbortSignal,
  watcher: Watcher,
): Promise<Brought> {
  const known = new Map(call.flatMap(tooLong).map((answer) => [answer.line, answer]));
  for (let attempt = 1; ; attempt++) {
    const due = call.filter(({ number }) => !known.has(number));
    const isLast = attempt === ATTEMPTS;
    let wait = { reason: BRING_AGAIN, seconds: backoffSeconds(attempt) };
    try {
      for (const answer of due.length === 0 ? [] : await send(api, due)) {
        if (isLast || answer.reason !== BRING_AGAIN) known.set(answer.line, answer);
      }
      if (known.size === call.length) return { known: known.values(), failure: null };
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
      if (isLast || !isPassing(error)) return { known: known.values(), failure: error };
      wait = { reason: error.message, seconds: retrySeconds(error, attempt) };
    }
    if (!signal.aborted) watcher.waiting(wait.reason, wait.seconds);
    await delay(wait.seconds * 1_000, null, { signal }).catch(() => {});
    if (signal.aborted) return { known: known.values(), failure: null };
  }
}

function tooLong({ number, text }: Line): Answer[] {
  if (text !== null) return [];
  return [{ line: number, result: "rejected", reason: `it is longer than ${MAX_LINE_BYTES} bytes` }];
}

async function send(api: Api, lines: readonly Line[]): Promise<Answer[]> {
  const body = lines.map(({ text }) => `${text}\n`).join("");
  const headers = { "Content-Type": "application/x-ndjson" };
  const response = await api.import.$post({}, { headers, init: { body } });
  const text = await response.text();
  const answers = text.split("\n").filter(Boolean);
  if (answers.length !== lines.length) {
    throw new Unreachable(`${answers.length} of ${lines.length} lines were answered`);
  }
  return answers.map((answer, i): Answer => {
    const { result, reason } = JSON.parse(answer) as ImportResult;
    const line = lines[i]?.number ?? 0;
    return { line, result, ...(reason !== undefined && { reason }) };
  });
}

const isPassing = (error: Refused | Unreachable): boolean =>
  error instanceof Unreachable || error.problem.status === 429 || error.problem.status === 503;

function retrySeconds(error: Refused | Unreachable, attempt: number): number {
  const asked = error instanceof Refused ? error.retryAfterSeconds : null;
  return asked === null ? backoffSeconds(attempt) : Math.min(asked, RETRY_AFTER_MAX_SECONDS);
}

const backoffSeconds = (attempt: number): number =>
  Math.min(BACKOFF_MIN_SECONDS * 2 ** (attempt - 1), BACKOFF_MAX_SECONDS);
