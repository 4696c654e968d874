/**
 * Two tenants and every route there is: neither can read, change, count or infer the other. The routes are those of the
 * application itself; one that is added has to be added here.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { admin } from "../../src/admin/app.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { digestOf } from "../../src/credential/credential.ts";
import { handle } from "../../src/edge.ts";
import { record } from "../support/record.ts";
import { stubRuntime } from "../support/runtime.ts";
import { World } from "../support/world.ts";

const BASE = "/_gateway/v1";
const ADMIN_TOKEN = "t".repeat(32);
const VARS = {
  ADMIN_TOKEN,
  KEY_MAC_SECRET: "m".repeat(32),
  SEALING_KEY: Buffer.alloc(32, 1).toString("base64"),
};
const TOKEN = `pos_${"A1".repeat(20)}`;

/** What each operation is sent, about tenant acme. */
const BODIES: Readonly<Record<string, unknown>> = {
  "GET /me": null,
  "GET /me/usage": null,
  "GET /tenants": null,
  "POST /tenants": { id: "third", name: "Third" },
  "GET /tenants/:tenantId": null,
  "PATCH /tenants/:tenantId": { name: "New", shadowPolicies: ["api"], allowedHosts: ["acme.example"] },
  "DELETE /tenants/:tenantId": null,
  "PUT /tenants/:tenantId/subscription": { status: "none" },
  "PUT /tenants/:tenantId/origin-key": { key: "another-postiz-key" },
  "GET /tenants/:tenantId/usage": null,
  "GET /tenants/:tenantId/audit": null,
  "GET /tenants/:tenantId/keys": null,
  "POST /tenants/:tenantId/keys": { name: "new", scopes: ["*"] },
  "DELETE /tenants/:tenantId/keys": null,
  "GET /tenants/:tenantId/keys/:keyId": null,
  "PATCH /tenants/:tenantId/keys/:keyId": { name: "renamed", scopes: ["read"] },
  "DELETE /tenants/:tenantId/keys/:keyId": null,
  "POST /tenants/:tenantId/keys/:keyId/rotate": { graceSeconds: 0 },
  "POST /tenants/:tenantId/keys/:keyId/disable": null,
  "POST /tenants/:tenantId/keys/:keyId/enable": null,
  "GET /whoami": null,
  "GET /audit": null,
  "POST /keys/verify": { key: digestOf("postiz key of acme") },
  "POST /tokens/forget": { token: TOKEN },
  "POST /reseal": {},
  "POST /explain": { method: "GET", path: "/public/v1/posts", key: digestOf("postiz key of acme") },
  "POST /import": `{"type":"tenant","id":"acme","name":"Imported"}\n`,
  "GET /export": null,
};
/** Answer about all tenants at once: operators see them side by side. */
const ABOUT_ALL = new Set(["GET /tenants", "GET /audit", "POST /reseal", "GET /export"]);

const ROUTES = [
  ...new Set(
    admin.routes
      .filter(({ method }) => method !== "ALL")
      .map(({ method, path }) => `${method} ${path.slice(BASE.length).replace(/(?<=.)\/$/, "")}`),
  ),
];
const SELF = ROUTES.filter((route) => route.includes(" /me"));
const OPERATORS = ROUTES.filter((route) => !SELF.includes(route));
const OF_KEYS = ROUTES.filter((route) => route.includes(":keyId"));

beforeEach(stubRuntime);
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** A tenant as it is after a day's work: with keys, a post, a revoked key, a token. */
interface Tenant {
  readonly keyId: string;
  readonly gatewayKey: string;
  readonly apiKey: string;
}

class Stage {
  readonly world = new World(VARS);
  #env = this.world.env();

  /** The gateway as it is composed, in an isolate of its own where one is asked for. */
  async send(
    method: string,
    path: string,
    authorization: string | null,
    body: unknown = null,
    inNewIsolate = false,
  ) {
    if (inNewIsolate) this.#env = this.world.env();
    const headers = new Headers({ Host: "gateway.example" });
    if (authorization !== null) headers.set("Authorization", authorization);
    if (body !== null) headers.set("Content-Type", "application/json");
    const sent = body === null ? null : typeof body === "string" ? body : JSON.stringify(body);
    const request = new Request(`http://gateway.example${path}`, { method, headers, body: sent });
    const context = { waitUntil: () => {} } as unknown as ExecutionContext;
    const before = this.world.steps.length;
    const response = await handle(request, this.#env, context);
    const text = await response.text();
    record("response", text.replace(/"key":"pgw_\w+"/, '"key":"(shown once)"'));
    const answer = { status: response.status, body: generic(text) };
    return { ...answer, steps: this.world.steps.slice(before) };
  }

  operator(route: string, { keyId = "" } = {}, inNewIsolate = false) {
    const [method = "", path = ""] = route.split(" ");
    const found = path.replace(":tenantId", "acme").replace(":keyId", keyId);
    return this.send(method, BASE + found, `Bearer ${ADMIN_TOKEN}`, BODIES[route], inNewIsolate);
  }

  async tenant(name: string): Promise<Tenant> {
    const id = tenantIdOf(name);
    const authority = this.world.authority(name);
    await authority.createTenant(id, name, "tests");
    await authority.setOriginKey(`postiz key of ${name}`, "tests");
    const apiKey = digestOf(`postiz key of ${name}`);
    const key = { digest: digestOf(apiKey), keyId: `postiz-${name}`, name, expiresAtMs: null };
    await authority.import(id, [{ type: "api_key", tenantId: id, ...key }], "tests");
    const wish = { name, scopes: ["*"], expiresAtMs: null, allowedNetworks: [], apiPerMinute: null } as const;
    const issued = await authority.issueKey(wish, null, "tests");
    await this.world.pass(1);
    const revoked = await authority.issueKey(wish, null, "tests");
    if (!issued.ok || !revoked.ok) throw new Error("no key");
    await authority.revokeKeyById(revoked.value.key.id, "tests");
    for (const policy of ["posts", "api"] as const) {
      await this.world.ask(this.world.isolate(), { kind: "api_key", secret: apiKey }, { policy });
    }
    await this.world.pass(1);
    return { keyId: issued.value.key.id, gatewayKey: issued.value.secret ?? "", apiKey };
  }

  /** All that operators, and the tenant itself, can see of it. */
  async portrait(name: string, { gatewayKey, apiKey }: Tenant): Promise<string> {
    const authority = this.world.authority(name);
    const look = (digest: string) => {
      const question = { v: 1, tenantId: null, digest, policy: "posts", settleWithinMs: 0 } as const;
      return authority.look({ ...question, scope: "read", entrance: null });
    };
    const all = {
      tenant: authority.tenant(),
      keys: authority.keys("", 100),
      usage: await authority.usage(null),
      audit: authority.audit(Number.MAX_SAFE_INTEGER, 100),
      exported: authority.imported("", 100),
      verdicts: await Promise.all([gatewayKey, apiKey].map((secret) => look(digestOf(secret)))),
      records: [gatewayKey, apiKey].map((secret) => this.world.credentials.stored.get(digestOf(secret))),
      owners: [gatewayKey, apiKey].map((secret) => this.world.ownerOf(digestOf(secret))),
    };
    return generic(JSON.stringify(all));
  }
}

/** Without what differs from one request to the next anyway. */
function generic(text: string): string {
  return text
    .replace(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, "<time>")
    .replace(/key_[\w-]{16}/g, "<key id>")
    .replace(/pgw_live_\w+/g, "<key>")
    .replace(/…\w{4}/g, "…<end>")
    .replace(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "<request>");
}

it("every route there is has its place in this test", () => {
  expect(ROUTES.toSorted()).toEqual(Object.keys(BODIES).toSorted());
});

describe("an operation on one tenant", () => {
  it.each(OPERATORS)("%s leaves all of the other as it was", async (route) => {
    const stage = new Stage();
    const [acme, rival] = [await stage.tenant("acme"), await stage.tenant("rival")];
    const { status } = await stage.operator(route, acme);
    expect([200, 201]).toContain(status);
    await stage.world.pass(120_000);
    const found = await stage.portrait("rival", rival);
    // As it is where there has never been another.
    const alone = new Stage();
    const lonely = await alone.tenant("rival");
    await alone.world.pass(120_000);
    expect(found).toBe(await alone.portrait("rival", lonely));
  });

  it.each(OPERATORS.filter((route) => !ABOUT_ALL.has(route)))(
    "%s answers the same, by the same steps, whether there is another tenant or not",
    async (route) => {
      const [alone, beside] = [new Stage(), new Stage()];
      const acmeAlone = await alone.tenant("acme");
      await beside.tenant("rival");
      const acmeBeside = await beside.tenant("acme");
      expect(await beside.operator(route, acmeBeside, true)).toEqual(
        await alone.operator(route, acmeAlone, true),
      );
    },
  );

  it.each(OF_KEYS)("%s knows the other's key no more than one that nobody has", async (route) => {
    const stage = new Stage();
    await stage.tenant("acme");
    const rival = await stage.tenant("rival");
    const before = await stage.portrait("rival", rival);
    const made = { keyId: "key_0000000000000000" };
    const [others, nobodys] = [await stage.operator(route, rival), await stage.operator(route, made)];
    expect(others).toEqual(nobodys);
    expect(others.status).toBe(404);
    expect(await stage.portrait("rival", rival)).toBe(before);
  });
});

describe("a tenant, with its own keys", () => {
  it.each(OPERATORS)("is to %s like anybody", async (route) => {
    const stage = new Stage();
    const acme = await stage.tenant("acme");
    const [method = "", path = ""] = route.split(" ");
    const found = BASE + path.replace(":tenantId", "acme").replace(":keyId", acme.keyId);
    const as = (key: string) => stage.send(method, found, key, BODIES[route], true);
    const stranger = await as("nobody-s-key");
    expect(stranger.status).toBe(401);
    for (const key of [acme.gatewayKey, acme.apiKey, `Bearer ${acme.gatewayKey}`]) {
      const { status, steps } = await as(key);
      expect({ status, steps }).toEqual({ status: stranger.status, steps: stranger.steps });
    }
    for (const key of [acme.gatewayKey, acme.apiKey]) expect((await as(key)).body).toBe(stranger.body);
  });

  it.each(SELF)(
    "at %s sees the same, by the same steps, whether there is another tenant or not",
    async (route) => {
      const path = BASE + route.slice("GET ".length);
      const [alone, beside] = [new Stage(), new Stage()];
      const acmeAlone = await alone.tenant("acme");
      await beside.tenant("rival");
      const acmeBeside = await beside.tenant("acme");
      for (const kind of ["gatewayKey", "apiKey"] as const) {
        const seen = await beside.send("GET", path, acmeBeside[kind], null, true);
        expect(seen.status).toBe(200);
        expect(seen.body).not.toContain("rival");
        expect(seen).toEqual(await alone.send("GET", path, acmeAlone[kind], null, true));
      }
    },
  );
});

describe("a deleted tenant", () => {
  it("is refused by the bound everywhere, is gone but for its audit, and its id is not given out again", async () => {
    const stage = new Stage();
    const acme = await stage.tenant("acme");
    const key = { kind: "api_key", secret: acme.apiKey } as const;
    const isolate = stage.world.isolate();
    await stage.world.ask(isolate, key);
    const deleted = await stage.operator("DELETE /tenants/:tenantId");
    expect(deleted.status).toBe(200);
    await stage.world.pass(8_000);
    for (const each of [isolate, stage.world.isolate()])
      expect((await stage.world.ask(each, key)).result.ok).toBe(false);
    for (const route of [
      "GET /tenants/:tenantId",
      "GET /tenants/:tenantId/keys",
      "GET /tenants/:tenantId/usage",
    ])
      expect((await stage.operator(route)).status).toBe(404);
    expect((await stage.operator("GET /tenants/:tenantId/audit")).body).toContain("tenant.delete");
    expect(JSON.stringify(stage.world.authority("acme").keys("", 100))).not.toContain(acme.keyId);
    const again = { id: "acme", name: "Again" };
    expect((await stage.send("POST", `${BASE}/tenants`, `Bearer ${ADMIN_TOKEN}`, again)).status).toBe(409);
    const line = `{"type":"tenant","id":"acme","name":"Again"}\n`;
    const imported = await stage.send("POST", `${BASE}/import`, `Bearer ${ADMIN_TOKEN}`, line);
    expect(imported.body).toContain("the tenant was deleted");
  });
});

it("objects are named in two files, and tenant ids are made in one", () => {
  const root = join(import.meta.dirname, "../../src");
  const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".ts"),
  );
  const holding = (text: RegExp) => files.filter((name) => text.test(readFileSync(join(root, name), "utf8")));
  expect(holding(/\.(?:getByName|idFromName|idFromString|newUniqueId)\(/).toSorted()).toEqual([
    "authority/find-authority.ts",
    "authority/find-directory.ts",
  ]);
  // Explain answers about credentials that nobody has.
  expect(holding(/\bas TenantId\b/)).toEqual(["admin/explain.ts"]);
  expect(holding(/\bas Tag\b/)).toEqual(["authority/tag.ts"]);
});
