/** The control plane on real KV and Durable Objects: what an operator does, and what becomes of requests by it. */
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { digestOf } from "../../src/credential/credential.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import type { Received, Sent } from "../support/http.ts";
import { until } from "../support/poll.ts";
import { recordSecret } from "../support/record.ts";

const ADMIN_TOKEN = digestOf("admin token of the tests");
const POSTIZ_KEY = digestOf("the tenant's own Postiz key");
const SECRETS = {
  ADMIN_TOKEN,
  KEY_MAC_SECRET: digestOf("MAC secret of the tests"),
  SEALING_KEY: Buffer.alloc(32, 7).toString("base64"),
};
for (const secret of [ADMIN_TOKEN, POSTIZ_KEY, SECRETS.KEY_MAC_SECRET, SECRETS.SEALING_KEY])
  recordSecret(secret);

let gateway: TestGateway;

beforeAll(async () => {
  // Without leases, so that each request hears of a change at once, and not at `effectiveBy`.
  gateway = await startGateway({ vars: { ...SECRETS, LEASE_TTL: "0" } });
});
afterAll(() => gateway.stop());

interface Answer {
  readonly status: number;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the API says.
  readonly json: any;
  readonly received: Received;
}

async function call(
  method: string,
  path: string,
  body?: unknown,
  headers: [string, string][] = [],
  to: TestGateway = gateway,
): Promise<Answer> {
  const received = await to.send({
    method,
    path: `/_gateway/v1${path}`,
    headers: [["Authorization", `Bearer ${ADMIN_TOKEN}`], ["Content-Type", "application/json"], ...headers],
    ...(body !== undefined && { body: JSON.stringify(body) }),
    showsKey: method === "POST" && /\/(keys|rotate)$/.test(path),
  });
  const json = received.body === "" ? null : JSON.parse(received.body);
  if (typeof json?.key === "string") {
    recordSecret(json.key);
  }
  return { status: received.status, json, received };
}

let tenants = 0;
/** A new tenant, with a Postiz key where nothing else is said. */
async function newTenant(withOriginKey = true): Promise<string> {
  const id = `tenant-${++tenants}`;
  expect((await call("POST", "/tenants", { id, name: id })).status).toBe(201);
  if (withOriginKey) {
    expect((await call("PUT", `/tenants/${id}/origin-key`, { key: POSTIZ_KEY })).status).toBe(200);
  }
  return id;
}

const newKey = (tenant: string, wish: object = {}) =>
  call("POST", `/tenants/${tenant}/keys`, { name: "a key", scopes: ["*"], ...wish });

const use = (key: string, sent: Partial<Sent> = {}) =>
  gateway.send({ path: "/public/v1/integrations", authorization: key, ...sent });
const post = (key: string) =>
  use(key, {
    method: "POST",
    path: "/public/v1/posts",
    headers: [["Content-Type", "application/json"]],
    body: JSON.stringify({
      ...{ type: "draft", date: "2026-01-01T00:00:00.000Z", shortLink: false, tags: [] },
      posts: [
        {
          integration: { id: "demo-x" },
          value: [{ content: "Hello", image: [] }],
          settings: { __type: "x" },
        },
      ],
    }),
  });

async function outcomeOf(received: Received): Promise<string> {
  return (await gateway.eventOf(received)).outcome;
}

describe("who may call it", () => {
  it("nobody without a credential, or with a wrong one: 401, and the tenant is none of their business", async () => {
    for (const authorization of [
      "",
      "Bearer",
      `Bearer ${digestOf("guessed")}`,
      `Basic ${ADMIN_TOKEN}`,
      ADMIN_TOKEN,
    ]) {
      const received = await gateway.send({
        path: "/_gateway/v1/tenants",
        ...(authorization !== "" && { headers: [["Authorization", authorization]] }),
      });
      expect([authorization, received.status]).toEqual([authorization, 401]);
      expect(received.headers.get("Content-Type")).toBe("application/problem+json");
      expect(received.headers.get("WWW-Authenticate")).toContain("Bearer");
    }
  });

  it("the holder of the token, who is told who they are", async () => {
    expect((await call("GET", "/whoami")).json).toEqual({ actor: "admin-token" });
  });

  it("a tenant's key opens nothing but /me", async () => {
    const tenant = await newTenant();
    const { key } = (await newKey(tenant)).json;
    const received = await gateway.send({
      path: `/_gateway/v1/tenants/${tenant}`,
      headers: [["Authorization", `Bearer ${key}`]],
    });
    expect(received.status).toBe(401);
  });
});

describe("tenants", () => {
  it("are made, shown, listed, changed and kept apart by their version", async () => {
    const id = await newTenant(false);
    const shown = await call("GET", `/tenants/${id}`);
    expect(shown.json).toMatchObject({ id, name: id, status: "active", hasOriginKey: false, version: 1 });
    expect(shown.received.headers.get("ETag")).toBe('"1"');
    const changed = await call("PATCH", `/tenants/${id}`, { name: "Renamed", limits: { apiPerMinute: 7 } }, [
      ["If-Match", '"1"'],
    ]);
    expect(changed.json).toMatchObject({
      name: "Renamed",
      limits: { apiPerMinute: 7, postsPerHour: null },
      version: 2,
    });
    expect(Date.parse(changed.json.effectiveBy)).not.toBeNaN();
    const stale = await call("PATCH", `/tenants/${id}`, { name: "Late" }, [["If-Match", '"1"']]);
    expect([stale.status, stale.json.code]).toEqual([412, "precondition_failed"]);
    const listed = await call("GET", "/tenants?limit=100");
    expect(listed.json.items).toContainEqual({ id, name: "Renamed", status: "active" });
  });

  it("are listed page by page", async () => {
    const ids = [await newTenant(false), await newTenant(false), await newTenant(false)];
    const seen: string[] = [];
    for (let cursor: string | null = ""; cursor !== null; ) {
      const page: Answer = await call("GET", `/tenants?limit=2${cursor && `&cursor=${cursor}`}`);
      expect(page.json.items.length).toBeLessThanOrEqual(2);
      seen.push(...page.json.items.map(({ id }: { id: string }) => id));
      cursor = page.json.nextCursor;
    }
    expect(seen).toEqual(expect.arrayContaining(ids));
    expect(seen).toEqual([...new Set(seen)].sort());
  });

  it("are made once: the second is 409, under the same Idempotency-Key the same record, with another body 422", async () => {
    const body = { id: "once", name: "Once" };
    const headers: [string, string][] = [["Idempotency-Key", "k-1"]];
    const first = await call("POST", "/tenants", body, headers);
    expect(first.status).toBe(201);
    expect((await call("POST", "/tenants", body, headers)).json).toEqual(first.json);
    expect((await call("POST", "/tenants", { ...body, name: "Twice" }, headers)).status).toBe(422);
    expect((await call("POST", "/tenants", { ...body, id: "other" }, headers)).status).toBe(422);
    expect((await call("POST", "/tenants", body)).json).toMatchObject({
      status: 409,
      code: "already_exists",
    });
  });

  it.each([
    [{ id: "a/b", name: "x" }, "id"],
    [{ id: "x".repeat(65), name: "x" }, "id"],
    [{ id: "unlinked-x", name: "x" }, "id"],
    [{ id: "fine" }, "name"],
    [{ id: "fine", name: "" }, "name"],
    [{ id: "fine", name: "x", more: 1 }, ""],
    [[], ""],
  ])("%j is refused with what is wrong and what is allowed", async (body, field) => {
    const refused = await call("POST", "/tenants", body);
    expect(refused.json).toMatchObject({ status: 400, code: "invalid" });
    expect(refused.json.errors[0].field).toBe(field);
  });

  it("that are not there are 404, in the designed form", async () => {
    for (const path of [
      "/tenants/nobody",
      "/tenants/nobody/keys",
      "/tenants/nobody/keys/k",
      "/tenants/nobody/usage",
    ]) {
      expect((await call("GET", path)).json).toMatchObject({ status: 404, code: "not_found" });
    }
  });

  it("another method than a path has is 405, with those that it has", async () => {
    const { received, json } = await call("PUT", "/tenants");
    expect([received.status, json.code, received.headers.get("Allow")]).toEqual([
      405,
      "method_not_allowed",
      "GET, HEAD, POST",
    ]);
    expect((await call("GET", "/tenants/x/keys/y/rotate")).received.headers.get("Allow")).toBe("POST");
    expect((await call("GET", "/nothing-here")).json.code).toBe("path_unknown");
  });

  it("JSON that is none is 400, not 500", async () => {
    const received = await gateway.send({
      method: "POST",
      path: "/_gateway/v1/tenants",
      headers: [
        ["Authorization", `Bearer ${ADMIN_TOKEN}`],
        ["Content-Type", "application/json"],
      ],
      body: '{"id":',
    });
    expect([received.status, JSON.parse(received.body).code]).toEqual([400, "invalid"]);
  });

  it("subscriptions change who gets in", async () => {
    const strict = await startGateway({
      vars: { ...SECRETS, SUBSCRIPTIONS: "required", LEASE_TTL: "0" },
    });
    try {
      await call("POST", "/tenants", { id: "sub", name: "Sub" }, [], strict);
      await call("PUT", "/tenants/sub/origin-key", { key: POSTIZ_KEY }, [], strict);
      const { json } = await call("POST", "/tenants/sub/keys", { name: "k", scopes: ["*"] }, [], strict);
      const get = async () =>
        (await strict.send({ path: "/public/v1/integrations", authorization: json.key })).status;
      expect(await get()).toBe(200);
      const none = await call("PUT", "/tenants/sub/subscription", { status: "none" }, [], strict);
      expect(none.json).toMatchObject({ subscription: { status: "none" } });
      await until("the announced instant", () => Date.now() >= Date.parse(none.json.effectiveBy));
      expect(await get()).toBe(401);
      await call("PUT", "/tenants/sub/subscription", { status: "active", tier: "PRO" }, [], strict);
      expect(await get()).toBe(200);
    } finally {
      await strict.stop();
    }
  });

  it("deleted are gone for good: keys refused, data gone, audit kept, the id not given out again", async () => {
    const id = await newTenant();
    const { key } = (await newKey(id)).json;
    expect((await use(key)).status).toBe(200);
    const deleted = await call("DELETE", `/tenants/${id}`);
    expect(deleted.json).toMatchObject({ status: "deleted", name: "", hasOriginKey: false });
    await until("the announced instant", () => Date.now() >= Date.parse(deleted.json.effectiveBy));
    expect(await outcomeOf(await use(key))).toBe("key_revoked");
    expect((await call("GET", `/tenants/${id}`)).status).toBe(404);
    expect((await call("POST", "/tenants", { id, name: "again" })).status).toBe(409);
    const audit = await call("GET", `/tenants/${id}/audit`);
    expect(audit.json.items.map(({ action }: { action: string }) => action)).toEqual([
      "tenant.delete",
      "key.create",
      "tenant.origin_key",
      "tenant.create",
    ]);
  });
});

describe("a tenant's host names", () => {
  const HOST = "posts.acme.example";
  const under = (host: string, key: string, path = "/public/v1/integrations") =>
    gateway.send({ path, authorization: key, headers: [["Host", host]] });

  it("serve it alone, and it is served nowhere else: refused like an unknown key", async () => {
    const [bound, plain] = [await newTenant(), await newTenant()];
    const [own, anothers] = [(await newKey(bound)).json.key, (await newKey(plain)).json.key];
    const changed = await call("PATCH", `/tenants/${bound}`, { allowedHosts: ["Posts.Acme.example."] });
    expect([changed.status, changed.json.allowedHosts]).toEqual([200, [HOST]]);
    const store = await gateway.kv();
    await until("the projection", async () => (await store.get(`host:${HOST}`)) !== null);
    const unknown = await under(HOST, "0".repeat(64));
    for (const [host, key, status] of [
      [HOST, own, 200],
      [`${HOST.toUpperCase()}:8443`, own, 200],
      ["gateway.example", own, 401],
      [HOST, anothers, 401],
      ["gateway.example", anothers, 200],
    ] as const) {
      const received = await under(host, key);
      expect([host, received.status]).toEqual([host, status]);
      if (status === 200) continue;
      const fields = ["Content-Type", "Cache-Control", "WWW-Authenticate", "Proxy-Status"];
      expect([received.body, ...fields.map((name) => received.headers.get(name))]).toEqual([
        unknown.body,
        ...fields.map((name) => unknown.headers.get(name)),
      ]);
      expect(await gateway.eventOf(received)).toMatchObject({ outcome: "host_not_allowed" });
      expect((await under(host, key, "/_gateway/v1/me")).status).toBe(401);
    }
    expect((await under(HOST, own, "/_gateway/v1/me")).status).toBe(200);
    const question = { method: "GET", path: "/public/v1/integrations", key: anothers };
    const explained = await call("POST", "/explain", { ...question, host: HOST });
    expect(explained.json.outcome).toBe("host_not_allowed");
    expect((await call("POST", "/explain", question)).json.outcome).toBe("forwarded");
  });

  it("are one tenant's each, and names: what is none is 400, what is another's 409", async () => {
    const [first, second] = [await newTenant(), await newTenant()];
    const bind = (tenant: string, ...allowedHosts: string[]) =>
      call("PATCH", `/tenants/${tenant}`, { allowedHosts });
    expect((await bind(first, "one.example")).status).toBe(200);
    expect((await bind(second, "two.example", "one.example")).status).toBe(409);
    for (const wrong of ["*.example", "a.example:80", "https://a.example", ""]) {
      expect((await bind(second, wrong)).json).toMatchObject({ code: "invalid" });
    }
    expect((await bind(second, "two.example", "TWO.example")).status).toBe(400);
  });
});

describe("a policy in shadow", () => {
  const rateFields = ({ headers }: Received) =>
    ["RateLimit-Policy", "RateLimit", "X-RateLimit-Remaining", "Retry-After"].map((name) =>
      headers.get(name),
    );

  it("refuses nothing for its tenant, and says what it would have: in headers, events, usage and explain", async () => {
    const tenant = await newTenant();
    const { key } = (await newKey(tenant)).json;
    const change = { limits: { postsPerHour: 1, apiPerMinute: 1 }, shadowPolicies: ["posts"] };
    expect((await call("PATCH", `/tenants/${tenant}`, change)).json).toMatchObject({
      shadowPolicies: ["posts"],
    });
    for (const shadow of ["", "rate_limited", "rate_limited"]) {
      const received = await post(key);
      expect([received.status, ...rateFields(received)]).toEqual([
        201,
        '"posts";q=1;w=3600',
        expect.stringMatching(/^"posts";r=0;t=\d+$/),
        "0",
        null,
      ]);
      expect(await gateway.eventOf(received)).toMatchObject({ outcome: "forwarded", shadow });
    }
    expect((await call("GET", `/tenants/${tenant}/usage`)).json).toMatchObject({
      posts: { limit: 1, remaining: 0, inShadow: true, passedInShadow: 2 },
      keys: [{ api: { inShadow: false, passedInShadow: 0 } }],
    });
    const explained = await call("POST", "/explain", { method: "POST", path: "/public/v1/posts", key });
    expect(explained.json.outcome).toBe("forwarded");
    expect(explained.json.stages.at(-1).detail).toBe("rate_limited, were the policy not in shadow");
    // The other policy is not.
    expect([(await use(key)).status, (await use(key)).status]).toEqual([200, 429]);
    await call("PATCH", `/tenants/${tenant}`, { shadowPolicies: [] });
    expect((await post(key)).status).toBe(429);
  });
});

describe("a gateway key", () => {
  it("works at its first use, swapped for the tenant's Postiz key", async () => {
    const tenant = await newTenant();
    const { status, json } = await newKey(tenant, { name: "n8n", scopes: ["read"] });
    expect([status, json.name, json.hint]).toEqual([201, "n8n", `pgw_live_…${json.key.slice(-4)}`]);
    const received = await use(json.key);
    expect(received.status).toBe(200);
    expect(await gateway.eventOf(received)).toMatchObject({
      tenant,
      keyId: json.id,
      credential: "gateway_key",
      decidedBy: "authority",
    });
    const log = (await (await fetch(`${gateway.originUrl}/_origin/log`)).json()) as {
      headers: [string, string][];
    }[];
    const sent = log.flatMap(({ headers }) => headers.filter(([name]) => name === "authorization"));
    expect(sent.map(([, value]) => value)).toContain(POSTIZ_KEY);
    expect(sent.map(([, value]) => value)).not.toContain(json.key);
  });

  it("is shown once: no other answer, list, audit, record or replay holds it", async () => {
    const tenant = await newTenant();
    const headers: [string, string][] = [["Idempotency-Key", "k-2"]];
    const wish = { name: "once", scopes: ["read"] };
    const first = await call("POST", `/tenants/${tenant}/keys`, wish, headers);
    const again = await call("POST", `/tenants/${tenant}/keys`, wish, headers);
    const { key, ...rest } = first.json;
    expect([again.status, again.json]).toEqual([201, rest]);
    const other = await call("POST", `/tenants/${tenant}/keys`, { ...wish, name: "other" }, headers);
    expect(other.status).toBe(422);
    const all = [
      await call("GET", `/tenants/${tenant}/keys`),
      await call("GET", `/tenants/${tenant}/keys/${rest.id}`),
      await call("GET", `/tenants/${tenant}/audit`),
      await call("GET", "/audit"),
    ];
    for (const { received } of all) {
      expect(received.body).not.toContain(key);
      expect(received.body).not.toContain(POSTIZ_KEY);
      expect(received.body).not.toContain(digestOf(key));
    }
    expect(all[0]?.json.items).toEqual([rest]);
  });

  it("is good for its scopes and nothing else, and says which was lacking", async () => {
    const tenant = await newTenant();
    const { key } = (await newKey(tenant, { scopes: ["read"] })).json;
    expect((await use(key)).status).toBe(200);
    const refused = await post(key);
    expect([refused.status, await outcomeOf(refused)]).toEqual([403, "scope_insufficient"]);
    expect(refused.headers.get("WWW-Authenticate")).toContain(
      'error="insufficient_scope", scope="posts:write"',
    );
    const writer = (await newKey(tenant, { scopes: ["posts:write"] })).json;
    expect((await post(writer.key)).status).toBe(201);
    expect((await use(writer.key)).status).toBe(403);
    const unknownWrite = { method: "POST", path: "/public/v1/something-new", body: "{}" } as const;
    expect((await use(writer.key, unknownWrite)).status).toBe(403);
  });

  it("is refused from outside its networks", async () => {
    const tenant = await newTenant();
    const here = (await newKey(tenant, { allowedNetworks: ["127.0.0.0/8", "::1"] })).json;
    expect(here.allowedNetworks).toEqual(["127.0.0.0/8", "::1/128"]);
    const elsewhere = (await newKey(tenant, { allowedNetworks: ["192.0.2.0/24"] })).json;
    const refused = await use(elsewhere.key);
    expect([refused.status, await outcomeOf(refused)]).toEqual([403, "network_not_allowed"]);
    const wrong = await newKey(tenant, { allowedNetworks: ["everywhere"] });
    expect(wrong.json.errors[0].field).toBe("allowedNetworks.0");
  });

  it("has its own limit of policy api", async () => {
    const { key } = (await newKey(await newTenant(), { apiPerMinute: 2 })).json;
    const statuses = [];
    for (let i = 0; i < 3; i++) statuses.push((await use(key)).status);
    expect(statuses).toEqual([200, 200, 429]);
  });

  it("without a Postiz key behind it is 503, not 401: the credential is good", async () => {
    const { key } = (await newKey(await newTenant(false))).json;
    const refused = await use(key);
    expect([refused.status, JSON.parse(refused.body).code]).toEqual([503, "origin_key_missing"]);
  });

  it("made up or mistyped is refused without asking anyone", async () => {
    const { key } = (await newKey(await newTenant())).json;
    const mistyped = await use(`${key.slice(0, -1)}${key.endsWith("0") ? "1" : "0"}`);
    expect([mistyped.status, mistyped.body, await outcomeOf(mistyped)]).toEqual([
      401,
      '{"msg":"Invalid API key"}',
      "credential_malformed",
    ]);
  });

  it("lives: renamed, disabled, enabled, rotated with grace, revoked", async () => {
    const tenant = await newTenant();
    const { id, key, version } = (await newKey(tenant)).json;
    const path = `/tenants/${tenant}/keys/${id}`;
    const renamed = await call("PATCH", path, { name: "renamed" }, [["If-Match", `"${version}"`]]);
    expect(renamed.json).toMatchObject({ id, name: "renamed", state: "active", version: version + 1 });
    expect((await call("PATCH", path, { name: "late" }, [["If-Match", `"${version}"`]])).status).toBe(412);

    const disabled = await call("POST", `${path}/disable`);
    await until("the announced instant", () => Date.now() >= Date.parse(disabled.json.effectiveBy));
    expect(await outcomeOf(await use(key))).toBe("key_disabled");
    expect((await call("POST", `${path}/enable`)).json.state).toBe("active");
    expect((await use(key)).status).toBe(200);

    const rotated = await call("POST", `${path}/rotate`, { graceSeconds: 3_600 });
    expect(rotated.json).toMatchObject({
      id,
      name: "renamed",
      predecessor: { hint: `pgw_live_…${key.slice(-4)}` },
    });
    const graceMs = Date.parse(rotated.json.effectiveBy) - Date.now();
    expect(graceMs).toBeGreaterThan(3_500_000);
    for (const secret of [key, rotated.json.key]) expect((await use(secret)).status).toBe(200);

    const again = await call("POST", `${path}/rotate`, { graceSeconds: 0 });
    await until("the announced instant", () => Date.now() >= Date.parse(again.json.effectiveBy));
    for (const secret of [key, rotated.json.key])
      expect(await outcomeOf(await use(secret))).toBe("key_revoked");
    expect((await use(again.json.key)).status).toBe(200);

    const revoked = await call("DELETE", path);
    expect(revoked.json.state).toBe("revoked");
    await until("the announced instant", () => Date.now() >= Date.parse(revoked.json.effectiveBy));
    expect(await outcomeOf(await use(again.json.key))).toBe("key_revoked");
    for (const [method, more, body] of [
      ["POST", "/enable", undefined],
      ["POST", "/rotate", {}],
      ["PATCH", "", { name: "undead" }],
    ] as const) {
      expect((await call(method, path + more, body)).json).toMatchObject({
        status: 409,
        code: "not_possible",
      });
    }
    expect((await call("DELETE", path)).status).toBe(200);
  });

  it("rotated twice within its grace leaves one predecessor, and revoking kills both secrets", async () => {
    const tenant = await newTenant();
    const first = (await newKey(tenant)).json;
    const path = `/tenants/${tenant}/keys/${first.id}`;
    const second = (await call("POST", `${path}/rotate`, {})).json;
    const third = (await call("POST", `${path}/rotate`, {})).json;
    expect(await outcomeOf(await use(first.key))).toBe("key_revoked");
    for (const { key } of [second, third]) expect((await use(key)).status).toBe(200);
    await call("DELETE", path);
    for (const { key } of [second, third]) expect(await outcomeOf(await use(key))).toBe("key_revoked");
  });

  it("expires, and its end can be moved", async () => {
    const tenant = await newTenant();
    const expiresAt = new Date(Date.now() + 500).toISOString();
    const { id, key } = (await newKey(tenant, { expiresAt })).json;
    await until("its end", () => Date.now() >= Date.parse(expiresAt));
    expect(await outcomeOf(await use(key))).toBe("key_expired");
    const path = `/tenants/${tenant}/keys/${id}`;
    expect((await call("GET", path)).json.state).toBe("expired");
    await call("PATCH", path, { expiresAt: null });
    expect((await use(key)).status).toBe(200);
    const past = await newKey(tenant, { expiresAt: "2020-01-01T00:00:00Z" });
    expect(past.json).toMatchObject({ status: 400, code: "invalid" });
  });

  it("remembers its last use", async () => {
    const tenant = await newTenant();
    const { id, key, lastUsedAt } = (await newKey(tenant)).json;
    expect(lastUsedAt).toBeNull();
    const before = Date.now();
    await use(key);
    const shown = (await call("GET", `/tenants/${tenant}/keys/${id}`)).json;
    expect(Date.parse(shown.lastUsedAt)).toBeGreaterThanOrEqual(before);
  });

  it("and all others of a tenant are revoked at once, other tenants' are not", async () => {
    const [tenant, neighbour] = [await newTenant(), await newTenant()];
    const mine = [(await newKey(tenant)).json.key, (await newKey(tenant)).json.key];
    const { key: theirs } = (await newKey(neighbour)).json;
    const revoked = await call("DELETE", `/tenants/${tenant}/keys`);
    await until("the announced instant", () => Date.now() >= Date.parse(revoked.json.effectiveBy));
    for (const key of mine) expect(await outcomeOf(await use(key))).toBe("key_revoked");
    expect((await use(theirs)).status).toBe(200);
    expect((await newKey(tenant)).status).toBe(201);
  });
});

describe("what operators ask", () => {
  it("whether a key is good, without using it", async () => {
    const tenant = await newTenant();
    const { id, key } = (await newKey(tenant, { apiPerMinute: 1 })).json;
    for (let i = 0; i < 3; i++) {
      expect((await call("POST", "/keys/verify", { key })).json).toEqual({
        valid: true,
        reason: null,
        tenantId: tenant,
        keyId: id,
      });
    }
    expect((await use(key)).status).toBe(200);
    await call("DELETE", `/tenants/${tenant}/keys/${id}`);
    expect((await call("POST", "/keys/verify", { key })).json).toMatchObject({
      valid: false,
      reason: "key_revoked",
    });
    const unknown = await call("POST", "/keys/verify", { key: digestOf("never seen") });
    expect(unknown.json).toEqual({ valid: false, reason: "key_unknown", tenantId: null, keyId: null });
    const stranger = await call("POST", "/keys/verify", { key: `pos_${digestOf("stranger").slice(0, 40)}` });
    expect(stranger.json).toMatchObject({ valid: false, reason: "introspection_required" });
    const imported = await gateway.tenant("verified");
    expect((await call("POST", "/keys/verify", { key: imported })).json).toMatchObject({
      valid: true,
      tenantId: "verified",
    });
  });

  it("what would become of a request, stage by stage, nothing consumed", async () => {
    const tenant = await newTenant();
    const { key } = (await newKey(tenant, { scopes: ["read"], apiPerMinute: 1 })).json;
    const explain = async (question: object) => (await call("POST", "/explain", { key, ...question })).json;
    const read = { method: "GET", path: "/api//public/v1/integrations/" };
    for (let i = 0; i < 2; i++) {
      const { outcome, stages } = await explain(read);
      expect(outcome).toBe("forwarded");
      expect(
        stages.map(({ stage, verdict }: { stage: string; verdict: string }) => [stage, verdict]),
      ).toEqual(["route", "credential", "principal", "entitlement", "rate"].map((stage) => [stage, "pass"]));
    }
    const write = await explain({ method: "POST", path: "/public/v1/posts" });
    expect(write.outcome).toBe("scope_insufficient");
    expect(write.stages.at(-1)).toMatchObject({ stage: "rate", verdict: "not_reached" });
    expect((await explain({ method: "GET", path: "/public/%2e%2e/v1" })).outcome).toBe("path_ambiguous");
    expect((await explain({ ...read, key: "" })).outcome).toBe("credential_missing");
    expect((await explain({ ...read, key: "pgw_live_x" })).outcome).toBe("credential_malformed");
    expect((await use(key)).status).toBe(200);
    expect((await explain(read)).outcome).toBe("rate_limited");
  });

  it("what is left of the limits", async () => {
    const tenant = await newTenant();
    const { id, key } = (await newKey(tenant, { apiPerMinute: 10 })).json;
    await use(key);
    await post(key);
    const { json } = await call("GET", `/tenants/${tenant}/usage`);
    expect(json.posts).toMatchObject({ limit: 30, remaining: 29, windowSeconds: 3_600 });
    expect(json.keys).toMatchObject([{ id, api: { limit: 10, remaining: 9 } }]);
  });

  it("who did what, over all tenants, the newest first", async () => {
    const tenant = await newTenant();
    const { id } = (await newKey(tenant)).json;
    const audit = await until("the key's line", async () => {
      const { json } = await call("GET", "/audit?limit=5");
      return json.items[0]?.keyId === id && json.items;
    });
    expect(audit[0]).toMatchObject({
      actor: "admin-token",
      action: "key.create",
      tenantId: tenant,
      before: null,
    });
  });

  it("every change is a line: who, what, of which key, and nothing that was only looked at", async () => {
    const id = await newTenant();
    const at = `/tenants/${id}`;
    const first = (await newKey(id)).json.id;
    const second = (await newKey(id)).json.id;
    const changes: readonly (readonly [string, string, object?])[] = [
      ["PATCH", at, { name: "Another" }],
      ["PUT", `${at}/subscription`, { status: "active", tier: "PRO" }],
      ["PATCH", `${at}/keys/${first}`, { name: "another" }],
      ["POST", `${at}/keys/${first}/disable`],
      ["POST", `${at}/keys/${first}/enable`],
      ["POST", `${at}/keys/${first}/rotate`, { graceSeconds: 0 }],
      ["DELETE", `${at}/keys/${first}`],
      ["DELETE", `${at}/keys`],
      ["DELETE", at],
    ];
    for (const [method, path, body] of changes) {
      await call("GET", `${at}/keys`);
      await call("GET", `${at}/usage`);
      const { status } = (await call(method, path, body)).received;
      expect([method, path, status]).toEqual([method, path, 200]);
    }
    const { json } = await call("GET", `${at}/audit`);
    const lines = json.items.map(({ actor, action, keyId }: Record<string, unknown>) => [
      actor,
      action,
      keyId,
    ]);
    expect(lines.toReversed()).toEqual(
      [
        ["tenant.create", null],
        ["tenant.origin_key", null],
        ["key.create", first],
        ["key.create", second],
        ["tenant.change", null],
        ["tenant.subscription", null],
        ["key.change", first],
        ["key.disable", first],
        ["key.enable", first],
        ["key.rotate", first],
        ["key.revoke", first],
        ["key.revoke_all", null],
        ["tenant.delete", null],
      ].map((line) => ["admin-token", ...line]),
    );
  });

  it("to have a token introspected anew", async () => {
    const token = `pos_${digestOf("token to forget").slice(0, 40)}`;
    recordSecret(token);
    expect((await use(token)).status).toBe(200);
    const { json } = await call("POST", "/tokens/forget", { token });
    expect(Date.parse(json.effectiveBy)).not.toBeNaN();
    expect((await gateway.eventOf(await use(token))).decidedBy).toBe("introspection");
  });
});

describe("what is asked for in a way that could be misheard", () => {
  it("is refused: a body that is not said to be JSON, whatever the operation would do without it", async () => {
    const tenant = await newTenant();
    const { id, key } = (await newKey(tenant)).json;
    for (const type of ["application/x-www-form-urlencoded", "text/plain"]) {
      const received = await gateway.send({
        method: "POST",
        path: `/_gateway/v1/tenants/${tenant}/keys/${id}/rotate`,
        headers: [
          ["Authorization", `Bearer ${ADMIN_TOKEN}`],
          ["Content-Type", type],
        ],
        body: '{"graceSeconds":0}',
      });
      expect([received.status, JSON.parse(received.body).code]).toEqual([415, "unsupported_media_type"]);
    }
    expect((await call("GET", `/tenants/${tenant}/keys/${id}`)).json.hint).toBe(`pgw_live_…${key.slice(-4)}`);
  });

  it("no body is no wishes, whatever type it is said to have", async () => {
    const tenant = await newTenant();
    const { id } = (await newKey(tenant)).json;
    const rotated = await call("POST", `/tenants/${tenant}/keys/${id}/rotate`);
    expect(Date.parse(rotated.json.effectiveBy) - Date.now()).toBeGreaterThan(86_000_000);
  });

  it("a cursor that is none of this API's is 400, not an empty list", async () => {
    for (const path of ["/tenants?cursor=zzz", "/audit?cursor=nonsense", "/tenants?cursor=Li4v"]) {
      expect((await call("GET", path)).json).toMatchObject({ status: 400, code: "invalid" });
    }
    expect((await call("POST", "/reseal", { cursor: "no such" })).status).toBe(400);
    expect((await call("POST", "/reseal", {})).json).toMatchObject({ unreadable: [] });
  });

  it("a creation that came to nothing is not repeated as one that did", async () => {
    const tenant = await newTenant();
    const headers: [string, string][] = [["Idempotency-Key", "came-to-nothing"]];
    for (let i = 0; i < 2; i++) {
      expect((await call("POST", "/tenants", { id: tenant, name: "Mine" }, headers)).status).toBe(409);
    }
  });

  it("a tenant that has changed since is not deleted", async () => {
    const tenant = await newTenant();
    expect((await call("DELETE", `/tenants/${tenant}`, undefined, [["If-Match", '"1"']])).status).toBe(412);
  });

  it("a gateway key is no Postiz key, and a name has no control characters", async () => {
    const tenant = await newTenant();
    const { key } = (await newKey(tenant)).json;
    expect((await call("PUT", `/tenants/${tenant}/origin-key`, { key })).status).toBe(400);
    expect((await call("POST", "/tenants", { id: "nul", name: "a\u0000b" })).status).toBe(400);
    expect((await newKey(tenant, { scopes: ["read", "read"] })).status).toBe(400);
  });

  it("a body that does not say how long it is may be no longer than the others", async () => {
    const received = await gateway.send({
      method: "POST",
      path: "/_gateway/v1/tenants",
      headers: [
        ["Authorization", `Bearer ${ADMIN_TOKEN}`],
        ["Content-Type", "application/json"],
      ],
      body: Readable.from([`{"id":"chunked","name":"x"${" ".repeat(1_100_000)}}`]),
    });
    expect([received.status, JSON.parse(received.body).code]).toEqual([413, "body_too_large"]);
  });

  it("problem details also where the path has no one reading", async () => {
    const { received } = await call("GET", "/tenants/a%2Fb");
    expect([received.status, received.headers.get("Content-Type")]).toEqual([
      400,
      "application/problem+json",
    ]);
  });
});

describe("import", () => {
  interface Result {
    readonly line: number;
    readonly result: string;
    readonly reason?: string;
  }

  async function bring(lines: readonly (object | string)[]): Promise<Result[]> {
    const body = lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n");
    const received = await gateway.send({
      method: "POST",
      path: "/_gateway/v1/import",
      headers: [
        ["Authorization", `Bearer ${ADMIN_TOKEN}`],
        ["Content-Type", "application/x-ndjson"],
      ],
      body,
    });
    expect([received.status, received.headers.get("Content-Type")]).toEqual([200, "application/x-ndjson"]);
    return received.body
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as Result);
  }

  const imported = digestOf("a key that Postiz made");
  const token = `pos_${digestOf("a token that Postiz made").slice(0, 40)}`;
  for (const secret of [imported, token]) recordSecret(secret);
  const LINES = [
    { type: "tenant", id: "imported", name: "Imported" },
    { type: "subscription", tenantId: "imported", status: "active", tier: "PRO" },
    { type: "api_key", tenantId: "imported", key: imported, name: "from Postiz" },
    { type: "token", tenantId: "imported", digest: digestOf(token) },
    { type: "origin_key", tenantId: "imported", key: POSTIZ_KEY },
  ];
  const results = (found: readonly Result[]) => found.map(({ result }) => result);

  it("puts in what is new, and the same again changes nothing", async () => {
    expect(results(await bring(LINES))).toEqual(["created", "updated", "created", "created", "created"]);
    expect(results(await bring(LINES))).toEqual(Array(5).fill("unchanged"));
    expect(results(await bring([{ ...LINES[2], name: "renamed" }]))).toEqual(["updated"]);
    await bring([LINES[2] ?? ""]);
    expect((await use(imported)).status).toBe(200);
    const { json } = await call("GET", "/tenants/imported");
    expect(json).toMatchObject({ subscription: { status: "active", tier: "PRO" }, hasOriginKey: true });
  });

  it("a bad line is rejected with what is wrong, and stops no other", async () => {
    const found = await bring([
      "{",
      { type: "tenant", id: "a/b", name: "x" },
      { type: "planet", id: "x" },
      { type: "api_key", tenantId: "nobody", digest: "0".repeat(64) },
      { type: "api_key", tenantId: "imported" },
      { type: "api_key", tenantId: "imported", digest: "short" },
      { type: "tenant", id: "after-all", name: "After all" },
    ]);
    expect(found.map(({ line }) => line)).toEqual([1, 2, 3, 4, 5, 6, 7]);
    expect(results(found)).toEqual([...Array(6).fill("rejected"), "created"]);
    for (const { reason } of found.slice(0, 6)) expect(reason).not.toBe("");
  });

  it("a credential of another tenant, and a tombstone, are rejected, never revived", async () => {
    await bring(LINES);
    const [stolen] = await bring([{ type: "api_key", tenantId: "after-all", key: imported }]);
    expect(stolen).toMatchObject({ result: "rejected", reason: "it belongs to another tenant" });
    const revoked = digestOf("a key to be revoked");
    recordSecret(revoked);
    const line = { type: "api_key", tenantId: "imported", key: revoked, keyId: "doomed" };
    expect(results(await bring([line]))).toEqual(["created"]);
    await call("DELETE", "/tenants/imported/keys/doomed");
    expect((await bring([line]))[0]).toMatchObject({
      result: "rejected",
      reason: "it was revoked, for good",
    });
    expect(await outcomeOf(await use(revoked))).toBe("key_revoked");
  });

  it("of more than 500 lines is refused whole", async () => {
    const received = await gateway.send({
      method: "POST",
      path: "/_gateway/v1/import",
      headers: [["Authorization", `Bearer ${ADMIN_TOKEN}`]],
      body: "{}\n".repeat(501),
    });
    expect(received.status).toBe(400);
  });

  it("has its counterpart: what is exported can be imported, and holds no secret", async () => {
    await bring(LINES);
    const received = await gateway.send({
      path: "/_gateway/v1/export",
      headers: [["Authorization", `Bearer ${ADMIN_TOKEN}`]],
    });
    const lines = received.body
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    const mine = lines.filter((line) => line.tenantId === "imported" || line.id === "imported");
    expect(mine.map(({ type }) => type).sort()).toEqual(["api_key", "subscription", "tenant", "token"]);
    expect(results(await bring(mine))).toEqual(Array(4).fill("unchanged"));
    for (const secret of [imported, token, POSTIZ_KEY]) expect(received.body).not.toContain(secret);
  });

  it("learns of a token's tenant before it is used", async () => {
    await bring(LINES);
    expect(await gateway.eventOf(await use(token))).toMatchObject({ tenant: "imported" });
  });
});

describe("a tenant, with its own key", () => {
  it("sees itself and what is left to it, and uses nothing up", async () => {
    const tenant = await newTenant();
    const { id, key } = (await newKey(tenant, { apiPerMinute: 1 })).json;
    const me = (path: string) => gateway.send({ path: `/_gateway/v1/me${path}`, authorization: key });
    const self = JSON.parse((await me("")).body);
    expect(self).toMatchObject({ tenant: { id: tenant }, key: { id } });
    expect(JSON.stringify(self)).not.toContain(key);
    expect(JSON.parse((await me("/usage")).body).keys).toMatchObject([{ id, api: { remaining: 1 } }]);
    expect((await use(key)).status).toBe(200);
  });

  it("from outside its key's networks sees nothing, whatever else the key may do", async () => {
    const tenant = await newTenant();
    for (const scopes of [["*"], ["posts:write"]]) {
      const { key } = (await newKey(tenant, { scopes, allowedNetworks: ["203.0.113.0/24"] })).json;
      const received = await gateway.send({ path: "/_gateway/v1/me", authorization: key });
      expect([received.status, JSON.parse(received.body).code]).toEqual([403, "network_not_allowed"]);
    }
  });

  it("also with a narrow key, or without a Postiz key, and only by GET", async () => {
    const { key } = (await newKey(await newTenant(false), { scopes: ["posts:write"] })).json;
    const me = { path: "/_gateway/v1/me", authorization: key };
    expect((await gateway.send(me)).status).toBe(200);
    expect((await gateway.send({ ...me, method: "POST" })).status).toBe(405);
  });

  it("is refused like any request when the key is not good", async () => {
    const received = await gateway.send({ path: "/_gateway/v1/me", authorization: digestOf("nobody's") });
    expect([received.status, JSON.parse(received.body).code]).toEqual([401, "key_unknown"]);
  });
});

describe("without its secrets", () => {
  let bare: TestGateway;
  beforeAll(async () => {
    bare = await startGateway({ vars: { ADMIN_TOKEN } });
  });
  afterAll(() => bare.stop());

  it("what needs them is 503 config_invalid, the rest works", async () => {
    expect((await call("POST", "/tenants", { id: "t", name: "T" }, [], bare)).status).toBe(201);
    for (const answer of [
      await call("POST", "/tenants/t/keys", { name: "k", scopes: ["*"] }, [], bare),
      await call("PUT", "/tenants/t/origin-key", { key: POSTIZ_KEY }, [], bare),
    ]) {
      expect(answer.json).toMatchObject({ status: 503, code: "config_invalid" });
    }
    const imported = await bare.tenant("other");
    const received = await bare.send({ path: "/public/v1/integrations", authorization: imported });
    expect(received.status).toBe(200);
  });
});

describe("without anybody who may call it", () => {
  let closed: TestGateway;
  beforeAll(async () => {
    closed = await startGateway();
  });
  afterAll(() => closed.stop());

  it("is not there, and /me is", async () => {
    const paths = ["/tenants", "/whoami", "/keys/verify"];
    for (const path of paths) expect((await call("GET", path, undefined, [], closed)).status).toBe(404);
    const key = await closed.tenant("mine");
    const me = await closed.send({ path: "/_gateway/v1/me", authorization: key });
    expect(JSON.parse(me.body)).toMatchObject({
      tenant: { id: "mine" },
      key: { id: "main", kind: "api_key" },
    });
  });
});
