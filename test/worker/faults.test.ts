/** Stores that fail and configurations that are wrong: refused as designed, and never half-working. */
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";

const IS_CONNECTED = "/public/v1/is-connected";

describe("a credential store that fails", () => {
  let gateway: TestGateway;

  beforeAll(async () => {
    gateway = await startGateway({ faultyKv: true });
  });
  afterAll(() => gateway.stop());

  it.each([
    ["throws", "throw"],
    ["never answers", "hang"],
    ["holds something that is not JSON", "{"],
    [
      "holds a record of an unknown version",
      '{"v":99,"tenantId":"a","keyId":"b","kind":"api_key","state":"active","generation":1}',
    ],
    ["holds a record with a part missing", '{"v":1,"tenantId":"a"}'],
    ["holds null", "null"],
  ])("is 503 for a cold credential when it %s, never 401", async (_, mode) => {
    await gateway.setFault("kv", mode);
    const received = await gateway.send({
      path: IS_CONNECTED,
      authorization: `cold key ${mode}`.replace(/[^a-z]/g, "-"),
    });
    expect([received.status, JSON.parse(received.body).code]).toEqual([503, "credentials_unavailable"]);
    expect(received.headers.get("Retry-After")).toMatch(/^\d+$/);
    expect(await gateway.eventOf(received)).toMatchObject({
      outcome: "credentials_unavailable",
      source: "gateway",
    });
  });

  it("is asked again at the next request: a failure is not remembered as a miss", async () => {
    await gateway.setFault("kv", "throw");
    expect((await gateway.send({ path: IS_CONNECTED, authorization: "again" })).status).toBe(503);
    await gateway.setFault("kv", "miss");
    expect((await gateway.send({ path: IS_CONNECTED, authorization: "again" })).status).toBe(401);
    await gateway.setFault("kv", "throw");
    const remembered = await gateway.send({ path: IS_CONNECTED, authorization: "again" });
    expect([remembered.status, remembered.body]).toEqual([401, '{"msg":"Invalid API key"}']);
  });
});

describe("an authority that fails", () => {
  let gateway: TestGateway;
  const record = { v: 1, tenantId: "faulty", keyId: "k", kind: "api_key", state: "active", generation: 1 };

  beforeAll(async () => {
    gateway = await startGateway({ faultyAuthority: true, vars: { AUTHORITY_TIMEOUT_MS: "300" } });
    const { digestOf } = await import("../../src/credential/credential.ts");
    await (await gateway.kv()).put(digestOf("known-key"), JSON.stringify(record));
  });
  afterAll(() => gateway.stop());

  it.each(["throw", "hang"])(
    "is 503 with Retry-After when it does %s, never 401 and never let through",
    async (mode) => {
      await gateway.setFault("authority", mode);
      const received = await gateway.send({ path: IS_CONNECTED, authorization: "known-key" });
      expect([received.status, JSON.parse(received.body).code]).toEqual([503, "authority_unavailable"]);
      expect(received.headers.get("Retry-After")).toMatch(/^[12]$/);
      const log = await fetch(`${gateway.originUrl}/_origin/log`).then((response) => response.json());
      expect(log).toEqual([]);
    },
  );

  it("is asked one by one where it is of a version that knows no other way", async () => {
    await gateway.setFault("authority", "old");
    const send = () => gateway.send({ path: IS_CONNECTED, authorization: "known-key" });
    const received = await Promise.all(Array.from({ length: 20 }, send));
    const told = received.map(({ status, headers }) => [status, headers.get("Proxy-Status")]);
    expect(told).toEqual(Array(20).fill([401, expect.stringContaining('details="key_revoked"')]));
  });
});

describe("a bug of our own", () => {
  it("is one 500 with the request id, one event, and a stack in the log only", async () => {
    const gateway = await startGateway({ faultyAuthority: true });
    try {
      const record = {
        v: 1,
        tenantId: "faulty",
        keyId: "k",
        kind: "api_key",
        state: "active",
        generation: 1,
      };
      const { digestOf } = await import("../../src/credential/credential.ts");
      await (await gateway.kv()).put(digestOf("known-key"), JSON.stringify(record));
      await gateway.setFault("authority", "garbage");
      const received = await gateway.send({ path: IS_CONNECTED, authorization: "known-key" });
      expect([received.status, JSON.parse(received.body).code]).toEqual([500, "internal"]);
      expect(received.body).not.toMatch(/TypeError|at /);
      expect(await gateway.eventOf(received)).toMatchObject({
        outcome: "internal",
        source: "gateway",
        status: 500,
      });
      const id = received.headers.get("X-Request-Id") ?? "none";
      const logged = gateway.logs.map((line) => JSON.parse(line)).find((line) => line.event === "internal");
      expect(logged).toMatchObject({ requestId: id, error: expect.stringContaining("TypeError") });
    } finally {
      await gateway.stop();
    }
  });
});

describe("the flood shield", () => {
  let gateway: TestGateway;
  let key: string;

  beforeAll(async () => {
    gateway = await startGateway({ floodLimit: 3 });
    key = await gateway.tenant("flooded");
  });
  afterAll(() => gateway.stop());

  const guess = (n: number, clientIp: string) =>
    gateway.send({ path: IS_CONNECTED, authorization: `guess-${clientIp}-${n}`, cf: { clientIp } });

  it("refuses further unknown keys from one network, and no other network's", async () => {
    await gateway.send({ path: IS_CONNECTED, authorization: key, cf: { clientIp: "192.0.2.1:1000" } });
    for (let n = 1; n <= 3; n++) expect((await guess(n, "192.0.2.1:1000")).status).toBe(401);
    const refused = await guess(4, "192.0.2.1:2000");
    expect([refused.status, JSON.parse(refused.body).code]).toEqual([429, "flood"]);
    expect(refused.headers.get("Retry-After")).toBe("10");
    expect((await guess(1, "192.0.2.2:1000")).status).toBe(401);
  });

  it("lets a key that this isolate knows through from a flooding network", async () => {
    const received = await gateway.send({
      path: IS_CONNECTED,
      authorization: key,
      cf: { clientIp: "192.0.2.1:1" },
    });
    expect(received.status).toBe(200);
  });

  it("takes the addresses of one IPv6 /64 for one network", async () => {
    for (let n = 1; n <= 3; n++) expect((await guess(n, `[2001:db8:0:1::${n}]:1000`)).status).toBe(401);
    expect((await guess(4, "[2001:db8:0:1:ffff::1]:1000")).status).toBe(429);
    expect((await guess(1, "[2001:db8:0:2::1]:1000")).status).toBe(401);
  });
});

describe("a configuration that is wrong", () => {
  let gateway: TestGateway | undefined;
  afterEach(async () => gateway?.stop());

  it.each([
    ["ORIGIN_URL", "", "nothing"],
    ["ORIGIN_URL", "not a url", '"not a url"'],
    ["API_LIMIT", "many", '"many"'],
    ["SUBSCRIPTIONS", "on", '"on"'],
  ])("makes every request 503 and health name %s=%j", async (variable, value, found) => {
    gateway = await startGateway({ vars: { [variable]: value } });
    const health = await gateway.send({ path: "/_gateway/health" });
    expect([health.status, health.headers.get("Content-Type")]).toEqual([503, "application/problem+json"]);
    expect(JSON.parse(health.body)).toMatchObject({ code: "config_invalid", status: 503 });
    expect(JSON.parse(health.body).detail).toContain(variable);
    const answers = [health];
    for (const path of [IS_CONNECTED, "/", "/public/v1/posts"]) {
      const received = await gateway.send({ path, authorization: "any" });
      answers.push(received);
      expect([received.status, JSON.parse(received.body).code]).toEqual([503, "config_invalid"]);
      expect(received.headers.get("Retry-After")).toMatch(/^([6-9]\d|1[01]\d|120)$/);
    }
    const logged = gateway.logs
      .map((line) => JSON.parse(line))
      .find((line) => line.event === "config_invalid");
    expect(logged).toEqual({ event: "config_invalid", variable, found, allowed: expect.any(String) });
    for (const { headers } of answers)
      expect(await gateway.eventOf({ headers })).toMatchObject({ outcome: "config_invalid" });
  });
});

describe("with the ORIGIN service binding", () => {
  it("forwards to the bound Worker and cannot loop by host name", async () => {
    const gateway = await startGateway({
      originBinding: true,
      vars: { ORIGIN_URL: "http://postiz.internal/api" },
    });
    try {
      const key = await gateway.tenant("bound");
      const received = await gateway.send({
        path: IS_CONNECTED,
        authorization: key,
        headers: [["Host", "postiz.internal"]],
      });
      expect([received.status, received.body]).toEqual([
        404,
        expect.stringContaining("/api/public/v1/is-connected"),
      ]);
    } finally {
      await gateway.stop();
    }
  });
});
