/** What a client gets to see, byte for byte, from a real HTTP client, and the one event about it. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { DenialReason } from "../../src/denial.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { type Received, type Sent, sendRaw } from "../support/http.ts";

const INVALID_KEY = '{"msg":"Invalid API key"}';
const INVALID_TOKEN = '{"msg":"Invalid OAuth token"}';
const NO_SUBSCRIPTION = '{"msg":"No subscription found"}';
const THROTTLED = '{"statusCode":429,"message":"ThrottlerException: Too Many Requests"}';
const CHALLENGE = 'Bearer realm="Postiz API"';
const CHALLENGE_INVALID = 'Bearer realm="Postiz API", error="invalid_token"';
const IS_CONNECTED = "/public/v1/is-connected";

let gateway: TestGateway;
let key: string;

beforeAll(async () => {
  gateway = await startGateway({
    vars: {
      SUBSCRIPTIONS: "required",
      API_LIMIT: "2",
      MAX_BODY_BYTES: "1000",
      CORS_ORIGINS: "https://app.example",
    },
  });
  key = await gateway.tenant("answers");
});

afterAll(async () => {
  await gateway.stop();
});

async function refused(sent: Sent, reason: DenialReason): Promise<Received> {
  const received = await gateway.send(sent);
  expect(received.headers.get("Content-Type")).toBe("application/json; charset=utf-8");
  expect(received.headers.get("Cache-Control")).toBe("no-store");
  expect(received.headers.get("Proxy-Status")).toMatch(
    new RegExp(`^postiz-gateway; error=[a-z_]+; details="${reason}"$`),
  );
  expect(received.headers.get("X-Request-Id")).toMatch(/^[0-9a-f-]{36}$/);
  const event = await gateway.eventOf(received);
  expect(event).toMatchObject({ outcome: reason, status: received.status, originMs: 0 });
  return received;
}

describe("Postiz's documented refusals, byte for byte", () => {
  it("says Invalid API key where no credential was sent, without blaming one", async () => {
    const received = await refused({ path: IS_CONNECTED }, "credential_missing");
    expect([received.status, received.body]).toEqual([401, INVALID_KEY]);
    expect(received.headers.get("WWW-Authenticate")).toBe(CHALLENGE);
  });

  it.each([
    [
      "two Authorization lines",
      [
        ["Authorization", "one"],
        ["Authorization", "two"],
      ],
    ],
    ["a comma", [["Authorization", "one,two"]]],
    ["inner white space", [["Authorization", "one two"]]],
    ["another scheme", [["Authorization", "Basic b25lOnR3bw=="]]],
    ["Bearer twice", [["Authorization", "Bearer Bearer x"]]],
    ["Bearer and nothing", [["Authorization", "Bearer"]]],
    ["513 bytes", [["Authorization", "k".repeat(513)]]],
    ["a tab inside", [["Authorization", "one\ttwo"]]],
    ["bytes outside ASCII", [["Authorization", "kéy"]]],
  ] as const)("refuses a credential with %s like an unknown key", async (_, headers) => {
    const received = await refused({ path: IS_CONNECTED, headers }, "credential_malformed");
    expect([received.status, received.body]).toEqual([401, INVALID_KEY]);
    expect(received.headers.get("WWW-Authenticate")).toBe(CHALLENGE_INVALID);
  });

  it.each(["\x01", "\x7f", "\x1f"])(
    "gives a control byte in the credential (%j) 401 or the runtime's 400, never 500",
    async (byte) => {
      const answer = await sendRaw(
        gateway.url,
        `GET ${IS_CONNECTED} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nAuthorization: a${byte}b\r\n\r\n`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 (401|400) /);
    },
  );

  it("refuses an unknown key, also when it has just been refused from memory", async () => {
    for (let i = 0; i < 2; i++) {
      const received = await refused({ path: IS_CONNECTED, authorization: "0".repeat(64) }, "key_unknown");
      expect([received.status, received.body]).toEqual([401, INVALID_KEY]);
      expect(received.headers.get("WWW-Authenticate")).toBe(CHALLENGE_INVALID);
    }
  });

  it("accepts 512 bytes as a credential that may exist", async () => {
    await refused({ path: IS_CONNECTED, authorization: "k".repeat(512) }, "key_unknown");
  });

  it("refuses what begins like a gateway key and is none", async () => {
    const received = await refused(
      { path: IS_CONNECTED, authorization: "pgw_live_made_up" },
      "credential_malformed",
    );
    expect([received.status, received.body]).toEqual([401, INVALID_KEY]);
  });

  it("speaks of the OAuth token where a malformed one was sent", async () => {
    const received = await refused(
      { path: IS_CONNECTED, authorization: "pos_short" },
      "credential_malformed",
    );
    expect([received.status, received.body]).toEqual([401, INVALID_TOKEN]);
    expect(received.headers.get("WWW-Authenticate")).toBe(CHALLENGE_INVALID);
  });

  it("refuses a revoked key from its tombstone, and names the tenant in the event only", async () => {
    const revoked = await gateway.tenant("revoked-tenant");
    const authority = gateway.authority("revoked-tenant");
    const { digestOf } = await import("../../src/credential/credential.ts");
    await authority.revokeKey(digestOf(revoked));
    const received = await refused({ path: IS_CONNECTED, authorization: revoked }, "key_revoked");
    expect([received.status, received.body]).toEqual([401, INVALID_KEY]);
    expect((await gateway.eventOf(received)).tenant).toBe("revoked-tenant");
    expect(received.rawHeaders.join()).not.toContain("revoked-tenant");
  });

  it("refuses a key from the instant it expires", async () => {
    const expired = await gateway.tenant("expired", { expiresAtMs: Date.now() });
    const received = await refused({ path: IS_CONNECTED, authorization: expired }, "key_expired");
    expect([received.status, received.body]).toEqual([401, INVALID_KEY]);
  });

  it.each([
    ["none", {}, "subscription_inactive"],
    ["canceled", {}, "subscription_inactive"],
    ["canceled", { currentPeriodEndMs: Date.now() - 1 }, "subscription_inactive"],
    ["canceled", { currentPeriodEndMs: Date.now() + 3_600_000 }, null],
    ["active", {}, null],
    ["trialing", {}, null],
    ["past_due", {}, null],
    ["unknown", {}, null],
  ] as const)("with subscription %s (%j) decides %s", async (status, period, reason) => {
    const subscriber = await gateway.tenant(`sub-${status}-${Object.values(period)[0] ?? "x"}`, {
      status,
      ...period,
    });
    if (reason === null) {
      expect((await gateway.send({ path: IS_CONNECTED, authorization: subscriber })).status).toBe(200);
      return;
    }
    const received = await refused({ path: IS_CONNECTED, authorization: subscriber }, reason);
    expect([received.status, received.body]).toEqual([401, NO_SUBSCRIPTION]);
    expect(received.headers.get("WWW-Authenticate")).toBe(CHALLENGE);
  });

  it("throttles posts in Postiz's words, with Retry-After and without X-RateLimit fields", async () => {
    const poster = await gateway.tenant("poster");
    const create: Sent = { method: "POST", path: "/public/v1/posts", authorization: poster, body: "{}" };
    await gateway.send(create);
    await gateway.send(create);
    const received = await refused(create, "rate_limited");
    expect([received.status, received.body]).toEqual([429, THROTTLED]);
    expect(Number(received.headers.get("Retry-After"))).toBeGreaterThan(3_500);
    expect([...received.headers.keys()].filter((name) => name.startsWith("x-ratelimit"))).toEqual([]);
    expect(received.headers.get("RateLimit-Policy")).toBe('"posts";q=2;w=3600');
  });
});

describe("every other refusal", () => {
  it.each([
    ["/", "path_unknown", 404],
    ["/public/v2/posts", "path_unknown", 404],
    ["/public/v1/%2e%2e/posts", "path_ambiguous", 400],
    ["/public/v1/posts%2Fx", "path_ambiguous", 400],
    ["/public/v1/posts;a=b", "path_ambiguous", 400],
    ["/public\\v1/posts", "path_ambiguous", 400],
    ["/public/v1/p%00", "path_ambiguous", 400],
    ["/public/v1/posts%3Fx", "path_ambiguous", 400],
    ["/public/v1/posts%23x", "path_ambiguous", 400],
  ] as const)("tells message, msg and code for %s", async (path, reason, status) => {
    const received = await refused({ path, authorization: key }, reason);
    expect(received.status).toBe(status);
    const { message, msg, ...rest } = JSON.parse(received.body);
    expect(rest).toEqual({ statusCode: status, code: reason });
    expect(message).toBe(msg);
    expect(Object.keys(JSON.parse(received.body))).toEqual(["statusCode", "message", "msg", "code"]);
  });

  it.each([
    ["GET with a body", `GET ${IS_CONNECTED} HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n`, "{}"],
    [
      "GET with a chunked body",
      `GET ${IS_CONNECTED} HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n`,
      "0\r\n\r\n",
    ],
    ["HEAD with a body", `HEAD ${IS_CONNECTED} HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\n`, "{}"],
    ["two Host lines", `GET ${IS_CONNECTED} HTTP/1.1\r\nHost: a\r\nHost: b\r\n`, ""],
    ["OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: gw\r\n", ""],
    ["a path in the Host field", "GET /users HTTP/1.1\r\nHost: gw/public/v1\r\n", ""],
  ])("refuses %s as request_malformed", async (_, head, body) => {
    const answer = await sendRaw(
      gateway.url,
      `${head}Authorization: ${key}\r\nConnection: close\r\n\r\n${body}`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(answer).toContain('details="request_malformed"');
  });

  it("lets a GET with Content-Length: 0 through", async () => {
    const answer = await sendRaw(
      gateway.url,
      `GET ${IS_CONNECTED} HTTP/1.1\r\nHost: gw\r\nContent-Length: 0\r\nAuthorization: ${key}\r\nConnection: close\r\n\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 200 /);
  });

  it.each([
    ["announced", `Content-Length: 1001\r\n\r\n${"x".repeat(1_001)}`],
    ["chunked", `Transfer-Encoding: chunked\r\n\r\n3e9\r\n${"x".repeat(1_001)}\r\n0\r\n\r\n`],
  ])("refuses a body over MAX_BODY_BYTES, %s", async (_, rest) => {
    const answer = await sendRaw(
      gateway.url,
      `POST /public/v1/upload HTTP/1.1\r\nHost: gw\r\nAuthorization: ${key}\r\nConnection: close\r\n${rest}`,
    );
    expect(answer).toMatch(/^HTTP\/1\.1 413 /);
    expect(answer).toContain('"code":"body_too_large"');
  });

  it("lets a body of exactly MAX_BODY_BYTES through", async () => {
    const received = await gateway.send({
      method: "POST",
      path: "/public/v1/upload",
      authorization: key,
      body: "x".repeat(1_000),
    });
    expect(received.status).toBe(201);
  });

  it("refuses what has passed this gateway before, whatever else Via names", async () => {
    const via: Sent["headers"] = [["Via", "1.1 nginx, 1.1 Postiz-Gateway"]];
    const received = await refused({ path: IS_CONNECTED, authorization: key, headers: via }, "loop_detected");
    expect(received.status).toBe(508);
    const other = await gateway.send({
      path: IS_CONNECTED,
      authorization: key,
      headers: [["Via", "1.1 not-postiz-gateway"]],
    });
    expect(other.status).toBe(200);
  });

  it("refuses with 503, not with a loop, when it is its own origin", async () => {
    const { host } = new URL(gateway.originUrl);
    const received = await refused(
      { path: IS_CONNECTED, authorization: key, headers: [["Host", host]] },
      "config_invalid",
    );
    expect(received.status).toBe(503);
    expect(received.headers.get("Retry-After")).toMatch(/^([6-9]\d|1[01]\d|120)$/);
  });
});

describe("problem details (RFC 9457)", () => {
  it("replaces Postiz's body too where the client asks for it", async () => {
    const received = await gateway.send({
      path: IS_CONNECTED,
      headers: [["Accept", "text/html;q=0.1, application/problem+json"]],
    });
    expect(received.headers.get("Content-Type")).toBe("application/problem+json");
    expect(JSON.parse(received.body)).toEqual({
      type: `${gateway.url}/_gateway/errors/credential_missing`,
      title: "No credential was sent",
      status: 401,
      detail: "Send the API key or token in the Authorization header",
      instance: `urn:uuid:${received.headers.get("X-Request-Id")}`,
      code: "credential_missing",
      msg: "Invalid API key",
    });
  });

  it("has a type that leads to an explanation on the gateway itself", async () => {
    const received = await gateway.send({ path: "/_gateway/errors/credential_missing" });
    expect(JSON.parse(received.body)).toMatchObject({
      code: "credential_missing",
      status: 401,
      source: "client",
    });
  });

  it.each(["*/*", "application/*", "application/problem+json;q=0", "application/json"])(
    "is not what %s asks for",
    async (accept) => {
      const received = await gateway.send({ path: IS_CONNECTED, headers: [["Accept", accept]] });
      expect(received.body).toBe(INVALID_KEY);
    },
  );

  it.each([
    ["GET", "/_gateway/nothing", 404, "path_unknown"],
    ["GET", "/_gateway/errors/nothing", 404, "path_unknown"],
    ["GET", "/_gateway/errors/toString", 404, "path_unknown"],
    ["POST", "/_gateway/health", 405, "method_not_allowed"],
    ["DELETE", "/_gateway/ready", 405, "method_not_allowed"],
  ])("is what %s %s gets in any case", async (method, path, status, code) => {
    const received = await gateway.send({ method, path });
    expect(received.status).toBe(status);
    expect(received.headers.get("Content-Type")).toBe("application/problem+json");
    expect(JSON.parse(received.body)).toMatchObject({ status, code });
    if (status === 405) expect(received.headers.get("Allow")).toBe("GET, HEAD");
  });
});

describe("health", () => {
  it("is 200 with status and version, and one event", async () => {
    const received = await gateway.send({ path: "/_gateway/health" });
    expect([received.status, JSON.parse(received.body)]).toEqual([200, { status: "ok", version: "0.1.0" }]);
    const event = await gateway.eventOf(received);
    expect(event).toMatchObject({ outcome: "answered", source: "gateway", status: 200 });
    expect(Object.keys(event).join(" ")).toBe(
      "v time requestId traceId tenant keyId credential decidedBy method route status outcome source " +
        "gatewayMs originMs bytesIn bytesOut country stale shadow degraded version",
    );
  });

  it.each(["999.999.999.999", "gw.test:99999"])(
    "is the same under the Host %s, which no URL can have",
    async (host) => {
      const answer = await sendRaw(
        gateway.url,
        `GET /_gateway/health HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`,
      );
      expect(answer).toMatch(/^HTTP\/1\.1 200 .*"status":"ok"/s);
    },
  );

  it("is ready where bindings and origin answer", async () => {
    const received = await gateway.send({ path: "/_gateway/ready" });
    expect([received.status, JSON.parse(received.body).checks]).toEqual([
      200,
      { credentials: "ok", authority: "ok", origin: "ok" },
    ]);
  });
});

describe("OPTIONS", () => {
  it("is answered at the edge without a credential, 204, with CORS fields for listed origins only", async () => {
    const listed = await gateway.send({
      method: "OPTIONS",
      path: "/public/v1/posts",
      headers: [
        ["Origin", "https://app.example"],
        ["Access-Control-Request-Method", "POST"],
        ["Access-Control-Request-Headers", "authorization,content-type"],
      ],
    });
    expect(listed.status).toBe(204);
    expect(listed.headers.get("Access-Control-Allow-Origin")).toBe("https://app.example");
    expect(listed.headers.get("Access-Control-Allow-Headers")).toBe("authorization,content-type");
    expect(listed.headers.has("Access-Control-Allow-Credentials")).toBe(false);
    for (const origin of ["https://app.example.evil", "http://app.example", "null", "https://APP.example"]) {
      const other = await gateway.send({
        method: "OPTIONS",
        path: "/public/v1/posts",
        headers: [["Origin", origin]],
      });
      expect(other.status).toBe(204);
      expect([...other.headers.keys()].filter((name) => name.startsWith("access-control"))).toEqual([]);
    }
    expect(await gateway.eventOf(listed)).toMatchObject({ outcome: "answered", method: "OPTIONS" });
  });

  it("lets a browser read refusals too", async () => {
    const received = await gateway.send({ path: IS_CONNECTED, headers: [["Origin", "https://app.example"]] });
    expect(received.headers.get("Access-Control-Allow-Origin")).toBe("https://app.example");
    expect(received.headers.get("Vary")).toBe("Origin");
  });
});
