/** Many lines at once, NDJSON in and out: what operators bring along, and the same back, without secrets. */
import { Hono } from "hono";
import { describeRoute } from "hono-openapi";
import type * as z from "zod";
import { authorityOf } from "../authority/find-authority.ts";
import { operatorsOf } from "../authority/find-directory.ts";
import { MAX_LINES } from "../authority/import-rules.ts";
import { type ImportLine, type ImportResult, UNANSWERED } from "../authority/import-writer.ts";
import type { TenantId } from "../authority/tenant-id.ts";
import { digestOf } from "../credential/credential.ts";
import { type AdminContext, type AdminEnv, problem } from "./context.ts";
import * as schemas from "./schemas.ts";

/** Tenants at work at the same time. */
const TOGETHER = 8;
const TENANTS_A_PAGE = 100;
const KEYS_A_PAGE = 500;
const NDJSON = { "Content-Type": "application/x-ndjson" };

interface Numbered {
  readonly line: number;
  readonly content: ImportLine;
}

type Answer = ImportResult & { readonly line: number };

export const importing = new Hono<AdminEnv>()
  .post("/import", describe("Puts tenants and keys in, a line each, 500 at most"), async (c) => {
    const texts = (await c.req.text()).split("\n").map((text) => text.trim());
    while (texts.at(-1) === "") texts.pop();
    if (texts.length > MAX_LINES) {
      return problem(c, "invalid", `${texts.length} lines; at most ${MAX_LINES} a call are allowed`);
    }
    const answers: Answer[] = [];
    const good: Numbered[] = [];
    for (const [i, text] of texts.entries()) {
      const read = readLine(text);
      if (typeof read === "string") answers.push({ line: i + 1, result: "rejected", reason: read });
      else good.push({ line: i + 1, content: read });
    }
    // A tenant's lines in their order, in one call to its authority.
    const groups = [...Map.groupBy(good, ({ content }) => content.tenantId)];
    const worker = async () => {
      for (let group = groups.pop(); group !== undefined; group = groups.pop()) {
        answers.push(...(await bring(c, ...group)));
      }
    };
    await Promise.all(Array.from({ length: TOGETHER }, worker));
    answers.sort((a, b) => a.line - b.line);
    return c.body(ndjson(answers), 200, NDJSON);
  })
  .get("/export", describe("Everything that can be imported, without secrets"), (c) => {
    const lines = exported(c);
    const encoder = new TextEncoder();
    const body = new ReadableStream<Uint8Array>({
      async pull(controller) {
        const { value, done } = await lines.next();
        if (done) controller.close();
        else controller.enqueue(encoder.encode(value));
      },
    });
    return c.body(body, 200, NDJSON);
  });

/** What can't be reached says so on each of its lines: nothing is known to be lost, and it may be brought again. */
async function bring(c: AdminContext, tenantId: TenantId, group: readonly Numbered[]): Promise<Answer[]> {
  try {
    const lines = group.map(({ content }) => content);
    const results = await authorityOf(c.env.env, tenantId).import(tenantId, lines, c.var.actor);
    return group.map(({ line }, i) => ({ line, ...(results[i] ?? UNANSWERED) }));
  } catch (error) {
    console.error(JSON.stringify({ event: "import_failed", tenant: tenantId, error: String(error) }));
    return group.map(({ line }) => ({ line, ...UNANSWERED }));
  }
}

async function* exported(c: AdminContext): AsyncGenerator<string> {
  const operators = operatorsOf(c.env.env);
  for (let after = "", more = true; more; ) {
    const page = await operators.tenants(after, TENANTS_A_PAGE);
    for (const { id } of page) yield* exportedTenant(c, id);
    after = page.at(-1)?.id ?? "";
    more = page.length === TENANTS_A_PAGE;
  }
}

async function* exportedTenant(c: AdminContext, id: TenantId): AsyncGenerator<string> {
  const authority = authorityOf(c.env.env, id);
  const tenant = await authority.tenant();
  if (!tenant.ok) return;
  const { name, subscription, limits, shadowPolicies } = tenant.value;
  const { status, tier, currentPeriodEnd } = subscription;
  yield ndjson([
    { type: "tenant", id, name, limits, shadowPolicies },
    { type: "subscription", tenantId: id, status, tier, currentPeriodEnd },
  ]);
  for (let after = "", more = true; more; ) {
    const keys = await authority.imported(after, KEYS_A_PAGE);
    yield ndjson(keys.map((key) => ({ ...key, tenantId: id })));
    after = keys.at(-1)?.digest ?? "";
    more = keys.length === KEYS_A_PAGE;
  }
}

const ndjson = (lines: readonly object[]): string =>
  lines.map((line) => `${JSON.stringify(line)}\n`).join("");

/** The line, or what is wrong with it. */
function readLine(text: string): ImportLine | string {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return "this is no JSON";
  }
  const read = schemas.importLine.safeParse(json);
  if (!read.success) {
    return read.error.issues.map(({ path, message }) => [...path, message].join(": ")).join("; ");
  }
  const line = read.data;
  switch (line.type) {
    case "tenant": {
      const { type, id, name, limits = {}, shadowPolicies } = line;
      return { type, tenantId: id, name, ...limits, shadowPolicies };
    }
    case "subscription": {
      const currentPeriodEndMs = line.currentPeriodEnd ? Date.parse(line.currentPeriodEnd) : null;
      const subscription = { status: line.status, currentPeriodEndMs };
      return { type: "subscription", tenantId: line.tenantId, subscription, tier: line.tier ?? null };
    }
    case "origin_key":
      return line;
    default:
      return keyLine(line);
  }
}

function keyLine(line: z.infer<typeof schemas.importedKey>): ImportLine | string {
  // The credential itself goes no further than here.
  const { secret, ...known } = withoutSecret(line);
  if ((secret === undefined) === (known.digest === undefined))
    return "give either the digest or the credential itself";
  const { expiresAt, scopes, ...more } = known;
  return {
    ...more,
    digest: known.digest ?? digestOf(secret ?? ""),
    ...(expiresAt !== undefined && { expiresAtMs: expiresAt === null ? null : Date.parse(expiresAt) }),
    ...(scopes !== undefined && { scopes: scopes.includes("*") ? null : scopes }),
  };
}

function withoutSecret(line: z.infer<typeof schemas.importedKey>) {
  if (line.type === "token") {
    const { token: secret, ...known } = line;
    return { ...known, secret };
  }
  const { key: secret, ...known } = line;
  return { ...known, secret };
}

function describe(summary: string) {
  return describeRoute({
    summary,
    responses: {
      200: { description: summary, content: { "application/x-ndjson": { schema: { type: "string" } } } },
      default: { description: "RFC 9457 problem details" },
    },
  });
}
