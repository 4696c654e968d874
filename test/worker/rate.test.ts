/** Limits, exact: what the authority admits, to whom, and what it survives. */
import { parseDictionary, parseList } from "structured-headers";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { CLOCK_MARGIN_MS, type LeaseAsk } from "../../src/authority/protocol.ts";
import { tagOf } from "../../src/authority/tag.ts";
import { type TenantId, tenantIdOf } from "../../src/authority/tenant-id.ts";
import { digestOf } from "../../src/credential/credential.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import type { Sent } from "../support/http.ts";
import { until } from "../support/poll.ts";

let gateway: TestGateway;

beforeAll(async () => {
  gateway = await startGateway({ vars: { API_LIMIT: "30", SUBSCRIPTIONS: "required", LEASE_TTL: "0" } });
});

afterAll(() => gateway.stop());

const creation = (authorization: string): Sent => ({
  method: "POST",
  path: "/public/v1/posts",
  authorization,
  headers: [["Content-Type", "application/json"]],
  body: '{"type":"now","posts":[]}',
});

async function arrivedAtOrigin(authorization: string): Promise<number> {
  const log = (await (await fetch(`${gateway.originUrl}/_origin/log`)).json()) as {
    headers: [string, string][];
  }[];
  return log.filter(({ headers }) =>
    headers.some(([name, value]) => name === "authorization" && value === authorization),
  ).length;
}

const ask = (tenantId: string, key: string, nonce: string): LeaseAsk => ({
  v: 1,
  tenantId: tenantIdOf(tenantId),
  digest: digestOf(key),
  policy: "posts",
  nonce,
  settleWithinMs: 30_000,
});

describe("policy posts", () => {
  it("lets exactly 30 of 200 concurrent creates through, also when the authority is evicted in between", async () => {
    const key = await gateway.tenant("crowd");
    const crowd = () => Promise.all(Array.from({ length: 100 }, () => gateway.send(creation(key))));
    const first = await crowd();
    await gateway.evict("crowd");
    const answers = [...first, ...(await crowd())];
    const refused = answers.filter(
      ({ status, body }) => status === 429 && body.includes("ThrottlerException"),
    );
    expect(refused).toHaveLength(170);
    expect(await arrivedAtOrigin(key)).toBe(30);
    expect((await gateway.send(creation(key))).status).toBe(429);
  });

  it("counts a tenant's, not its neighbour's", async () => {
    const [full, neighbour] = [await gateway.tenant("full"), await gateway.tenant("neighbour")];
    for (let i = 0; i < 31; i++) await gateway.send(creation(full));
    expect((await gateway.send(creation(full))).status).toBe(429);
    expect((await gateway.send(creation(neighbour))).headers.get("X-RateLimit-Remaining")).toBe("29");
  });

  it("does not count what was refused: for the subscription, the limit, or the key", async () => {
    const key = await gateway.tenant("refused", { status: "none" });
    for (let i = 0; i < 5; i++) expect((await gateway.send(creation(key))).status).toBe(401);
    const authority = gateway.authority("refused");
    await authority.putTenant({
      id: tenantIdOf("refused"),
      name: "x",
      subscription: { status: "active", currentPeriodEndMs: null },
      limits: { postsPerHour: 2 },
    });
    expect((await gateway.send(creation(key))).headers.get("X-RateLimit-Remaining")).toBe("1");
    expect((await gateway.send(creation(key))).headers.get("X-RateLimit-Remaining")).toBe("0");
    for (let i = 0; i < 5; i++) expect((await gateway.send(creation(key))).status).toBe(429);
    await authority.putTenant({ id: tenantIdOf("refused"), name: "x", limits: { postsPerHour: 3 } });
    expect((await gateway.send(creation(key))).headers.get("X-RateLimit-Remaining")).toBe("0");
  });

  it.each([
    "/public/v1/posts",
    "/api/public/v1/posts",
    "/api//public/v1/posts",
    "/public/V1/Posts",
    "/public/v1/%70osts/",
  ])("is what %s falls under, whatever its spelling", async (path) => {
    const key = await gateway.tenant(`spelling-${digestOf(path).slice(0, 16)}`);
    const received = await gateway.send({ ...creation(key), path });
    expect(received.headers.get("X-RateLimit-Limit")).toBe("30");
  });

  it("has its fields by the draft, and X-RateLimit fields beside them", async () => {
    const { headers } = await gateway.send(creation(await gateway.tenant("fields")));
    const [policy] = parseList(headers.get("RateLimit-Policy") ?? "");
    const [limit] = parseList(headers.get("RateLimit") ?? "");
    expect(policy).toEqual([
      "posts",
      new Map([
        ["q", 30],
        ["w", 3_600],
      ]),
    ]);
    expect(limit).toEqual([
      "posts",
      new Map([
        ["r", 29],
        ["t", 3_600],
      ]),
    ]);
    expect(headers.get("X-RateLimit-Limit")).toBe("30");
    expect(headers.get("X-RateLimit-Remaining")).toBe("29");
    expect(headers.get("X-RateLimit-Reset")).toBe("3600");
  });

  it("adopts a 429 of the origin's own limiter, for as long as it says", async () => {
    const key = await gateway.tenant("throttled");
    const authority = gateway.authority("throttled");
    const granted = await authority.lease(ask("throttled", key, "n1"));
    expect(granted).toMatchObject({ verdict: "granted", tokens: 1 });
    await authority.settle({ nonce: "n1", originRetryAfterSeconds: 1_234 });
    const received = await gateway.send(creation(key));
    expect(received.status).toBe(429);
    expect(Number(received.headers.get("Retry-After"))).toBeGreaterThan(1_200);
    expect(Number(received.headers.get("Retry-After"))).toBeLessThanOrEqual(1_234);
  });
});

describe("policy api", () => {
  it("counts per key and shows its state, without X-RateLimit fields", async () => {
    const key = await gateway.tenant("api", { limits: { apiPerMinute: 2 } });
    const list: Sent = { path: "/public/v1/posts", authorization: key };
    const first = await gateway.send(list);
    expect(first.headers.get("RateLimit")).toBe('"api";r=1;t=60');
    expect(first.headers.has("X-RateLimit-Limit")).toBe(false);
    expect((await gateway.send({ ...list, method: "HEAD" })).headers.get("RateLimit")).toMatch(
      /^"api";r=0;t=\d+$/,
    );
    const refused = await gateway.send(list);
    expect([refused.status, JSON.parse(refused.body).code]).toEqual([429, "rate_limited"]);
    expect(refused.headers.get("Proxy-Status")).toContain('details="rate_limited"');
    const status = parseDictionary(`x=${(refused.headers.get("Retry-After") ?? "").trim()}`).get("x")?.[0];
    expect(status).toBeGreaterThan(50);
    expect(status).toBeLessThanOrEqual(64);
  });

  it("is not consumed by posts, nor posts by it", async () => {
    const key = await gateway.tenant("both", { limits: { apiPerMinute: 1, postsPerHour: 1 } });
    expect((await gateway.send({ path: "/public/v1/posts", authorization: key })).status).toBe(200);
    expect((await gateway.send(creation(key))).headers.get("X-RateLimit-Remaining")).toBe("0");
  });
});

describe("the authority", () => {
  it("gives the same grant to the same nonce, also after an eviction, and counts it once", async () => {
    const key = await gateway.tenant("nonce", { limits: { postsPerHour: 2 } });
    const first = await gateway.authority("nonce").lease(ask("nonce", key, "same"));
    await gateway.evict("nonce");
    const again = await gateway.authority("nonce").lease(ask("nonce", key, "same"));
    expect(again).toEqual(first);
    const other = await gateway.authority("nonce").lease(ask("nonce", key, "other"));
    expect(other).toMatchObject({ verdict: "granted", quota: { remaining: 0 } });
    const third = await gateway.authority("nonce").lease(ask("nonce", key, "third"));
    expect(third).toMatchObject({ verdict: "rate_limited", tokens: 0 });
  });

  it("answers for its own tenant only", async () => {
    const key = await gateway.tenant("mine");
    const grant = await gateway.authority("mine").lease(ask("yours", key, "n"));
    expect(grant).toMatchObject({ verdict: "key_unknown", tokens: 0, quota: null });
    await expect(gateway.authority("mine").putTenant({ id: tenantIdOf("yours"), name: "x" })).rejects.toThrow(
      /"mine"/,
    );
  });

  it("takes no name that could be written but not read back from KV", async () => {
    await expect(gateway.authority("a.b").putTenant({ id: "a.b" as TenantId, name: "x" })).rejects.toThrow(
      /tenant id is 1 to 64/,
    );
    const authority = gateway.authority("names");
    await authority.putTenant({ id: tenantIdOf("names"), name: "x" });
    await expect(authority.putKey({ digest: digestOf("x"), keyId: "a b" })).rejects.toThrow(
      /key id is 1 to 64/,
    );
    await expect(authority.putKey({ digest: "ABC", keyId: "a" })).rejects.toThrow(/64 lower-case hex/);
  });

  it("has the last word over a KV that still says active", async () => {
    const key = await gateway.tenant("stale-kv");
    const kv = await gateway.kv();
    const before = await kv.get(digestOf(key));
    await gateway.authority("stale-kv").revokeKey(digestOf(key));
    await until(
      "the tombstone",
      async () => (await kv.get<{ state: string }>(digestOf(key), "json"))?.state === "revoked",
    );
    await kv.put(digestOf(key), before ?? "");
    const received = await gateway.send({ path: "/public/v1/is-connected", authorization: key });
    expect([received.status, received.body]).toEqual([401, '{"msg":"Invalid API key"}']);
    expect(await gateway.eventOf(received)).toMatchObject({
      outcome: "key_revoked",
      tenant: "stale-kv",
      keyId: "main",
    });
  });

  it("keeps a revoked key revoked, and says from when on it is refused everywhere", async () => {
    const key = await gateway.tenant("terminal");
    const authority = gateway.authority("terminal");
    await authority.lease(ask("terminal", key, "n1"));
    const askedAt = Date.now();
    const { effectiveBy } = await authority.revokeKey(digestOf(key));
    expect(Date.parse(effectiveBy) - askedAt).toBeLessThanOrEqual(
      1_000 + CLOCK_MARGIN_MS + (Date.now() - askedAt),
    );
    expect(Date.parse(effectiveBy)).toBeGreaterThan(askedAt);
    await authority.putKey({ digest: digestOf(key), keyId: "main" });
    expect(await authority.lease(ask("terminal", key, "n2"))).toMatchObject({
      verdict: "key_revoked",
      tokens: 0,
    });
  });

  it("counts a settled token for one window and the margin from the settlement, not from its latest use", async () => {
    const key = await gateway.tenant("settled");
    const authority = gateway.authority("settled");
    await authority.lease(ask("settled", key, "n1"));
    const storage = await gateway.miniflare.unsafeGetDurableObjectStorage(
      "postiz-gateway",
      "TenantAuthority",
      { name: tagOf(tenantIdOf("settled")) },
    );
    const countsUntil = async () =>
      Number((await storage.exec("SELECT counts_until_ms AS ms FROM grant_log"))[0]?.["ms"]);
    const unsettled = await countsUntil();
    const settledAt = Date.now();
    await authority.settle({ nonce: "n1" });
    const settled = await countsUntil();
    expect(unsettled - settled).toBeGreaterThan(30_000);
    expect(settled - settledAt - 3_600_000 - CLOCK_MARGIN_MS).toBeGreaterThanOrEqual(0);
    expect(settled).toBeLessThanOrEqual(Date.now() + 3_600_000 + CLOCK_MARGIN_MS);
  });
});

describe("a key that a branch counts", () => {
  let busy: TestGateway;
  beforeAll(async () => {
    busy = await startGateway();
  });
  afterAll(() => busy.stop());

  it("is let in exactly as often as its limit says, through the hand-over, evictions and a crowd", async () => {
    const limit = 40;
    const key = await busy.tenant("busy", { limits: { apiPerMinute: limit } });
    const get = () => busy.send({ path: "/public/v1/integrations", authorization: key });
    const answers = await Promise.all(Array.from({ length: 10 }, get));
    await busy.openBranches("busy");
    await until("KV says that a branch counts the key", async () => {
      answers.push(await get());
      const record = await (await busy.kv()).get(digestOf(key));
      return record?.includes('"branched":true') === true;
    });
    answers.push(...(await Promise.all(Array.from({ length: 10 }, get))));
    await busy.evict("busy");
    await busy.evictBranch("busy", "main");
    answers.push(...(await Promise.all(Array.from({ length: 100 }, get))));
    const admitted = answers.filter(({ status }) => status === 200);
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200, 429]));
    expect(admitted).toHaveLength(limit);
  });
});
