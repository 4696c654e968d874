/** The control plane where KV shows nothing, for ever; operators that Cloudflare Access vouches for; a Postiz that refuses. */
import { exportJWK, generateKeyPair, SignJWT } from "jose";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { digestOf } from "../../src/credential/credential.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { until } from "../support/poll.ts";
import { recordSecret } from "../support/record.ts";
import { json, type ScriptedOrigin, startScriptedOrigin } from "../support/scripted-origin.ts";

const AUDIENCE = "audience-of-the-tests";
const POSTIZ_KEYS = [digestOf("first Postiz key"), digestOf("second Postiz key")];
for (const key of POSTIZ_KEYS) recordSecret(key);

let gateway: TestGateway;
let origin: ScriptedOrigin;
let team: ScriptedOrigin;
let keys: Awaited<ReturnType<typeof generateKeyPair>>;
let jwk: object;

beforeAll(async () => {
  [origin, team] = [await startScriptedOrigin(), await startScriptedOrigin()];
  keys = await generateKeyPair("RS256", { extractable: true });
  jwk = { ...(await exportJWK(keys.publicKey)), kid: "k1", alg: "RS256", use: "sig" };
  team.answers(json(200, { keys: [jwk] }));
  gateway = await startGateway({
    faultyKv: true,
    vars: {
      ORIGIN_URL: origin.url,
      KEY_MAC_SECRET: digestOf("MAC secret of the tests"),
      SEALING_KEY: Buffer.alloc(32, 7).toString("base64"),
      ACCESS_TEAM: team.url,
      ACCESS_AUD: AUDIENCE,
    },
  });
  await gateway.setFault("kv", "miss");
});
afterAll(async () => {
  await gateway.stop();
  await origin.stop();
  await team.stop();
});

interface Claims {
  readonly audience?: string;
  readonly issuer?: string;
  readonly expiresIn?: string;
  readonly who?: Readonly<Record<string, string>>;
}

function assertion(claims: Claims = {}, signedBy = keys.privateKey): Promise<string> {
  const {
    audience = AUDIENCE,
    issuer = team.url,
    expiresIn = "1m",
    who = { email: "op@example.com" },
  } = claims;
  return new SignJWT(who)
    .setProtectedHeader({ alg: "RS256", kid: "k1" })
    .setAudience(audience)
    .setIssuer(issuer)
    .setIssuedAt()
    .setExpirationTime(expiresIn)
    .sign(signedBy);
}

async function call(
  method: string,
  path: string,
  body?: unknown,
  more: [string, string][] = [],
  token?: string,
) {
  const received = await gateway.send({
    method,
    path: `/_gateway/v1${path}`,
    headers: [
      ["Cf-Access-Jwt-Assertion", token ?? (await assertion())],
      ["Content-Type", "application/json"],
      ...more,
    ],
    ...(body !== undefined && { body: JSON.stringify(body) }),
    showsKey: true,
  });
  const answer = JSON.parse(received.body);
  if (typeof answer.key === "string") recordSecret(answer.key);
  return { status: received.status, json: answer };
}

const use = (authorization: string) => gateway.send({ path: "/public/v1/integrations", authorization });

async function newKey(tenant: string) {
  await call("POST", "/tenants", { id: tenant, name: tenant });
  await call("PUT", `/tenants/${tenant}/origin-key`, { key: POSTIZ_KEYS[0] });
  return (await call("POST", `/tenants/${tenant}/keys`, { name: "k", scopes: ["*"] })).json;
}

describe("Cloudflare Access", () => {
  it("vouches for whom it names, and the audit names them too", async () => {
    expect((await call("GET", "/whoami")).json).toEqual({ actor: "access:op@example.com" });
    const service = await assertion({ who: { common_name: "deploy.access" } });
    expect((await call("GET", "/whoami", undefined, [], service)).json).toEqual({
      actor: "access:deploy.access",
    });
    await call("POST", "/tenants", { id: "audited", name: "A" });
    const { json: audit } = await call("GET", "/tenants/audited/audit");
    expect(audit.items[0]).toMatchObject({ actor: "access:op@example.com", action: "tenant.create" });
  });

  it.each([
    ["another audience", { audience: "another" }],
    ["another issuer", { issuer: "https://another.example.com" }],
    ["an end that has passed", { expiresIn: "-1s" }],
    ["nobody's name", { who: {} }],
  ])("does not, with %s", async (_, claims) => {
    expect((await call("GET", "/whoami", undefined, [], await assertion(claims))).status).toBe(401);
  });

  it("does not, signed by another, not signed, or not at all", async () => {
    const others = (await generateKeyPair("RS256")).privateKey;
    const unsigned = `${Buffer.from('{"alg":"none"}').toString("base64url")}.${Buffer.from(
      JSON.stringify({ aud: AUDIENCE, iss: team.url, exp: 9_999_999_999, email: "x" }),
    ).toString("base64url")}.`;
    for (const token of [await assertion({}, others), unsigned, "junk", ""]) {
      expect((await call("GET", "/whoami", undefined, [], token)).status).toBe(401);
    }
  });

  it("that can't be reached is nobody's fault: 503, not 401", async () => {
    const cold = await startGateway({
      vars: { ACCESS_TEAM: team.url, ACCESS_AUD: AUDIENCE },
    });
    try {
      team.answers(json(500, {}));
      const headers: [string, string][] = [["Cf-Access-Jwt-Assertion", await assertion()]];
      const received = await cold.send({ path: "/_gateway/v1/whoami", headers });
      expect([received.status, JSON.parse(received.body).code]).toEqual([503, "introspection_unavailable"]);
    } finally {
      team.answers(json(200, { keys: [jwk] }));
      await cold.stop();
    }
  });

  it("does not, for what a page of another site has made a browser send", async () => {
    const { id } = await newKey("browsed");
    const forged = await call("POST", `/tenants/browsed/keys/${id}/rotate`, {}, [
      ["Sec-Fetch-Site", "cross-site"],
    ]);
    expect(forged.status).toBe(400);
    const own = await call("GET", "/whoami", undefined, [["Sec-Fetch-Site", "same-origin"]]);
    expect(own.status).toBe(200);
  });
});

describe("where KV shows nothing, for ever", () => {
  it("a new key works at its first use, also where its absence is known, and is out by the announced instant", async () => {
    const { id, key } = await newKey("stale");
    expect((await use(key)).status).toBe(200);
    const revoked = await call("DELETE", `/tenants/stale/keys/${id}`);
    await until("the announced instant", () => Date.now() >= Date.parse(revoked.json.effectiveBy));
    expect((await gateway.eventOf(await use(key))).outcome).toBe("key_revoked");
  });

  it("a made-up key asks neither KV nor any authority", async () => {
    const { key } = await newKey("forged");
    const other = `${key.slice(0, 10)}${key[10] === "0" ? "1" : "0"}${key.slice(11)}`;
    const event = await gateway.eventOf(await use(other));
    expect(event).toMatchObject({ outcome: "credential_malformed", tenant: "" });
  });
});

describe("a Postiz that refuses the tenant's own key", () => {
  it("is 503 origin_key_rejected, and the gateway key is as good as before once the new one is in", async () => {
    const { key } = await newKey("rotated");
    origin.answers((request, response) => {
      const isGood = request.headers.authorization === POSTIZ_KEYS[1];
      const answer = isGood ? json(200, []) : json(401, { msg: "Invalid API key" });
      answer(request, response);
    });
    for (let i = 0; i < 2; i++) {
      const refused = await use(key);
      expect([refused.status, JSON.parse(refused.body).code]).toEqual([503, "origin_key_rejected"]);
      expect(await gateway.eventOf(refused)).toMatchObject({ tenant: "rotated", source: "upstream" });
    }
    await call("PUT", "/tenants/rotated/origin-key", { key: POSTIZ_KEYS[1] });
    expect((await use(key)).status).toBe(200);
    origin.answers(json(200, { connected: true }));
  });
});

describe("the document", () => {
  it("is served to anybody, and only read", async () => {
    const received = await gateway.send({ path: "/_gateway/openapi.json" });
    expect([received.status, JSON.parse(received.body).openapi]).toEqual([200, "3.1.0"]);
    expect((await gateway.send({ method: "POST", path: "/_gateway/openapi.json" })).status).toBe(405);
  });

  it("sizes are limited", async () => {
    const { status, json: problem } = await call("POST", "/tenants", {
      id: "big",
      name: "x".repeat(1_100_000),
    });
    expect([status, problem.code]).toEqual([413, "body_too_large"]);
  });
});
