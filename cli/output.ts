/** What goes to the standard output: tables and fields for people, one JSON value a line for scripts. */
import { once } from "node:events";
import Table from "cli-table3";
import pc from "picocolors";

const NAME_COLUMNS = 24;
/** Nothing but space between columns. */
const BORDERLESS = {
  ...{ top: "", "top-mid": "", "top-left": "", "top-right": "" },
  ...{ bottom: "", "bottom-mid": "", "bottom-left": "", "bottom-right": "" },
  ...{ left: "", "left-mid": "", mid: "", "mid-mid": "", right: "", "right-mid": "", middle: "  " },
};

export const colours = (stream: { readonly isTTY?: boolean }) =>
  pc.createColors(stream.isTTY === true && pc.isColorSupported);

let isReaderGone = false;
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    if (stream === process.stdout) isReaderGone = true;
  });
}

/** As fast as it is read. False: whoever reads has seen enough. */
export async function print(text: string | Uint8Array): Promise<boolean> {
  if (isReaderGone) return false;
  if (!process.stdout.write(text)) {
    await Promise.race([once(process.stdout, "drain"), once(process.stdout, "close")]).catch(() => {});
  }
  return !isReaderGone;
}

export const printJson = (value: unknown): Promise<boolean> => print(`${JSON.stringify(value)}\n`);

/** One thing: its fields, or its JSON. */
export const show = (value: object, json: boolean): Promise<boolean> =>
  json ? printJson(value) : print(fields(value));

export function tell(text: string): void {
  process.stderr.write(`${text}\n`);
}

export async function printList<T>(
  pages: AsyncIterable<readonly T[]>,
  json: boolean,
  columns: Readonly<Record<string, (item: T) => string>>,
): Promise<void> {
  for await (const items of pages) {
    if (items.length === 0) continue;
    const text = json ? items.map((item) => `${JSON.stringify(item)}\n`).join("") : table(items, columns);
    if (!(await print(text))) return;
  }
}

/** One to a page, so that a list of any length takes no more room than a page. */
function table<T>(items: readonly T[], columns: Readonly<Record<string, (item: T) => string>>): string {
  const { bold } = colours(process.stdout);
  const rows = items.map((item) => Object.values(columns).map((cell) => cell(item)));
  return render([Object.keys(columns).map((name) => bold(name)), ...rows]);
}

/** Every field under the name that it has in the API: `subscription.status  active`. */
export function fields(value: object): string {
  const { dim } = colours(process.stdout);
  return render(flatten(value, "").map(([name, text]) => [dim(name), text]));
}

function flatten(value: object, prefix: string): [string, string][] {
  return Object.entries(value).flatMap(([name, field]): [string, string][] => {
    const path = `${prefix}${name}`;
    if (Array.isArray(field)) return [[path, field.length === 0 ? "-" : field.join(", ")]];
    if (typeof field === "object" && field !== null) return flatten(field, `${path}.`);
    return [[path, field === null ? "-" : String(field)]];
  });
}

function render(rows: readonly (readonly string[])[]): string {
  const table = new Table({
    chars: BORDERLESS,
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
  });
  table.push(...rows.map((row) => [...row]));
  const lines = table.toString().split("\n");
  return lines.map((line) => `${line.trimEnd()}\n`).join("");
}

/** To the minute, UTC. */
export const minute = (time: string | null): string =>
  time === null ? "-" : `${time.slice(0, 16).replace("T", " ")}Z`;

/** To the second, for what has to be put in an order. */
export const second = (time: string): string => `${time.slice(0, 19).replace("T", " ")}Z`;

/** UTC. */
export const day = (time: string | null): string => (time === null ? "-" : time.slice(0, 10));

export const short = (text: string, columns = NAME_COLUMNS): string =>
  text.length <= columns ? text : `${text.slice(0, columns - 1)}…`;
