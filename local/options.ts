/** Reads the command lines of `npm start` and of `npm run standalone`. Pure, but for a file of variables. */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { join, resolve } from "node:path";
import { parseArgs, parseEnv } from "node:util";
import { VARIABLES } from "../src/config.ts";
import { ROOT, UserError } from "./project.ts";

export interface StartOptions {
  readonly port: number;
  /** Null: the stand-in. */
  readonly origin: string | null;
  readonly vars: Readonly<Record<string, string>>;
  readonly keep: boolean;
  readonly help: boolean;
}

export const USAGE = `npm start -- [options]      the gateway at http://127.0.0.1:8787, in front of a stand-in Postiz

  --origin URL              in front of this Postiz instead, such as https://postiz.example.com/api
  --var NAME:VALUE          sets a variable of the gateway; may be repeated
  --keep                    goes on with the state of the last start on this port
  --help                    shows this

Environment: PORT, the port to listen on (8787).
`;

export interface StandaloneOptions {
  readonly host: string;
  readonly port: number;
  readonly vars: Readonly<Record<string, string>>;
  /** Folder of the data, absolute. */
  readonly dataDir: string;
  readonly demo: boolean;
  readonly help: boolean;
}

export const STANDALONE_USAGE = `npm run standalone -- --origin URL [options]      the gateway on this machine, without the cloud
npm run standalone -- events [--data DIR] [--json]  what it has kept about its requests

  --origin URL              base of your Postiz, such as https://postiz.example.com/api
  --port PORT               to listen on (8787)
  --host ADDRESS            to listen at (127.0.0.1); what comes from elsewhere is not encrypted: see docs/standalone.md
  --data DIR                where data is kept (.state/standalone in this project)
  --var NAME:VALUE          sets a variable of the gateway; may be repeated
  --vars FILE               sets those of a file, NAME=VALUE a line: for secrets, which others can see on a command line
  --demo                    puts the demo tenants in place
  --help                    shows this
`;

const DEFAULT_PORT = 8787;

/** The command line was not understood: exit code 2, as is usual, and the usage is shown. */
export class UsageError extends UserError {}

export function readOptions(args: readonly string[], env: NodeJS.ProcessEnv): StartOptions {
  refuseMisplaced(env);
  const { origin, var: assignments = [], keep = false, help = false } = parse(args);
  const port = readPort("PORT", env["PORT"]);
  if (origin !== undefined) checkOrigin(origin);
  const vars = Object.fromEntries(assignments.map(readAssignment));
  const effectiveOrigin = vars["ORIGIN_URL"] ?? origin;
  if (effectiveOrigin !== undefined && isOwnAddress(effectiveOrigin, port)) {
    throw ownAddress(effectiveOrigin, "another PORT");
  }
  return { port, origin: origin ?? null, vars, keep, help };
}

/** `npm start --keep` is an option of npm's, which npm hands on like this; without it the state would be deleted. */
function refuseMisplaced(env: NodeJS.ProcessEnv): void {
  const misplaced = ["origin", "var", "keep"].find((name) => env[`npm_config_${name}`] !== undefined);
  if (misplaced === undefined) return;
  throw new UsageError(
    `--${misplaced} came before "--" and went to npm: allowed is npm start -- --${misplaced} …`,
  );
}

export interface EventsOptions {
  readonly dataDir: string;
  readonly json: boolean;
}

/** Null where the command line is not about events. */
export function readEventsOptions(args: readonly string[], cwd: string): EventsOptions | null {
  if (args[0] !== "events") return null;
  const { data, json = false } = parseStrictly(() => {
    const options = { data: { type: "string" }, json: { type: "boolean" } } as const;
    return parseArgs({ args: args.slice(1), options }).values;
  });
  return { dataDir: dataDirOf(data, cwd), json };
}

const dataDirOf = (data: string | undefined, cwd: string): string =>
  data === undefined ? join(ROOT, ".state/standalone") : resolve(cwd, data);

export function readStandaloneOptions(args: readonly string[], cwd: string): StandaloneOptions {
  const { help = false, ...given } = parseStandalone(args);
  const { origin, host = "127.0.0.1", demo = false, var: assignments = [] } = given;
  const port = readPort("--port", given.port);
  if (origin !== undefined) checkOrigin(origin);
  if (isIP(host) === 0) {
    throw new UsageError(
      `--host is ${JSON.stringify(host)}: allowed is an IP address, such as 127.0.0.1, 0.0.0.0 or ::1.`,
    );
  }
  const filed = given.vars === undefined ? {} : readVariables(resolve(cwd, given.vars));
  const vars = { ...filed, ...Object.fromEntries(assignments.map(readAssignment)) };
  if (origin !== undefined && vars["ORIGIN_URL"] !== undefined)
    throw new UsageError("--origin and the variable ORIGIN_URL say the same thing: give one of them.");
  const originUrl = vars["ORIGIN_URL"] ?? origin;
  if (originUrl === undefined && !help)
    throw new UsageError("--origin is missing: give the base of your Postiz.");
  if (originUrl !== undefined && isOwnAddress(originUrl, port)) throw ownAddress(originUrl, "another --port");
  const dataDir = dataDirOf(given.data, cwd);
  return { host, port, dataDir, demo, help, vars: { ...(originUrl && { ORIGIN_URL: originUrl }), ...vars } };
}

const COMMON = {
  origin: { type: "string" },
  var: { type: "string", multiple: true },
  help: { type: "boolean" },
} as const;

const parse = (args: readonly string[]) =>
  parseStrictly(
    () => parseArgs({ args: [...args], options: { ...COMMON, keep: { type: "boolean" } } }).values,
  );

const parseStandalone = (args: readonly string[]) =>
  parseStrictly(() => {
    const text = { type: "string" } as const;
    const flags = { demo: { type: "boolean" } } as const;
    const options = { ...COMMON, ...flags, port: text, host: text, data: text, vars: text } as const;
    return parseArgs({ args: [...args], options }).values;
  });

/** What `parseArgs` of Node refuses, as wrong use. */
export function parseStrictly<T>(parseThem: () => T): T {
  try {
    return parseThem();
  } catch (error) {
    // Node's messages name what was found; what follows the first sentence is advice that does not apply.
    if (error instanceof TypeError) throw new UsageError(`${error.message.split(". ")[0]}.`);
    throw error;
  }
}

function readPort(name: string, value: string | undefined): number {
  if (value === undefined || value === "") return DEFAULT_PORT;
  const port = /^\d{1,5}$/.test(value) ? Number(value) : 0;
  if (port >= 1 && port <= 65_535) return port;
  throw new UsageError(`${name} is ${JSON.stringify(value)}: allowed is a whole number from 1 to 65535.`);
}

function checkOrigin(origin: string): void {
  if (URL.canParse(origin) && /^https?:$/.test(new URL(origin).protocol)) return;
  throw new UsageError(
    `--origin is ${JSON.stringify(origin)}: allowed is an absolute http or https URL, such as https://postiz.example.com/api.`,
  );
}

function readAssignment(assignment: string): [string, string] {
  const colon = assignment.indexOf(":");
  const name = assignment.slice(0, colon);
  if (VARIABLES.includes(name)) return [name, assignment.slice(colon + 1)];
  // Only what stands before the colon is shown: what follows may be a secret.
  const found = colon === -1 ? "an argument without a colon" : `the name ${JSON.stringify(name)}`;
  throw new UsageError(
    `--var has ${found}: allowed is NAME:VALUE, such as API_LIMIT:100, with one of the names\n${VARIABLES.join(", ")}.`,
  );
}

/** The form that systemd's `EnvironmentFile` and Node's `--env-file` have. Values are never shown. */
function readVariables(path: string): Record<string, string> {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new UserError(`--vars can't be read: ${(error as Error).message}.`);
  }
  const vars = parseEnv(text) as Record<string, string>;
  const unknown = Object.keys(vars).find((name) => !VARIABLES.includes(name));
  if (unknown === undefined) return vars;
  throw new UsageError(
    `--vars has the name ${JSON.stringify(unknown)}: allowed is NAME=VALUE a line, with the names\n${VARIABLES.join(", ")}.`,
  );
}

function ownAddress(origin: string, advice: string): UserError {
  return new UserError(
    `The origin ${origin} is the gateway's own address: it would forward to itself. Give the address of Postiz, or ${advice}.`,
  );
}

/** An address that reaches 127.0.0.1 at this port. What is no URL is for the gateway's own check to name. */
function isOwnAddress(origin: string, port: number): boolean {
  if (!URL.canParse(origin)) return false;
  const url = new URL(origin);
  const originPort = Number(url.port || (url.protocol === "https:" ? 443 : 80));
  const host = url.hostname.replace(/\.$/, "");
  return originPort === port && LOOPBACK.test(host);
}

/** As `URL` writes them: IPv4 in four decimal parts, IPv6 compressed. `0.0.0.0` and `::` reach this machine, too. */
const LOOPBACK =
  /^(localhost|.*\.localhost|127(\.\d+){3}|0\.0\.0\.0|\[::1?\]|\[::ffff:7f[0-9a-f]{2}:[0-9a-f]+\])$/;
