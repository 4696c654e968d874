/** Tokens and learnt keys end to end: a real OAuth server, an origin that changes its mind, real KV and objects. */
import { createHash } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import {
  type AuthorizationServer,
  CLIENT,
  startAuthorizationServer,
} from "../support/authorization-server.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import type { Received } from "../support/http.ts";
import { until } from "../support/poll.ts";
import { recordSecret } from "../support/record.ts";
import { json, type ScriptedOrigin, startScriptedOrigin } from "../support/scripted-origin.ts";

const INVALID_TOKEN = '{"msg":"Invalid OAuth token"}';
const INVALID_KEY = '{"msg":"Invalid API key"}';

let made = 0;
/** A credential of its own for each use, and the same in every run. */
function secretOf(kind: "token" | "key"): string {
  const digest = createHash("sha256").update(`introspection ${kind} ${made++}`).digest("hex");
  const secret = kind === "token" ? `pos_${digest.slice(0, 40)}` : digest;
  recordSecret(secret);
  return secret;
}

const ask = (
  gateway: TestGateway,
  authorization: string,
  path = "/public/v1/integrations",
): Promise<Received> => gateway.send({ path, authorization });

const codeOf = ({ status, headers }: Received): string =>
  /details="([a-z_]+)"/.exec(headers.get("Proxy-Status") ?? "")?.[1] ?? String(status);

describe.each([
  ["plain", false],
  ["signed", true],
])("rfc7662 against a real OAuth server, %s answers", (_, signed) => {
  let server: AuthorizationServer;
  let gateway: TestGateway;

  beforeAll(async () => {
    server = await startAuthorizationServer();
    gateway = await startGateway({
      vars: {
        INTROSPECTION_MODE: "rfc7662",
        INTROSPECTION_URL: server.introspectionUrl,
        INTROSPECTION_CLIENT_ID: CLIENT.id,
        INTROSPECTION_CLIENT_SECRET: CLIENT.secret,
        INTROSPECTION_TTL: "1",
        INTROSPECTION_STALE_IF_ERROR: "6",
        ...(signed && {
          INTROSPECTION_JWKS_URL: server.jwksUrl,
          INTROSPECTION_ISSUER: server.issuer,
          INTROSPECTION_AUDIENCE: CLIENT.id,
        }),
      },
    });
  });
  afterAll(() => gateway.stop());

  it("issue → pass → revoke → refused within the TTL → server killed → last good answer → 503", async () => {
    const [revoked, kept] = [secretOf("token"), secretOf("token")];
    expect(await ask(gateway, revoked)).toMatchObject({ status: 401, body: INVALID_TOKEN });
    await server.issue(kept, null);
    const other = secretOf("token");
    await server.issue(other, `org-${signed}`);
    for (const token of [kept, other]) expect(codeOf(await ask(gateway, token))).toBe("200");
    expect(await gateway.eventOf(await ask(gateway, other))).toMatchObject({
      tenant: `org-${signed}`,
      credential: "oauth_token",
      stale: false,
    });

    await server.revoke(other);
    const refused = await until("the refusal", async () => {
      const received = await ask(gateway, other);
      return received.status === 401 && received;
    });
    expect(refused.body).toBe(INVALID_TOKEN);
    expect(refused.headers.get("WWW-Authenticate")).toBe('Bearer realm="Postiz API", error="invalid_token"');

    await server.stop();
    const stale = await until("an answer on the last good one", async () => {
      const received = await ask(gateway, kept);
      const event = await gateway.eventOf(received);
      return event.stale && received;
    });
    expect(stale.status).toBe(200);
    const ended = await until("the end of the last good answer", async () => {
      const received = await ask(gateway, kept);
      // On a busy machine the authority itself may be late once.
      return codeOf(received) === "introspection_unavailable" && received;
    });
    expect(Number(ended.headers.get("Retry-After"))).toBeGreaterThanOrEqual(1);
    expect(await ask(gateway, other)).toMatchObject({ status: 401, body: INVALID_TOKEN });
  });
});

describe("in front of an origin that knows more than the gateway", () => {
  let origin: ScriptedOrigin;
  let gateway: TestGateway;

  beforeAll(async () => {
    origin = await startScriptedOrigin();
    gateway = await startGateway({
      vars: { ORIGIN_URL: origin.url, LEARN_FROM_ORIGIN: "true", API_LIMIT: "3", SUBSCRIPTIONS: "required" },
    });
  });
  afterEach(() => {
    origin.answers(json(200, { connected: true }));
  });
  afterAll(async () => {
    await gateway.stop();
    await origin.stop();
  });

  const probes = () => origin.asked.filter((path) => path === "/public/v1/is-connected").length;

  it("learns a key at its first use, and asks about it no more", async () => {
    const key = secretOf("key");
    const before = probes();
    const first = await ask(gateway, key);
    expect(first.status).toBe(200);
    expect(await gateway.eventOf(first)).toMatchObject({
      credential: "api_key",
      decidedBy: "introspection",
      tenant: expect.stringMatching(/^unlinked-/),
    });
    for (let i = 0; i < 5; i++) expect((await ask(gateway, key)).status).toBe(200);
    expect(probes() - before).toBe(1);
  });

  it("lets a token in that the origin knows, and remembers for 10 seconds one that it does not", async () => {
    expect((await ask(gateway, secretOf("token"))).status).toBe(200);
    origin.answers(json(401, { msg: "Invalid OAuth token" }));
    const unknown = secretOf("token");
    const before = probes();
    const refusals = [await ask(gateway, unknown), await ask(gateway, unknown)];
    for (const { status, body, headers } of refusals) {
      expect([status, body]).toEqual([401, INVALID_TOKEN]);
      expect(headers.get("Content-Type")).toBe("application/json; charset=utf-8");
      expect(headers.get("Cache-Control")).toBe("no-store");
      expect(headers.get("WWW-Authenticate")).toBe('Bearer realm="Postiz API", error="invalid_token"');
      expect(headers.get("Proxy-Status")).toContain('details="token_inactive"');
    }
    expect(probes() - before).toBe(1);
    const events = await Promise.all(refusals.map((refusal) => gateway.eventOf(refusal)));
    expect(events.map(({ decidedBy }) => decidedBy)).toEqual(["introspection", "memory"]);
  });

  it("hands the origin's refusal back, and refuses itself from the next request on", async () => {
    const key = secretOf("key");
    expect((await ask(gateway, key)).status).toBe(200);
    origin.answers(json(401, { msg: "Invalid API key" }));
    const relayed = await ask(gateway, key);
    expect([relayed.status, relayed.body, relayed.headers.has("Proxy-Status")]).toEqual([
      401,
      INVALID_KEY,
      false,
    ]);
    const before = origin.asked.length;
    const own = await ask(gateway, key);
    expect([own.body, codeOf(own)]).toEqual([INVALID_KEY, "key_unknown"]);
    expect(origin.asked.length).toBe(before);
  });

  it("takes an empty 401, or one about a channel, for nothing", async () => {
    const key = secretOf("key");
    expect((await ask(gateway, key)).status).toBe(200);
    const before = probes();
    origin.answers((_, response) => {
      response.writeHead(401, { "Content-Length": 0, logout: "true", "Set-Cookie": "auth=; Max-Age=-1" });
      response.end();
    });
    const empty = await ask(gateway, key);
    expect([empty.status, empty.body, empty.headers.get("logout")]).toEqual([401, "", "true"]);
    origin.answers(json(401, { msg: "Channel disconnected due to expired token" }));
    const channel = await ask(gateway, key, "/public/v1/integration-settings/1");
    expect(channel.body).toBe('{"msg":"Channel disconnected due to expired token"}');
    origin.answers(json(200, { connected: true }));
    expect((await ask(gateway, key)).status).toBe(200);
    expect(probes() - before).toBe(0);
  });

  it("believes the origin that there is no subscription", async () => {
    const key = secretOf("key");
    expect((await ask(gateway, key)).status).toBe(200);
    origin.answers(json(401, { msg: "No subscription found" }));
    expect(codeOf(await ask(gateway, key))).toBe("401");
    expect(codeOf(await ask(gateway, key))).toBe("subscription_inactive");
  });

  it("counts a tenant's posts together, with its key and with its tokens", async () => {
    const key = await gateway.tenant("shared");
    const token = secretOf("token");
    await gateway.authority("shared").putKey({
      digest: createHash("sha256").update(token).digest("hex"),
      keyId: "app",
      kind: "oauth_token",
    });
    const store = await gateway.kv();
    const digest = createHash("sha256").update(token).digest("hex");
    await until("the token's record", async () => (await store.get(digest)) !== null);
    const post = (authorization: string) =>
      gateway.send({ method: "POST", path: "/public/v1/posts", authorization, body: "{}" });
    const answers = [
      await post(key),
      await post(token),
      await post(token),
      await post(key),
      await post(token),
    ];
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429, 429]);
    expect(await gateway.eventOf(answers[1] as Received)).toMatchObject({ tenant: "shared", keyId: "app" });
  });
});
