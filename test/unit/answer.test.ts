import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { denialResponse } from "../../src/answer/denial-response.ts";
import { DENIAL_SPECS, type Denial } from "../../src/denial.ts";
import {
  context,
  DETAIL,
  denialFor,
  INVALID_KEY,
  NO_SUBSCRIPTION,
  plain,
  quota,
  REASONS,
  REQUEST_ID,
  THROTTLED,
  WIRE,
} from "../support/refusals.ts";

beforeEach(() => {
  vi.spyOn(Math, "random").mockReturnValue(0);
});
afterEach(() => {
  vi.restoreAllMocks();
});

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

  it("whom a trouble of the gateway's has refused come back spread over the time that it may take, and as long again", () => {
    const told = (status: 429 | 503, drawn: number) => {
      vi.mocked(Math.random).mockReturnValue(drawn);
      const reason = status === 429 ? "flood" : "authority_unavailable";
      const denial = { reason, detail: DETAIL, retryAfterSeconds: 5 } as const;
      return denialResponse(denial, context).headers.get("Retry-After");
    };
    expect([0, 0.5, 1 - Number.EPSILON].map((drawn) => told(503, drawn))).toEqual(["5", "8", "10"]);
    expect([0, 0.5, 1 - Number.EPSILON].map((drawn) => told(429, drawn))).toEqual(["5", "5", "5"]);
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
