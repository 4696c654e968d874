import fc from "fast-check";
import { type InnerList, type Item, type List, parseList, Token } from "structured-headers";
import { describe, expect, it } from "vitest";
import { bearerChallenge } from "../../src/answer/challenge.ts";
import { type DenialContext, denialResponse, wantsProblem } from "../../src/answer/denial-response.ts";
import { DENIAL_SPECS, type Denial, type DenialReason } from "../../src/denial.ts";
import type { Quota } from "../../src/quota/policy.ts";

const REQUEST_ID = "2b0f6c1e-8a1d-4c57-9a35-0d4d0b7f5f10";
const context: DenialContext = {
  requestId: REQUEST_ID,
  method: "GET",
  asProblem: false,
  baseUrl: "https://gateway.test",
};
const DETAIL = 'What "went" wrong';

const INVALID_KEY = '{"msg":"Invalid API key"}';
const NO_SUBSCRIPTION = '{"msg":"No subscription found"}';
const THROTTLED = '{"statusCode":429,"message":"ThrottlerException: Too Many Requests"}';
const plain = (status: number, code: string): string =>
  `{"statusCode":${status},"message":"What \\"went\\" wrong","msg":"What \\"went\\" wrong","code":"${code}"}`;

const BEARER = 'Bearer realm="Postiz API"';
const INSUFFICIENT_SCOPE = 'Bearer realm="Postiz API", error="insufficient_scope", scope="posts:write"';
const INVALID_TOKEN_ERROR = `${BEARER}, error="invalid_token"`;

interface OnTheWire {
  readonly status: number;
  readonly body: string;
  readonly proxyError: string;
  readonly challenge: string | null;
  readonly retryAfter: string | null;
}

const row = (
  status: number,
  body: string,
  proxyError: string,
  challenge: string | null = null,
): OnTheWire => ({
  status,
  body,
  proxyError,
  challenge,
  retryAfter: status === 429 || status === 503 ? "60" : null,
});
const refused = (challenge: string): OnTheWire => row(401, INVALID_KEY, "http_request_denied", challenge);

/** Every reason, typed out from the design; proxy error types from RFC 9209 §2.3. */
const WIRE: Readonly<Record<DenialReason, OnTheWire>> = {
  path_ambiguous: row(400, plain(400, "path_ambiguous"), "http_request_error"),
  request_malformed: row(400, plain(400, "request_malformed"), "http_request_error"),
  credential_missing: refused(BEARER),
  credential_malformed: refused(INVALID_TOKEN_ERROR),
  key_unknown: refused(INVALID_TOKEN_ERROR),
  key_revoked: refused(INVALID_TOKEN_ERROR),
  key_expired: refused(INVALID_TOKEN_ERROR),
  key_disabled: refused(INVALID_TOKEN_ERROR),
  host_not_allowed: refused(INVALID_TOKEN_ERROR),
  token_inactive: row(401, '{"msg":"Invalid OAuth token"}', "http_request_denied", INVALID_TOKEN_ERROR),
  subscription_inactive: row(401, NO_SUBSCRIPTION, "http_request_denied", BEARER),
  scope_insufficient: row(403, plain(403, "scope_insufficient"), "http_request_denied", INSUFFICIENT_SCOPE),
  network_not_allowed: row(403, plain(403, "network_not_allowed"), "http_request_denied"),
  path_unknown: row(404, plain(404, "path_unknown"), "http_request_error"),
  method_not_allowed: row(405, plain(405, "method_not_allowed"), "http_request_error"),
  body_too_large: row(413, plain(413, "body_too_large"), "http_request_error"),
  rate_limited: row(429, THROTTLED, "http_request_error"),
  flood: row(429, plain(429, "flood"), "http_request_error"),
  internal: row(500, plain(500, "internal"), "proxy_internal_error"),
  origin_unreachable: row(502, plain(502, "origin_unreachable"), "destination_unavailable"),
  origin_invalid: row(502, plain(502, "origin_invalid"), "http_protocol_error"),
  authority_unavailable: row(503, plain(503, "authority_unavailable"), "proxy_internal_error"),
  credentials_unavailable: row(503, plain(503, "credentials_unavailable"), "proxy_internal_error"),
  introspection_unavailable: row(503, plain(503, "introspection_unavailable"), "proxy_internal_error"),
  origin_key_missing: row(503, plain(503, "origin_key_missing"), "proxy_internal_error"),
  origin_key_rejected: row(503, plain(503, "origin_key_rejected"), "http_request_denied"),
  config_invalid: row(503, plain(503, "config_invalid"), "proxy_configuration_error"),
  origin_timeout: row(504, plain(504, "origin_timeout"), "http_response_timeout"),
  loop_detected: row(508, plain(508, "loop_detected"), "proxy_loop_detected"),
};
/** A credential under another tenant's host name is one that nobody has. */
const shownAs = (reason: DenialReason): DenialReason =>
  reason === "host_not_allowed" ? "key_unknown" : reason;

const REASONS = Object.entries(WIRE) as [DenialReason, OnTheWire][];

const quota = (name: "posts" | "api"): Quota => ({
  policy: { name, limit: 30, windowSeconds: 3_600 },
  remaining: 0,
  resetSeconds: 17,
});

/** A denial as the pipeline makes it. */
function denialFor(reason: DenialReason): Denial {
  return {
    reason,
    detail: DETAIL,
    ...(reason === "token_inactive" && { aboutToken: true }),
    ...(reason === "scope_insufficient" && { scope: "posts:write" }),
    ...(reason === "rate_limited" && { quota: quota("posts") }),
  };
}

function onlyMember(list: List): Item | InnerList {
  const [member, ...others] = list;
  if (member === undefined || others.length > 0) throw new Error(`${list.length} members`);
  return member;
}

describe("a refusal on the wire", () => {
  it("is pinned for every reason there is", () => {
    expect(Object.keys(DENIAL_SPECS)).toEqual(Object.keys(WIRE));
  });

  it.each(REASONS)("%s has its status and its body, byte for byte", async (reason, { status, body }) => {
    const response = denialResponse(denialFor(reason), context);
    expect(response.status).toBe(status);
    expect(response.headers.get("Content-Type")).toBe("application/json; charset=utf-8");
    expect(response.headers.get("Content-Length")).toBe(String(Buffer.byteLength(body)));
    expect(Buffer.from(await response.arrayBuffer()).toString("latin1")).toBe(body);
  });

  it.each(REASONS)("%s is never stored and carries the request's id", (reason) => {
    const { headers } = denialResponse(denialFor(reason), context);
    expect(headers.get("Cache-Control")).toBe("no-store");
    expect(headers.get("X-Request-Id")).toBe(REQUEST_ID);
  });

  it.each(REASONS)("%s is told in Proxy-Status, RFC 9209", (reason, { proxyError }) => {
    const field = denialResponse(denialFor(reason), context).headers.get("Proxy-Status");
    expect(field).toBe(`postiz-gateway; error=${proxyError}; details="${shownAs(reason)}"`);
    const [proxy, parameters] = onlyMember(parseList(field ?? ""));
    expect(proxy).toEqual(new Token("postiz-gateway"));
    expect([...parameters]).toEqual([
      ["error", new Token(proxyError)],
      ["details", shownAs(reason)],
    ]);
  });

  it.each(REASONS)(
    "%s challenges if it is a 401 or lacks a scope, and only then",
    (reason, { status, challenge }) => {
      const { headers } = denialResponse(denialFor(reason), context);
      expect(headers.get("WWW-Authenticate")).toBe(challenge);
      expect(headers.has("WWW-Authenticate")).toBe(status === 401 || reason === "scope_insufficient");
    },
  );

  it.each(REASONS)("%s says when to come back if it is a 429 or 503, and only then", (reason, wire) => {
    const { headers } = denialResponse(denialFor(reason), context);
    expect(headers.get("Retry-After")).toBe(wire.retryAfter);
    const told = denialResponse({ ...denialFor(reason), retryAfterSeconds: 7 }, context).headers;
    expect(told.get("Retry-After")).toBe(wire.retryAfter === null ? null : "7");
  });

  it.each(REASONS)("%s has no body on HEAD, and the same fields as on GET", async (reason) => {
    for (const asProblem of [false, true]) {
      const head = denialResponse(denialFor(reason), { ...context, asProblem, method: "HEAD" });
      const get = denialResponse(denialFor(reason), { ...context, asProblem });
      expect(head.body).toBeNull();
      expect(await head.text()).toBe("");
      expect([...head.headers]).toEqual([...get.headers]);
    }
  });

  it.each(REASONS)(
    "%s is a problem of RFC 9457 for whoever asks for one",
    async (reason, { status, body }) => {
      const response = denialResponse(denialFor(reason), { ...context, asProblem: true });
      const text = await response.text();
      expect(response.status).toBe(status);
      expect(response.headers.get("Content-Type")).toBe("application/problem+json");
      expect(response.headers.get("Content-Length")).toBe(String(Buffer.byteLength(text)));
      const { msg, message } = JSON.parse(body) as { msg?: string; message?: string };
      const problem = JSON.parse(text) as Record<string, unknown>;
      expect(Object.keys(problem)).toEqual(["type", "title", "status", "detail", "instance", "code", "msg"]);
      expect(problem).toEqual({
        type: `https://gateway.test/_gateway/errors/${shownAs(reason)}`,
        title: DENIAL_SPECS[shownAs(reason)].message,
        status,
        detail: DETAIL,
        instance: `urn:uuid:${REQUEST_ID}`,
        code: shownAs(reason),
        msg: msg ?? message,
      });
    },
  );

  it.each(REASONS)("%s tells nobody's tenant or key", async (reason) => {
    const denial = { ...denialFor(reason), owner: { tenantId: "tenant-x", keyId: "key-x" } };
    for (const asProblem of [false, true]) {
      const response = denialResponse(denial, { ...context, asProblem });
      expect(JSON.stringify([...response.headers]) + (await response.text())).not.toMatch(/tenant-x|key-x/);
    }
  });
});

describe("refusals that depend on more than their reason", () => {
  const bodyOf = (denial: Denial) => denialResponse(denial, context).text();

  it("a malformed credential that began like a token is refused in the words for tokens", async () => {
    const denial = { reason: "credential_malformed", detail: DETAIL } as const;
    expect(await bodyOf({ ...denial, aboutToken: true })).toBe('{"msg":"Invalid OAuth token"}');
    expect(await bodyOf({ ...denial, aboutToken: false })).toBe(INVALID_KEY);
  });

  it("a missing subscription has the same words for keys and tokens", async () => {
    const denial = { reason: "subscription_inactive", detail: DETAIL, aboutToken: true } as const;
    expect(await bodyOf(denial)).toBe(NO_SUBSCRIPTION);
  });

  it("only policy posts is refused in Postiz's own words", async () => {
    const denial = { reason: "rate_limited", detail: DETAIL } as const;
    expect(await bodyOf({ ...denial, quota: quota("posts") })).toBe(THROTTLED);
    expect(await bodyOf({ ...denial, quota: quota("api") })).toBe(plain(429, "rate_limited"));
    expect(await bodyOf(denial)).toBe(plain(429, "rate_limited"));
  });

  it.each(["posts", "api"] as const)(
    "an exhausted policy %s is told in RateLimit, never in X-RateLimit-*",
    (name) => {
      const denial = {
        reason: "rate_limited",
        detail: DETAIL,
        quota: quota(name),
        retryAfterSeconds: 17,
      } as const;
      const { headers } = denialResponse(denial, context);
      expect(headers.get("RateLimit-Policy")).toBe(`"${name}";q=30;w=3600`);
      expect(headers.get("RateLimit")).toBe(`"${name}";r=0;t=17`);
      expect(headers.get("Retry-After")).toBe("17");
      expect([...headers.keys()].filter((header) => header.startsWith("x-ratelimit"))).toEqual([]);
    },
  );

  it("a refusal of the method names those that are allowed", () => {
    const denial = { reason: "method_not_allowed", detail: DETAIL, allow: ["GET", "HEAD"] } as const;
    expect(denialResponse(denial, context).headers.get("Allow")).toBe("GET, HEAD");
    expect(denialResponse(denialFor("path_unknown"), context).headers.has("Allow")).toBe(false);
  });

  it("whatever the detail holds, the body is JSON that says it, of the length announced", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary" }), fc.boolean(), async (detail, asProblem) => {
        const response = denialResponse({ reason: "path_ambiguous", detail }, { ...context, asProblem });
        const bytes = await response.arrayBuffer();
        expect(response.headers.get("Content-Length")).toBe(String(bytes.byteLength));
        const { msg } = JSON.parse(
          new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes),
        ) as {
          msg: unknown;
        };
        expect(msg).toBe(detail);
      }),
    );
  });
});

describe("asking for problem details", () => {
  it.each([
    ["application/problem+json"],
    ["application/json, application/problem+json"],
    ["application/problem+json;q=0.1, */*"],
    ["application/problem+json; charset=utf-8; q=1.000"],
    ["Application/Problem+JSON"],
    ["application/problem+json;q=0.001"],
  ])("Accept: %s does", (accept) => {
    expect(wantsProblem(new Headers({ Accept: accept }))).toBe(true);
  });

  it.each([
    ["*/*"],
    ["application/*"],
    ["application/json"],
    [""],
    ["application/problem+json;q=0"],
    ["application/problem+json; q=0.000"],
    ["application/problem+json; Q=0.0"],
    ["application/problem+xml"],
    ["application/problem+jsonx"],
    ["text/application/problem+json"],
  ])("Accept: %s does not", (accept) => {
    expect(wantsProblem(new Headers({ Accept: accept }))).toBe(false);
  });

  it("no Accept does not", () => {
    expect(wantsProblem(new Headers())).toBe(false);
  });
});

describe("the challenge", () => {
  it("on the origin's own 401 blames nobody: it may be about a social channel", () => {
    expect(bearerChallenge(null)).toBe(BEARER);
  });

  it.each(["credential_missing", "subscription_inactive"] as const)(
    "on %s blames no credential: OAuth clients would throw a good one away",
    (reason) => {
      expect(bearerChallenge({ reason, detail: "", aboutToken: true })).toBe(BEARER);
    },
  );
});
