#!/usr/bin/env node
/** `postiz-gateway`: commands for the admin API. */
import { Command, CommanderError } from "commander";
import manifest from "../package.json" with { type: "json" };
import { addBulk } from "./commands/bulk.ts";
import { addKeys } from "./commands/keys.ts";
import { addQuestions } from "./commands/questions.ts";
import { addTenantSettings, addTenants } from "./commands/tenants.ts";
import { describeFailure, EXIT, exitCodeOf, Refused, Unreachable, WrongUse } from "./failures.ts";
import { tell } from "./output.ts";
import { DEFAULT_URL } from "./session.ts";

const HELP = `
A tenant is an organization in Postiz; it has any number of keys, each with
scopes, an end and a limit of its own. postiz-gateway COMMAND --help tells more,
with examples.

Environment:
  GATEWAY_URL          the gateway's address (${DEFAULT_URL})
  GATEWAY_ADMIN_TOKEN  the ADMIN_TOKEN that the gateway was given
  GATEWAY_KEY          the key that verify and explain ask about,
                       in place of the standard input
  GATEWAY_ORIGIN_KEY   the same for origin-key set
  NO_COLOR             no colours

The first day:
  read -rs GATEWAY_ADMIN_TOKEN && export GATEWAY_ADMIN_TOKEN
  export GATEWAY_URL=https://postiz-api.example.com
  postiz-gateway health
  postiz-gateway tenants create example "Example Ltd"
  postiz-gateway origin-key set example          # asks for its Postiz key
  postiz-gateway subscription set example active --tier PRO
  postiz-gateway keys create example --name n8n --scope read >key.txt
  postiz-gateway explain GET /public/v1/integrations <key.txt
  postiz-gateway audit example

Exit codes:
  0  done
  1  refused by the gateway; or its answer is no: a key that is not good, a
     gateway that is not ready, an import with rejected lines
  2  wrong use: the command line, the environment, a file
  3  no gateway can be reached there
  130  an import was interrupted
`;

/** Also where the rest of the command line is not understood. */
const isJsonWanted = process.argv.slice(2).includes("--json");

const program = new Command("postiz-gateway")
  .description("Tenants and keys of a gateway in front of Postiz.")
  .version(manifest.version)
  .option("--url <url>", "the gateway's address, in place of GATEWAY_URL")
  .option("--json", "one JSON value a line; failures as well, on stderr")
  .addHelpText("after", HELP)
  .configureHelp({ showGlobalOptions: true })
  .showHelpAfterError("(--help shows what is allowed)")
  .configureOutput(
    isJsonWanted
      ? { writeErr: () => {} }
      : { outputError: (message, write) => write(`error: ${misuse(message)}`) },
  )
  .exitOverride();
for (const add of [addTenants, addTenantSettings, addKeys, addQuestions, addBulk]) add(program);

try {
  await program.parseAsync();
} catch (error) {
  process.exitCode = failed(error);
}

function failed(error: unknown): number {
  if (error instanceof CommanderError) {
    if (error.exitCode === 0) return EXIT.done;
    // Otherwise the parser has said it already, or shown its help.
    const isHelp = error.code === "commander.help";
    const detail = isHelp ? "No command was given; --help shows which there are." : misuse(error.message);
    if (isJsonWanted) tell(describeFailure(new WrongUse(detail), true));
    return EXIT.wrongUse;
  }
  if (!(error instanceof WrongUse || error instanceof Refused || error instanceof Unreachable)) throw error;
  tell(describeFailure(error, program.opts<{ json?: boolean }>().json ?? false));
  return exitCodeOf(error);
}

/** What the parser says, in this program's words. */
function misuse(message: string): string {
  return (
    message
      .replace(/^error: /, "")
      // What should not have stood on a command line need not stand in a log as well.
      .replace(
        /^command-argument value 'pgw_(?:live|test)_.*' is invalid for argument '(.+?)'\..*/s,
        "<$1> can't be a key itself. Allowed is an id, which verify tells.",
      )
      .replace(/^command-argument value '(.*)' is invalid for argument '(.+?)'\./s, "<$2> can't be '$1'.")
      .replace(/^option '(--[\w-]+)[^']*' argument '(.*)' is invalid\./s, "$1 can't be '$2'.")
  );
}
