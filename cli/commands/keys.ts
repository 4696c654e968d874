/** `keys`: a tenant's gateway keys, from issue to revocation. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { SCOPES, type Scope } from "../../src/entitlement/scopes.ts";
import { confirm } from "../ask.ts";
import { ask, pages } from "../client.ts";
import { day, fields, minute, print, printJson, printList, short, show, tell } from "../output.ts";
import { count, examples, identifier, openSession, type Session, time } from "../session.ts";

const ONCE = "\nThe new key is shown this once, alone on the standard output; all else goes to\nstderr.\n";

/** Names are as long as the rest leaves them room. */
const LISTED_NAME_COLUMNS = 20;

export function addKeys(program: Command): void {
  const keys = program.command("keys").description("a tenant's keys");
  addLooks(keys);
  addSecrets(keys);
  addChanges(keys);
}

function addLooks(keys: Command): void {
  keys
    .command("list")
    .description("every key of a tenant, in the order of their making")
    .argument("<tenant>", "its id", identifier)
    .option("--limit <n>", "no more than so many", count)
    .addHelpText(
      "after",
      examples("postiz-gateway keys list example", "postiz-gateway keys list example --json | jq -r .hint"),
    )
    .action(async (tenantId: string, { limit }: { limit?: number }, command: Command) => {
      const { api, json } = openSession(command);
      const found = pages(
        (query) => ask(api.tenants[":tenantId"].keys.$get({ param: { tenantId }, query })),
        limit,
      );
      await printList(found, json, {
        ID: ({ id }) => short(id),
        NAME: ({ name }) => short(name, LISTED_NAME_COLUMNS),
        STATE: ({ state }) => state,
        // Without what most of them end in, for room; keys show and --json have them in full.
        SCOPES: ({ scopes }) => scopes.map((scope) => scope.replace(":write", "")).join(" "),
        EXPIRES: ({ expiresAt }) => day(expiresAt),
        "LAST USED": ({ lastUsedAt }) => minute(lastUsedAt),
      });
    });
  keys
    .command("show")
    .description("a key: what it may do, since when, until when")
    .argument("<tenant>", "its tenant's id", identifier)
    .argument("<key>", "its id, as keys list shows it", identifier)
    .addHelpText("after", examples("postiz-gateway keys show example postiz"))
    .action(async (tenantId: string, keyId: string, _: object, command: Command) => {
      const session = openSession(command);
      await show(await ask(keyOf(session).$get({ param: { tenantId, keyId } })), session.json);
    });
}

interface Wish {
  readonly name: string;
  readonly scope: Scope[];
  readonly expires?: string;
  readonly network?: string[];
  readonly apiPerMinute?: number;
}

function addSecrets(keys: Command): void {
  keys
    .command("create")
    .description("issues a gateway key; it works at once")
    .argument("<tenant>", "whose it will be", identifier)
    .requiredOption("--name <name>", "what it is for")
    .addOption(new Option("--scope <scopes...>", "what it may do").choices(SCOPES).makeOptionMandatory())
    .option("--expires <time>", "end of its life, RFC 3339", time)
    .option("--network <networks...>", "addresses or networks (CIDR) that it may be used from")
    .option("--api-per-minute <n>", "its own limit, in place of the tenant's", count)
    .addHelpText(
      "after",
      ONCE +
        examples(
          "postiz-gateway keys create example --name n8n --scope read posts:write",
          "postiz-gateway keys create example --name ci --scope read \\",
          "    --expires 2027-01-31T00:00:00Z --network 192.0.2.0/24 >key.txt",
        ),
    )
    .action(async (tenantId: string, wish: Wish, command: Command) => {
      const session = openSession(command);
      const { name, scope: scopes, expires, network: allowedNetworks, apiPerMinute } = wish;
      const json = {
        ...{ name, scopes },
        ...(expires !== undefined && { expiresAt: expires }),
        ...(allowedNetworks !== undefined && { allowedNetworks }),
        ...(apiPerMinute !== undefined && { apiPerMinute }),
      };
      const { keys: of } = session.api.tenants[":tenantId"];
      await showSecret(session, await ask(of.$post({ param: { tenantId }, json })));
    });
  keys
    .command("rotate")
    .description("gives a key a new secret: same id, same rights")
    .argument("<tenant>", "its tenant's id", identifier)
    .argument("<key>", "its id", identifier)
    .option("--grace <seconds>", "how long the old secret works on, 0 to 2592000; a day if not said", grace)
    .addHelpText(
      "after",
      ONCE +
        examples(
          "postiz-gateway keys rotate example V1StGXR8_Z5j --grace 3600 >key.txt",
          "postiz-gateway keys rotate example V1StGXR8_Z5j --grace 0    # it has leaked",
        ),
    )
    .action(
      async (
        tenantId: string,
        keyId: string,
        { grace: graceSeconds }: { grace?: number },
        command: Command,
      ) => {
        const session = openSession(command);
        const json = graceSeconds === undefined ? {} : { graceSeconds };
        await showSecret(
          session,
          await ask(keyOf(session).rotate.$post({ param: { tenantId, keyId }, json })),
        );
      },
    );
}

function addChanges(keys: Command): void {
  const change = (verb: string, description: string) =>
    keys
      .command(verb)
      .description(description)
      .argument("<tenant>", "its tenant's id", identifier)
      .argument("<key>", "its id", identifier);
  change("rename", "says anew what a key is for")
    .argument("<name>", "its new name")
    .addHelpText("after", examples('postiz-gateway keys rename example V1StGXR8_Z5j "n8n, new server"'))
    .action(async (tenantId: string, keyId: string, name: string, _: object, command: Command) => {
      const session = openSession(command);
      await show(
        await ask(keyOf(session).$patch({ param: { tenantId, keyId }, json: { name } })),
        session.json,
      );
    });
  change("disable", "refuses a key, until it is enabled")
    .addHelpText("after", examples("postiz-gateway keys disable example V1StGXR8_Z5j"))
    .action(async (tenantId: string, keyId: string, _: object, command: Command) => {
      const session = openSession(command);
      await show(await ask(keyOf(session).disable.$post({ param: { tenantId, keyId } })), session.json);
    });
  change("enable", "lets a disabled key in again")
    .addHelpText("after", examples("postiz-gateway keys enable example V1StGXR8_Z5j"))
    .action(async (tenantId: string, keyId: string, _: object, command: Command) => {
      const session = openSession(command);
      await show(await ask(keyOf(session).enable.$post({ param: { tenantId, keyId } })), session.json);
    });
  change("revoke", "refuses a key for good, a predecessor in its grace as well")
    .option("--yes", "does not ask")
    .addHelpText(
      "after",
      examples(
        "postiz-gateway keys revoke example V1StGXR8_Z5j",
        "postiz-gateway keys revoke example V1StGXR8_Z5j --yes --json",
      ),
    )
    .action(async (tenantId: string, keyId: string, { yes = false }: { yes?: boolean }, command: Command) => {
      const session = openSession(command);
      await confirm(`Revokes key "${keyId}" of tenant "${tenantId}", for good.`, keyId, yes);
      await show(await ask(keyOf(session).$delete({ param: { tenantId, keyId } })), session.json);
    });
}

const keyOf = ({ api }: Session) => api.tenants[":tenantId"].keys[":keyId"];

function grace(text: string): number {
  if (/^\d{1,7}$/.test(text) && Number(text) <= 2_592_000) return Number(text);
  throw new InvalidArgumentError("Allowed are whole seconds from 0 to 2592000.");
}

/** `KEY=$(postiz-gateway keys create …)` gets the key and nothing else. */
async function showSecret(
  { json }: Session,
  issued: { readonly id: string; readonly key?: string | undefined },
): Promise<void> {
  if (json) return void (await printJson(issued));
  const { key, ...about } = issued;
  tell(fields(about).trimEnd());
  if (key !== undefined) await print(`${key}\n`);
}
