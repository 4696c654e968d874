/** What was measured, for people and for scripts. */
import type { Counts } from "./counting-worker.ts";
import type { Load } from "./load.ts";

export interface Measured {
  readonly name: string;
  readonly about: string;
  /** Name of what it is compared with; null for that itself. */
  readonly base: string | null;
  /** One of each a round. */
  readonly full: readonly (Load & { readonly cpuMs: number })[];
  readonly moderate: readonly Load[];
  /** Per 1,000 requests; null for what is no gateway. */
  readonly counts: Counts | null;
}

const rate = ({ requests, seconds }: Load) => requests / seconds;

/** Ratios of medians, by name. */
export function asJson(all: readonly Measured[]): string {
  const ratios = all.flatMap(({ name, base, full }): [string, number][] => {
    if (base === null) return [];
    const ratio = median(full.map(rate)) / median(baseOf(all, base).full.map(rate));
    return [[name, Number(ratio.toFixed(3))]];
  });
  return JSON.stringify(Object.fromEntries(ratios));
}

export function asMarkdown(all: readonly Measured[], perSecond: number): string {
  return [
    "| case | requests/s | of its base: median (range) | CPU µs/request | refused |",
    "|---|---|---|---|---|",
    ...all.map((each) => throughput(each, all)),
    "",
    `At about ${perSecond} requests a second:`,
    "",
    "| case | p50 ms | p99 ms | added to its base: p50, p99 ms |",
    "|---|---|---|---|",
    ...all.map((each) => latency(each, all)),
    "",
    "Per 1,000 requests:",
    "",
    "| case | KV reads | KV writes | authority calls | points |",
    "|---|---|---|---|---|",
    ...all.flatMap(({ about, counts }) => {
      if (counts === null) return [];
      const { kvReads, kvWrites, authorityCalls, points } = counts;
      return row(about, ...[kvReads, kvWrites, authorityCalls, points].map((count) => count.toFixed(1)));
    }),
  ].join("\n");
}

function throughput({ about, base, full }: Measured, all: readonly Measured[]): string {
  const of = baseOf(all, base);
  const ratios = full.map((each, i) => rate(each) / rate(of?.full[i] ?? each));
  const range = `${Math.min(...ratios).toFixed(2)} – ${Math.max(...ratios).toFixed(2)}`;
  const cpuMicros = median(full.map(({ cpuMs, requests }) => (cpuMs * 1_000) / requests));
  const refused = median(full.map(({ refused, requests }) => (100 * refused) / requests));
  return row(
    about,
    median(full.map(rate)).toFixed(0),
    base === null ? "–" : `${median(ratios).toFixed(2)} (${range})`,
    cpuMicros.toFixed(0),
    `${refused.toFixed(0)} %`,
  );
}

function latency({ about, base, moderate }: Measured, all: readonly Measured[]): string {
  const of = baseOf(all, base);
  const p50 = median(moderate.map(({ p50Ms }) => p50Ms));
  const p99 = median(moderate.map(({ p99Ms }) => p99Ms));
  const added = (pick: (load: Load) => number) =>
    median(moderate.map((each, i) => pick(each) - pick(of?.moderate[i] ?? each))).toFixed(2);
  const both = `${added(({ p50Ms }) => p50Ms)}, ${added(({ p99Ms }) => p99Ms)}`;
  return row(about, p50.toFixed(2), p99.toFixed(2), base === null ? "–" : both);
}

function baseOf(all: readonly Measured[], name: string): Measured;
function baseOf(all: readonly Measured[], name: string | null): Measured | null;
function baseOf(all: readonly Measured[], name: string | null): Measured | null {
  const found = all.find((each) => each.name === name);
  if (found === undefined && name !== null) throw new Error(`there is no case "${name}"`);
  return found ?? null;
}

const row = (...cells: readonly string[]) => `| ${cells.join(" | ")} |`;

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? 0)
    : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}
