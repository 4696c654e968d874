/** What came of it, for people and for scripts. */
import type { CrowdReport } from "./crowd.ts";
import type { GatewayDown, Interval, Ledger } from "./ledger.ts";
import { type Figure, halves } from "./measurements.ts";
import type { Outcome } from "./run.ts";

/** Flat: what the second half of the last life needs at most, of the first half's, and a few more. */
const GROWTH = 1.3;
const ALLOWANCE: Readonly<Record<Figure, number>> = {
  // A young one still grows to its size.
  residentBytes: 64 * 2 ** 20,
  // As many as all clients have at once when the origin hangs for most of them; what leaks shows at rest.
  handles: 120,
  sockets: 120,
  connections: 40,
};
/** A connection of whoever looks, and one that is being closed. */
const LEFT_OVER = 4;
const SHOWN_IDS = 10;
const FIGURES = ["residentBytes", "handles", "sockets", "connections"] as const;
const NAMES: Readonly<Record<Figure, string>> = {
  residentBytes: "memory (RSS, MiB)",
  handles: "file handles",
  sockets: "sockets",
  connections: "connections to the origin",
};

/** In words; empty where everything adds up. */
export function faultsOf({
  reconciled,
  samples,
  rest,
}: Pick<Outcome, "reconciled" | "samples" | "rest">): string[] {
  const faults = reconciled.findings.map(({ what, requestIds }) => {
    const shown = requestIds.slice(0, SHOWN_IDS).join(", ");
    const more = requestIds.length > SHOWN_IDS ? ` and ${requestIds.length - SHOWN_IDS} more` : "";
    return requestIds.length === 0 ? what : `${what}: ${requestIds.length} times: ${shown}${more}`;
  });
  for (const figure of FIGURES) {
    const [first, second] = halves(samples, figure);
    if (second > first * GROWTH + ALLOWANCE[figure])
      faults.push(`${NAMES[figure]} grew from ${show(figure, first)} to ${show(figure, second)}`);
  }
  const { before, after } = rest;
  if (before === null || after === null) faults.push("there was no gateway at rest");
  else if (after.sockets > before.sockets + LEFT_OVER)
    faults.push(`${after.sockets} sockets were open at rest, ${before.sockets} before`);
  return faults;
}

const longest = (intervals: readonly Interval[]): number =>
  Math.max(0, ...intervals.map(({ fromMs, untilMs }) => untilMs - fromMs));

const secondsOf = (ms: number): string => (ms / 1_000).toFixed(1);

const downsBy = ({ gatewayDowns }: Ledger, what: GatewayDown["by"]): number =>
  gatewayDowns.filter(({ by }) => by === what).length;

export function asJson(outcome: Outcome): string {
  const { minutes, seed, reconciled, changes, ledger, questions, samples, rest, standstillMs } = outcome;
  return JSON.stringify({
    minutes,
    seed,
    faults: faultsOf(outcome),
    sent: ledger.sent.length,
    atOrigin: ledger.seen.length,
    events: ledger.events.length,
    questions,
    kills: downsBy(ledger, "kill"),
    rollouts: downsBy(ledger, "rollout"),
    withoutGatewayMs: ledger.gatewayDowns.map(({ fromMs, untilMs }) => untilMs - fromMs),
    stops: ledger.stops,
    originDowns: ledger.downs.length,
    lostEvents: reconciled.lostEvents,
    checked: Object.fromEntries(reconciled.checked),
    changes,
    halves: Object.fromEntries(FIGURES.map((figure) => [figure, halves(samples, figure)])),
    rest,
    standstillMs,
  });
}

export function asMarkdown(outcome: Outcome): string {
  const { minutes, seed, ledger, reconciled, changes, questions, standstillMs } = outcome;
  const { sent, seen, events, downs } = ledger;
  const faults = faultsOf(outcome);
  return [
    `${minutes} min with \`--seed ${seed}\`: ${sent.length} requests sent, ${seen.length} at the origin, ${events.length} events;`,
    `${downsBy(ledger, "kill")} SIGKILLs (${reconciled.lostEvents} events lost), ${downsBy(ledger, "rollout")} rollouts, ${downs.length} times no origin, ${questions} introspections;`,
    `no gateway for ${secondsOf(longest(ledger.gatewayDowns))} s at most, SIGTERM took ${secondsOf(Math.max(0, ...ledger.stops.map(({ tookMs }) => tookMs)))} s at most;`,
    `${changes.revoked} keys revoked, ${changes.rotated} rotated, ${changes.disabled} disabled, ${changes.expiring} made to expire, ${changes.issued} issued. This process stood still for ${standstillMs} ms at most.`,
    "",
    "| clients | requests | p50 ms | p99 ms | whole | refused or failed | broke off | left | no answer, no gateway |",
    "|---|---|---|---|---|---|---|---|---|",
    ...kindsOf(outcome),
    "",
    "| at the origin | requests |",
    "|---|---|",
    ...counted(seen.map(({ fault }) => fault ?? "nothing was wrong")).map((cells) => row(...cells)),
    "",
    "| checked | times |",
    "|---|---|",
    ...[...reconciled.checked].toSorted().map(([what, times]) => row(what, String(times))),
    "",
    "| limit | admitted | most in a window | refused | least in a window when refusing |",
    "|---|---|---|---|---|",
    ...fillsOf(outcome),
    "",
    "| last life, warm | first half, at most | second half | at rest before | at rest after |",
    "|---|---|---|---|---|",
    ...FIGURES.map((figure) => held(outcome, figure)),
    "",
    faults.length === 0 ? "Everything adds up." : `**${faults.length} things do not add up:**\n`,
    ...faults.map((fault) => `- ${fault}`),
    ...(faults.length === 0 ? [] : ["", "The gateway wrote:", outcome.output]),
  ].join("\n");
}

function kindsOf({ ledger: { sent } }: Outcome): string[] {
  const names = [...new Set(sent.map(({ kind }) => kind))].toSorted();
  return names.map((name) => {
    const all = sent.filter(({ kind }) => kind === name);
    const times = all
      .filter(({ end }) => end === "whole")
      .map(({ sentAtMs, doneAtMs }) => doneAtMs - sentAtMs);
    const count = (is: (each: (typeof all)[number]) => boolean) => String(all.filter(is).length);
    return row(
      name,
      String(all.length),
      String(percentile(times, 0.5)),
      String(percentile(times, 0.99)),
      count(({ end, reason }) => end === "whole" && reason === ""),
      count(({ reason }) => reason !== ""),
      count(({ end }) => end === "cut"),
      count(({ end }) => end === "left"),
      count(({ end }) => end === "broken" || end === "unreached"),
    );
  });
}

function fillsOf({ reconciled: { fills }, ledger: { limits } }: Outcome): string[] {
  return fills
    .filter(({ limit }) => limits.includes(limit))
    .map(({ limit, admitted, most, refused, leastWhenRefusing }) =>
      row(
        `${limit.policy}, ${limit.limit} ${limit.policy === "api" ? "a minute" : "an hour"}`,
        String(admitted),
        String(most),
        String(refused),
        leastWhenRefusing === null ? "–" : String(leastWhenRefusing),
      ),
    );
}

function held({ samples, rest }: Outcome, figure: Figure): string {
  const [first, second] = halves(samples, figure);
  const ends = [rest.before?.[figure] ?? 0, rest.after?.[figure] ?? 0];
  return row(NAMES[figure], ...[first, second, ...ends].map((number) => show(figure, number)));
}

const show = (figure: Figure, number: number): string =>
  String(figure === "residentBytes" ? Math.round(number / 2 ** 20) : number);

function counted(words: readonly string[]): [string, string][] {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].toSorted(([, a], [, b]) => b - a).map(([word, count]) => [word, String(count)]);
}

export function percentile(numbers: readonly number[], part: number): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))] ?? 0;
}

const row = (...cells: readonly string[]) => `| ${cells.join(" | ")} |`;

export function crowdAsMarkdown({ views, handleLimit, seconds }: CrowdReport): string {
  return [
    `${seconds} s each; the gateway may have ${handleLimit} files open. CPU, RSS and sockets are the gateway's.`,
    "",
    "| meanwhile | requests | p50 ms | p99 ms | failed | CPU s | RSS, MiB | sockets | what came of them |",
    "|---|---|---|---|---|---|---|---|---|",
    ...views.map(({ about, requests, p50Ms, p99Ms, failed, residentBytes, sockets, cpuSeconds, crowd }) =>
      row(
        about,
        String(requests),
        p50Ms.toFixed(1),
        p99Ms.toFixed(1),
        String(failed),
        cpuSeconds.toFixed(1),
        show("residentBytes", residentBytes),
        String(sockets),
        crowd,
      ),
    ),
  ].join("\n");
}
