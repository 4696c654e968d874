/**
 * `npm run simulate`: the gateway at the scale of the internet, on paper. Its own modules decide, under a virtual clock; the same
 * seed gives the same report.
 */
import "./hooks.ts";
import { mkdir, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { parseStrictly, UsageError } from "../local/options.ts";
import { UserError } from "../local/project.ts";
import { runCommand } from "../local/run.ts";

const USAGE = `npm run simulate -- [options]      a million requests a second, on paper; ten to fifteen minutes

  --scale N            one in N tenants is simulated (1024, from 64 to 8192); smaller is slower and more exact
  --seed TEXT          of everything that is left to chance (1)
  --minutes N          of the quiet time that is measured (2, from 1 to 60)
  --json               for scripts
  --figures FOLDER     draws three figures there
`;

process.exit(await runCommand(USAGE, main));

async function main(signal: AbortSignal): Promise<number> {
  const {
    scale = "1024",
    seed = "1",
    minutes = "2",
    json = false,
    figures,
    help = false,
  } = parse(process.argv.slice(2));
  if (help) {
    console.log(USAGE);
    return 0;
  }
  const plan = {
    size: { tenants: 1_000_000, requestsPerSecond: 1_000_000, locations: 300, maxIsolates: 50 },
    scale: whole("--scale", scale, 64, 8_192),
    seed,
    minutes: whole("--minutes", minutes, 1, 60),
  };
  signal.addEventListener("abort", () => process.exit(0));
  const folder = figures === undefined ? null : resolve(figures);
  // Now, and not when a quarter of an hour has gone into what is to be written there.
  if (folder !== null) await make(folder);
  // The gateway's modules may be read only now that the hooks are there.
  const { run } = await import("./run.ts");
  const { asJson, asMarkdown } = await import("./report.ts");
  const { figuresOf } = await import("./figures.ts");
  const report = await run(plan, progressOn(process.stderr));
  process.stderr.write("\n");
  console.log(json ? asJson(report) : asMarkdown(report));
  if (folder === null) return 0;
  for (const { file, svg } of figuresOf(report.findings)) await writeFile(join(folder, file), svg);
  return 0;
}

async function make(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true }).catch((error: Error) => {
    throw new UserError(`--figures is ${JSON.stringify(folder)}, which can't be made: ${error.message}`);
  });
}

function parse(args: string[]) {
  const [text, flag] = [{ type: "string" }, { type: "boolean" }] as const;
  const options = { scale: text, seed: text, minutes: text, json: flag, figures: text, help: flag } as const;
  return parseStrictly(() => parseArgs({ args, options }).values);
}

function whole(name: string, value: string, least: number, most: number): number {
  const number = /^\d{1,6}$/.test(value) ? Number(value) : 0;
  if (number >= least && number <= most) return number;
  const found = JSON.stringify(value);
  throw new UsageError(`${name} is ${found}: allowed is a whole number from ${least} to ${most}.`);
}

/** Share and time left, once a second of the real time. */
function progressOn(stream: NodeJS.WriteStream): (share: number) => void {
  // The simulation has a clock of its own.
  const now = () => Number(process.hrtime.bigint() / 1_000_000n);
  const beganMs = now();
  let shownMs = beganMs;
  return (share) => {
    const nowMs = now();
    if (nowMs - shownMs < 1_000 || share <= 0) return;
    shownMs = nowMs;
    const leftS = Math.round(((nowMs - beganMs) * (1 - share)) / share / 1_000);
    const text = `${Math.round(100 * share)} %, ${leftS} s left`;
    stream.write(stream.isTTY ? `\r${text.padEnd(24)}` : `${text}\n`);
  };
}
