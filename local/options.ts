/** Reads the command line and the environment of `npm start`. Pure. */
import { parseArgs } from "node:util";
import { VARIABLES } from "../src/config.ts";
import { UserError } from "./project.ts";

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

const DEFAULT_PORT = 8787;

/** The command line was not understood: exit code 2, as is usual, and the usage is shown. */
export class UsageError extends UserError {}

export function readOptions(args: readonly string[], env: NodeJS.ProcessEnv): StartOptions {
  refuseMisplaced(env);
  const { origin, var: assignments = [], keep = false, help = false } = parse(args);
  const port = readPort(env["PORT"]);
  if (origin !== undefined) checkOrigin(origin);
  const vars = Object.fromEntries(assignments.map(readAssignment));
  const effectiveOrigin = vars["ORIGIN_URL"] ?? origin;
  if (effectiveOrigin !== undefined && isOwnAddress(effectiveOrigin, port)) {
    throw new UserError(
      `The origin ${effectiveOrigin} is the gateway's own address: it would forward to itself. Give the address of Postiz, or another PORT.`,
    );
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

function parse(args: readonly string[]) {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        origin: { type: "string" },
        var: { type: "string", multiple: true },
        keep: { type: "boolean" },
        help: { type: "boolean" },
      },
    });
    return values;
  } catch (error) {
    // Node's messages name what was found; what follows the first sentence is advice that does not apply.
    if (error instanceof TypeError) throw new UsageError(`${error.message.split(". ")[0]}.`);
    throw error;
  }
}

function readPort(value: string | undefined): number {
  if (value === undefined || value === "") return DEFAULT_PORT;
  const port = /^\d{1,5}$/.test(value) ? Number(value) : 0;
  if (port >= 1 && port <= 65_535) return port;
  throw new UsageError(`PORT is ${JSON.stringify(value)}: allowed is a whole number from 1 to 65535.`);
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
