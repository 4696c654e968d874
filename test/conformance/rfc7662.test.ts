/**
 * RFC 7662, token introspection, as the resource server that the gateway is in it. Against a real authorization server
 * (oidc-provider) it runs in `test/worker/introspection.test.ts`.
 */
import { afterEach, describe, expect, it } from "vitest";
import { ISSUER, introspectionEndpoint, restore, TOKEN } from "../support/introspection-endpoint.ts";

afterEach(restore);

const seconds = (fromNow: number): number => Math.floor(Date.now() / 1_000) + fromNow;
const json = (body: unknown, type = "application/json", status = 200): Response =>
  new Response(JSON.stringify(body), { status, headers: { "Content-Type": type } });

describe("RFC 7662 §2.1, the request", () => {
  it("is a POST of a form with the token and its kind, as this client, and asks for JSON", async () => {
    const endpoint = introspectionEndpoint();
    expect(await endpoint.decide()).toBe("granted");
    const [{ url, init } = { url: "", init: {} }] = endpoint.questions;
    const headers = new Headers(init.headers);
    expect([init.method, url]).toEqual(["POST", `${ISSUER}/introspect`]);
    expect(new Request(url, init).headers.get("Content-Type")).toMatch(/^application\/x-www-form-urlencoded/);
    expect(Object.fromEntries(init.body as URLSearchParams)).toEqual({
      token: TOKEN.secret,
      token_type_hint: "access_token",
    });
    expect(headers.get("Accept")).toBe("application/json");
    // RFC 6749 §2.3.1: each half form-encoded.
    const basic = Buffer.from(headers.get("Authorization")?.replace("Basic ", "") ?? "", "base64").toString();
    expect(basic).toBe("the+gateway:secret%3A+of%2Bthe+gateway%2F%25");
  });

  it("§4 follows no redirect, and stores nothing in a cache of HTTP's", async () => {
    const endpoint = introspectionEndpoint();
    await endpoint.decide();
    expect(endpoint.questions[0]?.init).toMatchObject({ redirect: "manual", cache: "no-store" });
  });
});

describe("RFC 7662 §2.2, an answer that is one", () => {
  it.each<[string, () => object, string]>([
    ["active", () => ({ active: true }), "granted"],
    [
      "active, with members that nobody knows",
      () => ({ active: true, x: { y: 1 }, scope: "mcp:read" }),
      "granted",
    ],
    ["active, exp to come", () => ({ active: true, exp: seconds(60) }), "granted"],
    ["active, exp with a fraction", () => ({ active: true, exp: seconds(60) + 0.5 }), "granted"],
    ["active, exp passed", () => ({ active: true, exp: seconds(0) }), "token_inactive"],
    ["active, exp long passed", () => ({ active: true, exp: 0 }), "token_inactive"],
    ["not active", () => ({ active: false }), "token_inactive"],
    ["not active, with other members", () => ({ active: false, exp: seconds(60) }), "token_inactive"],
  ])("%s", async (_, body, outcome) => {
    const endpoint = introspectionEndpoint();
    endpoint.answer = () => json(body());
    expect(await endpoint.decide()).toBe(outcome);
  });

  it.each(["application/json", "application/json; charset=utf-8", "APPLICATION/JSON ;x=y"])(
    "of type %s",
    async (type) => {
      const endpoint = introspectionEndpoint();
      endpoint.answer = () => json({ active: false }, type);
      expect(await endpoint.decide()).toBe("token_inactive");
    },
  );

  it("§4 is not used past exp, however long answers are kept", async () => {
    const endpoint = introspectionEndpoint();
    const isolate = endpoint.world.isolate();
    endpoint.answer = () => json({ active: true, exp: seconds(10) });
    const verdict = async () => (await endpoint.world.ask(isolate, TOKEN)).result;
    expect((await verdict()).ok).toBe(true);
    await endpoint.world.pass(8_000);
    expect((await verdict()).ok).toBe(true);
    expect(endpoint.questions).toHaveLength(1);
    endpoint.answer = () => json({ active: false });
    await endpoint.world.pass(2_000);
    expect(await verdict()).toMatchObject({ ok: false, denial: { reason: "token_inactive" } });
  });
});

describe("RFC 7662 §2.2, an answer that is none says nothing about the token: 503, and asked again", () => {
  it.each<[string, () => Response]>([
    ["active as text", () => json({ active: "true" })],
    ["active as a number", () => json({ active: 1 })],
    ["active as null", () => json({ active: null })],
    ["no active", () => json({ exp: 1 })],
    ["active in another case", () => json({ Active: true })],
    ["a list", () => json([{ active: true }])],
    ["text", () => json("active")],
    ["null", () => json(null)],
    ["exp as text", () => json({ active: true, exp: "9999999999" })],
    ["exp as null", () => json({ active: true, exp: null })],
    [
      "JSON that breaks off",
      () => new Response('{"active":tr', { headers: { "Content-Type": "application/json" } }),
    ],
    ["nothing", () => new Response("", { headers: { "Content-Type": "application/json" } })],
    ["another type", () => json({ active: true }, "text/html")],
    ["a type that begins like it", () => json({ active: true }, "application/jsonp")],
    ["no type", () => new Response(new TextEncoder().encode('{"active":true}'))],
    ["more than 64 KB", () => json({ active: true, x: "x".repeat(70_000) })],
    ["201", () => json({ active: true }, "application/json", 201)],
    [
      "a redirect",
      () => new Response(null, { status: 302, headers: { Location: "https://elsewhere.example" } }),
    ],
    ["400 (§2.3)", () => json({ error: "invalid_request" }, "application/json", 400)],
    [
      "401: this client is not known (§2.3)",
      () => json({ error: "invalid_client" }, "application/json", 401),
    ],
    ["401 that says inactive", () => json({ active: false }, "application/json", 401)],
    ["403", () => json({ active: false }, "application/json", 403)],
    ["500", () => json({ active: false }, "application/json", 500)],
  ])("%s", async (_, answer) => {
    const endpoint = introspectionEndpoint();
    endpoint.answer = answer;
    expect(await endpoint.decide()).toBe("introspection_unavailable");
    endpoint.answer = () => json({ active: true });
    expect(await endpoint.decide()).toBe("granted");
    expect(endpoint.questions).toHaveLength(2);
  });
});
