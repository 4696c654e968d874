/** `verify`, `explain`, `audit`, `health`: nothing is changed by asking. */
import { Argument, type Command } from "commander";
import { readSecret } from "../ask.ts";
import { ask, pages } from "../client.ts";
import { EXIT } from "../failures.ts";
import { colours, print, printJson, printList, second, show } from "../output.ts";
import { count, examples, identifier, openSession, openWithoutToken } from "../session.ts";

const SECRET =
  "\nThe key is read from the standard input, unseen at a terminal, or from the\nenvironment variable GATEWAY_KEY.\n";

const NOT_ASKED = `
The reason introspection_required is neither good nor bad yet: Postiz would be
asked first, and is not asked here. It ends with 1 as well.
`;
const ANSWERED = `
It ends with 0 whatever the outcome is, as it has answered, and in a script
.outcome of --json says more; verify ends with 1 where a key is not good.
`;

export function addQuestions(program: Command): void {
  program
    .command("verify")
    .description("whether a credential is good, without using it; ends with 1 if not")
    .addHelpText(
      "after",
      NOT_ASKED + SECRET + examples("postiz-gateway verify", "postiz-gateway verify <key.txt && echo good"),
    )
    .action(async (_: object, command: Command) => {
      const { api, json } = openSession(command);
      const key = await readSecret("key", "GATEWAY_KEY");
      const verdict = await ask(api.keys.verify.$post({ json: { key } }));
      await show(verdict, json);
      if (!verdict.valid) process.exitCode = EXIT.refused;
    });
  program
    .command("explain")
    .description("what would become of a request, stage by stage; nothing is counted")
    .argument("<method>", "such as POST")
    .argument("<path>", "such as /public/v1/posts")
    .option(
      "--client-address <address>",
      "as if it came from there; without it a key with networks is refused",
    )
    .option("--host <name>", "as if it came to this host name; without it host names are not looked at")
    .addHelpText(
      "after",
      ANSWERED +
        SECRET +
        examples(
          "postiz-gateway explain POST /public/v1/posts <key.txt",
          "postiz-gateway explain GET /public/v1/posts --host posts.acme.example <key.txt",
        ),
    )
    .action(explain);
  program
    .command("audit")
    .description("who did what, the newest first")
    .addArgument(new Argument("[tenant]", "of this one only").argParser(identifier))
    .option("--limit <n>", "no more than so many", count)
    .addHelpText(
      "after",
      examples("postiz-gateway audit --limit 20", "postiz-gateway audit example --json >audit.ndjson"),
    )
    .action(async (tenantId: string | undefined, { limit }: { limit?: number }, command: Command) => {
      const { api, json } = openSession(command);
      const found = pages((query) => {
        if (tenantId === undefined) return ask(api.audit.$get({ query }));
        return ask(api.tenants[":tenantId"].audit.$get({ param: { tenantId }, query }));
      }, limit);
      await printList(found, json, {
        AT: ({ at }) => second(at),
        ACTOR: ({ actor }) => actor,
        ACTION: ({ action }) => action,
        ABOUT: ({ tenantId: tenant, keyId, after }) => {
          const what = keyId === null ? tenant : `${tenant}/${keyId}`;
          return typeof after?.["movedTo"] === "string" ? `${what} to ${after["movedTo"]}` : what;
        },
      });
    });
  program
    .command("health")
    .description("whether the gateway is up and ready; needs no token; ends with 1 if it is not ready")
    .addHelpText(
      "after",
      examples("postiz-gateway health", "GATEWAY_URL=https://api.example.com postiz-gateway health"),
    )
    .action(health);
}

async function explain(
  method: string,
  path: string,
  { clientAddress, host }: { clientAddress?: string; host?: string },
  command: Command,
): Promise<void> {
  const { api, json } = openSession(command);
  const key = await readSecret("key", "GATEWAY_KEY");
  const question = {
    ...{ method, path, key },
    ...(clientAddress !== undefined && { clientAddress }),
    ...(host !== undefined && { host }),
  };
  const explanation = await ask(api.explain.$post({ json: question }));
  if (json) return void (await printJson(explanation));
  const { green, red, dim } = colours(process.stdout);
  const paint = { pass: green, refuse: red, not_reached: dim };
  const lines = explanation.stages.map(({ stage, verdict, detail }) => {
    return `${stage.padEnd(12)}${paint[verdict](verdict.replace("_", " ").padEnd(13))}${detail}`.trimEnd();
  });
  await print(`${lines.join("\n")}\n${"outcome".padEnd(12)}${explanation.outcome}\n`);
}

interface Report {
  readonly status: string;
  readonly version: string;
  readonly checks: Readonly<Record<string, string>>;
}

async function health(_: object, command: Command): Promise<void> {
  const { get, url, json } = openWithoutToken(command);
  // A gateway that can't work at all says so here, and why.
  await get("/_gateway/health");
  const report = (await (await get("/_gateway/ready")).json()) as Report;
  if (report.status !== "ready") process.exitCode = EXIT.refused;
  await show({ gateway: url, ...report }, json);
}
