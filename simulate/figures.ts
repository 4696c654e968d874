/** Drawings of what was found, as SVG that reads on light and on dark ground. */
import type { Findings } from "./findings.ts";
import { ITEMS } from "./prices.ts";
import { DESIGNS } from "./tally.ts";

const [WIDTH, HEIGHT] = [720, 360];
const FRAME = { left: 70, right: 40, top: 40, bottom: 50 };
const COLORS = ["#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#b6992d", "#af7aa1"];

export interface Figure {
  readonly file: string;
  readonly svg: string;
}

export function figuresOf(findings: Findings): Figure[] {
  return [
    { file: "scale-authority.svg", svg: authority(findings) },
    { file: "scale-revocation.svg", svg: revocation(findings) },
    { file: "scale-cost.svg", svg: cost(findings) },
  ];
}

interface Axis {
  readonly from: number;
  readonly to: number;
  readonly isLogarithmic: boolean;
  readonly ticks: readonly number[];
  readonly label: string;
}

function place(axis: Axis, value: number): number {
  const { from, to, isLogarithmic } = axis;
  if (!isLogarithmic) return (value - from) / (to - from);
  return (Math.log10(value) - Math.log10(from)) / (Math.log10(to) - Math.log10(from));
}

const xOf = (axis: Axis, value: number): number =>
  FRAME.left + Math.min(1, Math.max(0, place(axis, value))) * (WIDTH - FRAME.left - FRAME.right);
const yOf = (axis: Axis, value: number): number =>
  HEIGHT - FRAME.bottom - Math.min(1, Math.max(0, place(axis, value))) * (HEIGHT - FRAME.top - FRAME.bottom);

/** Calls a second of one authority over the requests a second of its tenant. */
function authority({ hot, strata }: Findings): string {
  const x = logarithmic(0.1, 100_000, "requests a second of one tenant");
  const y = logarithmic(0.1, 10_000, "calls a second of its authority");
  const sampled = strata
    .filter(({ perSecond }) => !hot.some((each) => Math.abs(each.perSecond - perSecond) < 0.01 * perSecond))
    .map(({ perSecond, authorityCalls }) => [perSecond, (perSecond * authorityCalls) / 1_000] as const);
  const points = [
    ...hot.map(({ perSecond, callsPerSecond }) => [perSecond, callsPerSecond] as const),
    ...sampled,
  ].sort(([a], [b]) => a - b);
  const every = [
    [0.1, 0.1],
    [10_000, 10_000],
  ] as const;
  return drawing("Calls of one authority", [
    ...axes(x, y),
    line(x, y, every, COLORS[2], "4 4"),
    label(xOf(x, 25), yOf(y, 2_600), "asked on every request"),
    line(
      x,
      y,
      [
        [0.1, 500],
        [100_000, 500],
      ],
      COLORS[1],
      "2 4",
    ),
    label(xOf(x, 0.13), yOf(y, 620), "what one object can do"),
    line(x, y, points, COLORS[0]),
    ...points.map(
      ([at, value]) => `<circle cx="${n(xOf(x, at))}" cy="${n(yOf(y, value))}" r="3" fill="${COLORS[0]}"/>`,
    ),
    label(xOf(x, 3_000), yOf(y, 60), "leases"),
  ]);
}

/** Share of revoked keys that were still admitted so long after the operator's answer. */
function revocation({ revocations }: Findings): string {
  const x = linear(0, 70, 10, "seconds after the operator's answer");
  const y = linear(0, 100, 20, "% of revoked keys still admitted");
  const curve = (delaysMs: readonly number[]) =>
    Array.from({ length: 141 }, (_, i) => {
      const atS = i / 2;
      const later = delaysMs.filter((delay) => delay > 1_000 * atS).length;
      return [atS, (100 * later) / Math.max(1, delaysMs.length)] as const;
    });
  const boundS = revocations.leases.longestBoundMs / 1_000;
  return drawing("Revocation", [
    ...axes(x, y),
    line(x, y, curve(revocations["KV only"].delaysMs), COLORS[2]),
    label(xOf(x, 32), yOf(y, 55), "KV only, cached for 60 s"),
    line(x, y, curve(revocations.leases.delaysMs), COLORS[0]),
    label(xOf(x, 1.6), yOf(y, 25), "leases"),
    line(
      x,
      y,
      [
        [boundS, 0],
        [boundS, 100],
      ],
      COLORS[1],
      "4 4",
    ),
    label(xOf(x, boundS) + 6, yOf(y, 92), "the longest that was announced"),
  ]);
}

/** Dollars of a million requests, by what they are paid for. */
function cost({ designs }: Findings): string {
  const most = Math.ceil(Math.max(...DESIGNS.map((name) => designs[name].costSum)));
  const y = linear(0, most, most > 6 ? 2 : 1, "$ a million requests");
  const x: Axis = { from: 0, to: 4.4, isLogarithmic: false, ticks: [], label: "" };
  const bars = DESIGNS.flatMap((name, i) => {
    let sum = 0;
    const left = xOf(x, i + 0.3);
    const width = xOf(x, i + 0.9) - left;
    const parts = ITEMS.map((item, color) => {
      const [from, to] = [sum, sum + designs[name].cost[item]];
      sum = to;
      const height = yOf(y, from) - yOf(y, to);
      return `<rect x="${n(left)}" y="${n(yOf(y, to))}" width="${n(width)}" height="${n(height)}" fill="${COLORS[color]}"/>`;
    });
    return [
      ...parts,
      label(left + width / 2, HEIGHT - FRAME.bottom + 18, name, "middle"),
      label(left + width / 2, yOf(y, sum) - 6, `$${designs[name].costSum.toFixed(2)}`, "middle"),
    ];
  });
  const legend = ITEMS.flatMap((item, i) => {
    const [left, top] = [xOf(x, 3.15), FRAME.top + 20 * i];
    return [
      `<rect x="${n(left)}" y="${top}" width="12" height="12" fill="${COLORS[i]}"/>`,
      label(left + 18, top + 11, item),
    ];
  });
  return drawing("Cost", [...axes(x, y), ...bars, ...legend]);
}

function logarithmic(from: number, to: number, text: string): Axis {
  const ticks: number[] = [];
  for (let tick = from; tick <= to * 1.001; tick *= 10) ticks.push(Number(tick.toPrecision(6)));
  return { from, to, isLogarithmic: true, ticks, label: text };
}

function linear(from: number, to: number, step: number, text: string): Axis {
  const ticks: number[] = [];
  for (let tick = from; tick <= to; tick += step) ticks.push(tick);
  return { from, to, isLogarithmic: false, ticks, label: text };
}

function axes(x: Axis, y: Axis): string[] {
  const bottom = HEIGHT - FRAME.bottom;
  const grid = y.ticks.flatMap((tick) => [
    `<path class="grid" d="M${FRAME.left} ${n(yOf(y, tick))}H${WIDTH - FRAME.right}"/>`,
    label(FRAME.left - 8, yOf(y, tick) + 4, tick.toLocaleString("en-US"), "end"),
  ]);
  const marks = x.ticks.map((tick) =>
    label(xOf(x, tick), bottom + 18, tick.toLocaleString("en-US"), "middle"),
  );
  return [
    ...grid,
    ...marks,
    label((WIDTH + FRAME.left) / 2, HEIGHT - 10, x.label, "middle"),
    label(12, FRAME.top - 16, y.label),
  ];
}

function line(
  x: Axis,
  y: Axis,
  points: readonly (readonly [number, number])[],
  color: string | undefined,
  dashes = "none",
): string {
  const path = points
    .map(([at, value], i) => `${i === 0 ? "M" : "L"}${n(xOf(x, at))} ${n(yOf(y, value))}`)
    .join("");
  return `<path d="${path}" fill="none" stroke="${color}" stroke-width="2" stroke-dasharray="${dashes}"/>`;
}

const label = (x: number, y: number, text: string, anchor = "start"): string =>
  `<text x="${n(x)}" y="${n(y)}" text-anchor="${anchor}">${text}</text>`;

const n = (value: number): string => String(Number(value.toFixed(1)));

const drawing = (title: string, parts: readonly string[]): string =>
  [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${title}">`,
    "<style>text{font:13px sans-serif;fill:#1f2328}.grid{stroke:#d0d7de;stroke-width:1}",
    "@media (prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#3d444d}}</style>",
    ...parts,
    "</svg>",
    "",
  ].join("\n");
