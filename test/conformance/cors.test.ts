/** CORS (Fetch standard §3.2): whose scripts may read answers. Refusals and the origin's own word are in `wire/`. */
import { describe, expect, it } from "vitest";
import { allowOrigin, preflightResponse } from "../../src/answer/cors.ts";
import { readConfig } from "../../src/config.ts";
import type { Env } from "../../src/env.ts";

const APP = "https://app.example.com";
const LISTED = [APP, "http://localhost:3000", "https://xn--bcher-kva.example", "http://[::1]:8080"];
const allowed = new Set(LISTED);

const from = (origin?: string, more: Record<string, string> = {}): Headers =>
  new Headers({ ...(origin !== undefined && { Origin: origin }), ...more });
const corsOf = (headers: Headers): string[] =>
  [...headers.keys()].filter((name) => name.startsWith("access-control"));

function answered(
  request: Headers,
  vary: string | null = null,
  list: ReadonlySet<string> = allowed,
): Headers {
  const headers = new Headers(vary === null ? {} : { Vary: vary });
  allowOrigin(headers, request, list);
  return headers;
}

describe("CORS, Fetch §3.2.2: an origin is compared whole, by scheme, host and port", () => {
  it.each(LISTED)("%s is listed, and may read", (origin) => {
    expect(answered(from(origin)).get("Access-Control-Allow-Origin")).toBe(origin);
  });

  it.each([
    ["none", undefined],
    ["null, as of a sandbox or a file", "null"],
    ["another", "https://evil.example"],
    ["another scheme", "http://app.example.com"],
    ["another port", `${APP}:8443`],
    ["the default port, which browsers leave out", `${APP}:443`],
    ["the listed one without its port", "http://localhost"],
    ["a longer port", "http://localhost:30000"],
    ["a host that begins like it", `${APP}.evil.example`],
    ["a host that ends like it", "https://evilapp.example.com"],
    ["a subdomain", "https://x.app.example.com"],
    ["its parent", "https://example.com"],
    ["a dot at its end", `${APP}.`],
    ["a slash at its end", `${APP}/`],
    ["user information before it", "https://app.example.com@evil.example"],
    ["upper case", "HTTPS://APP.EXAMPLE.COM"],
    ["another letter that looks like it", "https://app.ex\u00e4mple.com"],
    ["Unicode in place of what browsers send", "https://b\u00fccher.example"],
    ["two origins", `${APP} https://evil.example`],
    ["two lines", `${APP}, https://evil.example`],
    ["a wildcard", "*"],
    ["nothing", ""],
  ])("%s may not; caches still keep answers apart", (_, origin) => {
    for (const headers of [answered(from(origin)), preflightResponse(from(origin), allowed).headers]) {
      expect(corsOf(headers)).toEqual([]);
      expect(headers.get("Vary")).toBe("Origin");
    }
  });

  it.each([
    "null",
    "*",
    "https://*.example.com",
    `${APP}/`,
    `${APP}:443`,
    "HTTPS://app.example.com",
    "app.example.com",
    "file://",
    "https://b\u00fccher.example",
  ])("%s can't be listed: no browser sends it, or anyone may", (entry) => {
    const bindings = { CREDENTIALS: {}, INTROSPECTION: {}, TENANT_AUTHORITY: {}, DIRECTORY: {} };
    const env = { ...bindings, ORIGIN_URL: "http://o", CORS_ORIGINS: entry } as unknown as Env;
    expect(readConfig(env)).toMatchObject({ ok: false, problem: { variable: "CORS_ORIGINS" } });
  });
});

describe("CORS, Fetch §3.2.3: what an answer says", () => {
  it("is nothing, and no Vary, where no origin is listed", () => {
    expect([...answered(from(APP), null, new Set())]).toEqual([]);
    expect([...preflightResponse(from(APP), new Set()).headers]).toEqual([]);
  });

  it("an origin that is listed may read the answer and the gateway's fields; never cookies, never *", () => {
    expect(Object.fromEntries(answered(from(APP)))).toEqual({
      "access-control-allow-origin": APP,
      "access-control-expose-headers":
        "RateLimit, RateLimit-Policy, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, " +
        "Retry-After, X-Request-Id, WWW-Authenticate",
      vary: "Origin",
    });
  });

  it.each([
    [null, "Origin"],
    ["Accept-Encoding", "Accept-Encoding, Origin"],
    ["Origin", "Origin"],
    ["Accept, origin", "Accept, origin"],
    ["ORIGIN ,\tAccept", "ORIGIN ,\tAccept"],
    ["X-Origin", "X-Origin, Origin"],
    ["Origin-Agent-Cluster", "Origin-Agent-Cluster, Origin"],
    ["*", "*, Origin"],
  ])("RFC 9110 §12.5.5: Vary %s becomes %s, and no other origin's answer is reused", (vary, expected) => {
    expect(answered(from(APP), vary).get("Vary")).toBe(expected);
  });
});

describe("CORS, Fetch §4.8: a preflight", () => {
  it("is answered 204, without a body, for the methods of the API and the fields asked for", async () => {
    const request = from(APP, { "Access-Control-Request-Headers": "authorization,content-type" });
    const response = preflightResponse(request, allowed);
    expect(response.status).toBe(204);
    expect(await response.text()).toBe("");
    expect(response.headers.get("Access-Control-Allow-Origin")).toBe(APP);
    expect(response.headers.get("Access-Control-Allow-Methods")).toBe("GET, HEAD, POST, PUT, PATCH, DELETE");
    expect(response.headers.get("Access-Control-Allow-Headers")).toBe("authorization,content-type");
    expect(response.headers.get("Access-Control-Max-Age")).toBe("600");
    expect(response.headers.get("Vary")).toBe("Origin, Access-Control-Request-Headers");
    expect(response.headers.has("Access-Control-Allow-Credentials")).toBe(false);
  });

  it("that asks for no fields may send Authorization", () => {
    const { headers } = preflightResponse(from(APP), allowed);
    expect(headers.get("Access-Control-Allow-Headers")).toBe("Authorization");
  });
});
