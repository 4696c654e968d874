/** `tenants`, `subscription`, `origin-key`, `usage`. */
import { Argument, type Command } from "commander";
import { SUBSCRIPTION_STATUSES, type SubscriptionStatus } from "../../src/entitlement/subscription.ts";
import { confirm, readSecret } from "../ask.ts";
import { ask, pages } from "../client.ts";
import { minute, print, printJson, printList, short, show } from "../output.ts";
import { count, examples, identifier, openSession, time } from "../session.ts";

const ABOUT_USAGE = `
"at most N more": so many are handed out in advance and may not have been used.
"in shadow, N passed": the limit refuses nobody, and would have refused so many.
`;

export function addTenants(program: Command): void {
  const tenants = program.command("tenants").description("the organizations that may call the API");
  tenants
    .command("list")
    .description("every tenant, by id")
    .option("--limit <n>", "no more than so many", count)
    .addHelpText(
      "after",
      examples("postiz-gateway tenants list", "postiz-gateway tenants list --json | wc -l"),
    )
    .action(async ({ limit }: { limit?: number }, command: Command) => {
      const { api, json } = openSession(command);
      const found = pages((query) => ask(api.tenants.$get({ query })), limit);
      await printList(found, json, {
        ID: ({ id }) => id,
        NAME: ({ name }) => name,
        STATUS: ({ status }) => status,
      });
    });
  tenants
    .command("create")
    .description("makes a tenant: an organization in Postiz")
    .argument("<tenant>", "its id here: A-Z, a-z, 0-9, _ and -", identifier)
    .argument("<name>", "its name, for people")
    .addHelpText("after", examples('postiz-gateway tenants create example "Example Ltd"'))
    .action(async (id: string, name: string, _: object, command: Command) => {
      const session = openSession(command);
      await show(await ask(session.api.tenants.$post({ json: { id, name } })), session.json);
    });
  tenants
    .command("show")
    .description("a tenant, its subscription and its limits")
    .argument("<tenant>", "its id", identifier)
    .addHelpText("after", examples("postiz-gateway tenants show example"))
    .action(async (tenantId: string, _: object, command: Command) => {
      const session = openSession(command);
      await show(await ask(session.api.tenants[":tenantId"].$get({ param: { tenantId } })), session.json);
    });
  tenants
    .command("delete")
    .description("revokes a tenant's keys and deletes its data, for good")
    .argument("<tenant>", "its id, which is not given out again", identifier)
    .option("--yes", "does not ask")
    .addHelpText("after", examples("postiz-gateway tenants delete example"))
    .action(async (tenantId: string, { yes = false }: { yes?: boolean }, command: Command) => {
      const session = openSession(command);
      await confirm(`Deletes tenant "${tenantId}" and revokes all of its keys, for good.`, tenantId, yes);
      await show(await ask(session.api.tenants[":tenantId"].$delete({ param: { tenantId } })), session.json);
    });
}

export function addTenantSettings(program: Command): void {
  program
    .command("subscription")
    .description("who gets in, where the gateway runs with SUBSCRIPTIONS=required")
    .command("set")
    .description("sets a tenant's subscription, all of it")
    .argument("<tenant>", "its id", identifier)
    .addArgument(new Argument("<status>", "of the subscription").choices(SUBSCRIPTION_STATUSES))
    .option("--tier <name>", "such as PRO; for people")
    .option("--until <time>", "end of what is paid for, RFC 3339", time)
    .addHelpText(
      "after",
      examples(
        "postiz-gateway subscription set example active --tier PRO",
        "postiz-gateway subscription set example canceled --until 2027-01-31T00:00:00Z",
      ),
    )
    .action(setSubscription);
  program
    .command("origin-key")
    .description("a tenant's Postiz key, which gateway keys are swapped for")
    .command("set")
    .description("seals a tenant's Postiz key; it is never shown again")
    .argument("<tenant>", "its id", identifier)
    .addHelpText(
      "after",
      `\nThe key is read from the standard input, unseen at a terminal, or from the\nenvironment variable GATEWAY_ORIGIN_KEY.\n${examples(
        "postiz-gateway origin-key set example",
        "postiz-gateway origin-key set example <postiz-key.txt",
      )}`,
    )
    .action(async (tenantId: string, _: object, command: Command) => {
      const session = openSession(command);
      const key = await readSecret(`Postiz key of ${tenantId}`, "GATEWAY_ORIGIN_KEY");
      const call = session.api.tenants[":tenantId"]["origin-key"].$put({
        param: { tenantId },
        json: { key },
      });
      await show(await ask(call), session.json);
    });
  program
    .command("usage")
    .description("what is left of a tenant's limits")
    .argument("<tenant>", "its id", identifier)
    .addHelpText("after", ABOUT_USAGE + examples("postiz-gateway usage example"))
    .action(showUsage);
}

async function setSubscription(
  tenantId: string,
  status: SubscriptionStatus,
  { tier, until }: { tier?: string; until?: string },
  command: Command,
): Promise<void> {
  const session = openSession(command);
  const json = { status, tier: tier ?? null, currentPeriodEnd: until ?? null };
  const call = session.api.tenants[":tenantId"].subscription.$put({ param: { tenantId }, json });
  await show(await ask(call), session.json);
}

async function showUsage(tenantId: string, _: object, command: Command): Promise<void> {
  const { api, json } = openSession(command);
  const usage = await ask(api.tenants[":tenantId"].usage.$get({ param: { tenantId } }));
  if (json) return void (await printJson(usage));
  const { posts, keys } = usage;
  await print(`New posts left: ${left(posts)}\n`);
  await printList(once(keys), false, {
    KEY: ({ id }) => id,
    NAME: ({ name }) => short(name),
    LEFT: ({ api: quota }) => left(quota),
    "LAST USED": ({ lastUsedAt }) => minute(lastUsedAt),
  });
}

interface Quota {
  readonly limit: number;
  readonly remaining: number;
  readonly windowSeconds: number;
  readonly outstanding: number;
  readonly inShadow: boolean;
  readonly passedInShadow: number;
}

/** What Workers hold may have been used or not: it counts as used. */
function left(quota: Quota | null): string {
  if (quota === null) return "unknown: its object did not answer";
  const { limit, remaining, windowSeconds, outstanding, inShadow, passedInShadow } = quota;
  const more = outstanding > 0 ? `, at most ${outstanding} more` : "";
  const shadow = inShadow ? `, in shadow, ${passedInShadow} passed` : "";
  return `${remaining} of ${limit} in ${windowSeconds} s${more}${shadow}`;
}

async function* once<T>(page: T): AsyncGenerator<T> {
  yield page;
}
