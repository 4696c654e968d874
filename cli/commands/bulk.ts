/** `import` and `export`: many lines, in and out, in the same form. */
import { type FileHandle, open } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import { type Api, ask, reasonOf } from "../client.ts";
import { describeFailure, EXIT, exitCodeOf, Unreachable, WrongUse } from "../failures.ts";
import { bringAll, type Round } from "../import.ts";
import { LineReader } from "../lines.ts";
import { colours, print, tell } from "../output.ts";
import { counted, number, Progress } from "../progress.ts";
import { count, examples, isScript, openSession, type Session } from "../session.ts";

const ABOUT_IMPORT = `
A line each: a tenant, its subscription, a key or token that Postiz made (better
its SHA-256 than itself), its Postiz key. A tenant's lines are taken in order.

  {"type":"tenant","id":"example","name":"Example Ltd"}
  {"type":"subscription","tenantId":"example","status":"active","tier":"PRO"}
  {"type":"api_key","tenantId":"example","digest":"…","keyId":"postiz"}
  {"type":"token","tenantId":"example","digest":"…"}
  {"type":"origin_key","tenantId":"example","key":"…"}

Bringing the same again changes nothing, so an import that was interrupted can
be run again; it also says from which line on. Rejected lines are named on
stderr, and stop no others. With --json every line's answer is on the standard
output.
`;

/** A terminal sends it to the whole group, and npm and its script send it on: the second is not another wish. */
const IMPATIENT_AFTER_MS = 1_000;

interface ImportOptions {
  readonly fromLine?: number;
}

export function addBulk(program: Command): void {
  program
    .command("import")
    .description("puts tenants and keys in, as many as there are")
    .argument("<file>", "NDJSON; - for the standard input")
    .option("--from-line <n>", "begins there, where an interrupted import left off", count)
    .addHelpText(
      "after",
      ABOUT_IMPORT +
        examples(
          "postiz-gateway import tenants.ndjson",
          "postiz-gateway import tenants.ndjson --from-line 12001",
          "./from-my-database | postiz-gateway import - --json >answers.ndjson",
        ),
    )
    .action(importFile);
  program
    .command("export")
    .description("everything that can be imported, without secrets, as NDJSON")
    .addHelpText("after", examples("postiz-gateway export >tenants.ndjson", "postiz-gateway export | wc -l"))
    .action(exportAll);
}

async function importFile(name: string, { fromLine = 1 }: ImportOptions, command: Command): Promise<void> {
  const session = openSession(command);
  const { api, json } = session;
  // What is wrong from the start is said before anything is read, and is not waited for.
  const source = name === "-" ? null : await openFile(name);
  const input = source === null ? process.stdin : source.file.createReadStream({ autoClose: false });
  const interrupted = interruption(() => input.destroy());
  try {
    await knock(api, interrupted.signal);
    const size = source?.size ?? null;
    const reader = new LineReader(input, fromLine);
    const progress = new Progress(process.stderr, () => (size === null ? null : size - reader.skippedBytes));
    const { counts, last } = await importLines(api, reader, progress, interrupted.signal, json);
    progress.clear();
    if (input.readableEnded && fromLine > 1 && reader.linesRead < fromLine) {
      throw new WrongUse(
        `--from-line is ${fromLine}, but the input ends after ${counted(reader.linesRead)}: nothing was imported.`,
      );
    }
    sum(progress, counts);
    // What was broken off may look like an end to whoever reads it, but not to the input.
    const isDone = input.readableEnded && (last?.stoppedAt ?? null) === null;
    if (isDone) process.exitCode = counts.rejected > 0 ? EXIT.refused : EXIT.done;
    else stopped(last?.failure ?? null, last?.stoppedAt ?? fromLine, name, session);
  } finally {
    interrupted.forget();
    input.destroy();
    await source?.file.close();
  }
}

/** Whether somebody is there who lets this operator in; broken off as soon as nobody wants to know. */
async function knock(api: Api, signal: AbortSignal): Promise<void> {
  try {
    await ask(api.whoami.$get({}, { init: { signal } }));
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

type Counts = Record<"created" | "updated" | "unchanged" | "rejected", number>;

interface Result {
  readonly counts: Counts;
  /** Null where there was no line, or none was read before it was interrupted. */
  readonly last: Round | null;
}

async function importLines(
  api: Api,
  reader: LineReader,
  progress: Progress,
  signal: AbortSignal,
  json: boolean,
): Promise<Result> {
  const { yellow } = colours(process.stderr);
  const counts = { created: 0, updated: 0, unchanged: 0, rejected: 0 };
  let last: Round | null = null;
  let told = { reason: "", untilMs: 0 };
  const watcher = {
    answered: (lines: readonly { readonly bytes: number }[]) =>
      progress.advance(
        lines.length,
        lines.reduce((sum, { bytes }) => sum + bytes, 0),
      ),
    waiting: (reason: string, seconds: number) => {
      const nowMs = performance.now();
      // All that are under way may wait for the same.
      if (reason === told.reason && nowMs < told.untilMs) return;
      told = { reason, untilMs: nowMs + seconds * 1_000 };
      progress.note(yellow(`${reason.replace(/\.$/, "")}; again in ${seconds} s`));
    },
  };
  for await (const round of bringAll(api, untilStopped(reader, signal), signal, watcher)) {
    last = round;
    for (const answer of round.answers) {
      counts[answer.result]++;
      // For scripts it is among the answers.
      if (answer.result === "rejected" && !json) progress.note(`line ${answer.line}: ${answer.reason}`);
    }
    if (json) await print(round.answers.map((answer) => `${JSON.stringify(answer)}\n`).join(""));
  }
  return { counts, last };
}

/** Ends quietly where reading was broken off on purpose. */
async function* untilStopped<T>(lines: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  try {
    yield* lines;
  } catch (error) {
    if (!signal.aborted) throw new WrongUse(`The input can't be read: ${reasonOf(error)}.`);
  }
}

function sum(progress: Progress, { created, updated, unchanged, rejected }: Counts): void {
  tell(
    `${progress.summary()}: ${number(created)} created, ${number(updated)} updated, ` +
      `${number(unchanged)} unchanged, ${number(rejected)} rejected.`,
  );
}

/** By somebody, or by a failure. */
function stopped(failure: Error | null, next: number, name: string, { call, json }: Session): void {
  if (failure !== null) tell(describeFailure(failure, json));
  const again = `${call} import ${shown(name)} --from-line ${next}`;
  tell(`Every line before ${next} is answered. Go on with:\n  ${again}`);
  process.exitCode = failure === null ? EXIT.interrupted : exitCodeOf(failure);
}

const shown = (name: string): string =>
  /^[\w./-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;

interface Source {
  readonly file: FileHandle;
  /** At the beginning: an interruption closes the file, and then it can't be asked for any more. */
  readonly size: number;
}

async function openFile(name: string): Promise<Source> {
  // npm says where it was called.
  const path = resolve(isScript ? (process.env["INIT_CWD"] ?? ".") : ".", name);
  const file = await open(path).catch((error: Error) => {
    throw new WrongUse(`${path} can't be read: ${error.message}.`);
  });
  const about = await file.stat();
  if (!about.isDirectory()) return { file, size: about.size };
  await file.close();
  throw new WrongUse(`${path} is a folder: allowed is a file of NDJSON, or - for the standard input.`);
}

/** Of the signals that end a program, and of the process above that goes without a word. */
function interruption(stopReading: () => void) {
  const controller = new AbortController();
  const events = ["SIGINT", "SIGTERM", "SIGHUP", "disconnect"];
  let atMs = 0;
  const interrupt = () => {
    if (controller.signal.aborted && performance.now() - atMs < IMPATIENT_AFTER_MS) return;
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    atMs = performance.now();
    controller.abort();
    stopReading();
  };
  for (const event of events) process.on(event, interrupt);
  const forget = () => {
    for (const event of events) process.off(event, interrupt);
  };
  return { signal: controller.signal, forget };
}

async function exportAll(_: object, command: Command): Promise<void> {
  const { api } = openSession(command);
  const { body } = await api.export.$get();
  try {
    for await (const chunk of body ?? []) if (!(await print(chunk))) return;
  } catch (error) {
    throw new Unreachable(`The export broke off: ${reasonOf(error)}.`);
  }
}
