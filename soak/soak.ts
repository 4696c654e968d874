/**
 * `npm run soak`: standalone under mixed traffic, with an origin that fails and a gateway that is killed, until everything that
 * happened is counted up against what the gateway says of it.
 */
import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { parseStrictly, UsageError } from "../local/options.ts";
import { ROOT, UserError } from "../local/project.ts";
import { runCommand } from "../local/run.ts";
import { watchCrowds } from "./crowd.ts";
import { asJson, asMarkdown, crowdAsMarkdown, faultsOf } from "./report.ts";
import { run } from "./run.ts";

const USAGE = `npm run soak -- [--minutes N] [--seed N] [--from FOLDER] [--json]
                                                       1 minute, with a seed of its own, by default
npm run soak -- --crowd [--json]                       what others see of slow, many and greedy clients, 5 minutes

--from: a checkout of another version, with its dependencies. The gateway begins with it, and is rolled out to this one, back,
and out again; without it, from this version to itself.
Needs Linux. Ends with 1 where something does not add up. For the crowd best with slowhttptest (Debian: apt-get install
slowhttptest).
`;

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly from: string;
  readonly json: boolean;
}

process.exit(await runCommand(USAGE, main));

async function main(signal: AbortSignal): Promise<number> {
  const { help = false, ...given } = parse(process.argv.slice(2));
  if (help) {
    console.log(USAGE);
    return 0;
  }
  if (!existsSync("/proc/self/fd")) throw new UserError(`This machine has no /proc.\n\n${USAGE}`);
  const { crowd = false, ...others } = given;
  if (!crowd) return soak(readOptions(others), signal);
  if ((others.minutes ?? others.seed ?? others.from) !== undefined)
    throw new UsageError("--crowd takes neither --minutes nor --seed nor --from.");
  const report = await watchCrowds(signal, console.error);
  console.log(others.json ? JSON.stringify(report) : crowdAsMarkdown(report));
  return 0;
}

function parse(args: string[]) {
  const [text, flag] = [{ type: "string" }, { type: "boolean" }] as const;
  const options = { minutes: text, seed: text, from: text, json: flag, crowd: flag, help: flag } as const;
  return parseStrictly(() => parseArgs({ args, options }).values);
}

function readOptions({
  minutes = "1",
  seed,
  from = ROOT,
  json = false,
}: Omit<ReturnType<typeof parse>, "help" | "crowd">): Options {
  return {
    minutes: whole("--minutes", minutes, 1, 1_440),
    seed: seed === undefined ? Date.now() % 1_000_000 : whole("--seed", seed, 0, 999_999_999),
    from: checkout(from),
    json,
  };
}

function whole(name: string, value: string, least: number, most: number): number {
  const number = /^\d{1,9}$/.test(value) ? Number(value) : Number.NaN;
  if (number >= least && number <= most) return number;
  throw new UsageError(
    `${name} is ${JSON.stringify(value)}: allowed is a whole number from ${least} to ${most}.`,
  );
}

function checkout(folder: string): string {
  // npm runs scripts in the project's folder, and says where it was called.
  const path = resolve(process.env["INIT_CWD"] ?? ".", folder);
  const missing = ["local/standalone.ts", "node_modules"].find((name) => !existsSync(join(path, name)));
  if (missing === undefined) return path;
  throw new UsageError(
    `--from is ${JSON.stringify(folder)}, without ${missing}: allowed is a checkout of a version that has the standalone gateway, with its dependencies.`,
  );
}

async function soak({ minutes, seed, from, json }: Options, signal: AbortSignal): Promise<number> {
  if (!json) console.log(`Soaking for ${minutes} min, with --seed ${seed} …`);
  const outcome = await run({ minutes, seed, versions: { old: from, new: ROOT } }, signal);
  console.log(json ? asJson(outcome) : asMarkdown(outcome));
  return faultsOf(outcome).length === 0 ? 0 : 1;
}
