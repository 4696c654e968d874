import { describe, expect, it } from "vitest";
import { type Config, readConfig } from "../../src/config.ts";
import type { ConfigProblem } from "../../src/config-values.ts";
import type { Env } from "../../src/env.ts";

const BINDINGS = { CREDENTIALS: {}, INTROSPECTION: {}, TENANT_AUTHORITY: {}, DIRECTORY: {} };
const ORIGIN_URL = "https://postiz.example.com/api";

const envOf = (vars: Record<string, unknown>): Env =>
  ({ ...BINDINGS, ORIGIN_URL, ...vars }) as unknown as Env;

function configOf(vars: Record<string, unknown>): Config {
  const result = readConfig(envOf(vars));
  if (!result.ok) throw new Error(JSON.stringify(result.problem));
  return result.config;
}

function problemOf(vars: Record<string, unknown>): ConfigProblem {
  const result = readConfig(envOf(vars));
  if (result.ok) throw new Error(`accepted: ${JSON.stringify(vars)}`);
  return result.problem;
}

describe("the configuration", () => {
  it("is complete with nothing but the origin set", () => {
    expect(configOf({})).toEqual({
      originBase: "https://postiz.example.com/api",
      originRoot: "https://postiz.example.com",
      originHosts: new Set(["postiz.example.com", "postiz.example.com:443"]),
      originTimeoutMs: 30_000,
      authorityTimeoutMs: 1_000,
      originAccess: null,
      postsPerHour: 30,
      shadowPolicies: new Set(),
      leaseTtlMs: 5_000,
      leaseTtlMaxMs: 30_000,
      degradesWithoutAuthority: true,
      subscriptionsRequired: false,
      subscriptionGraceDays: 0,
      rfc7662: null,
      introspectionTtlMs: 60_000,
      introspectionStaleIfErrorMs: 600_000,
      introspectionTimeoutMs: 2_000,
      learnFromOrigin: false,
      forwardUnprotected: false,
      maxBodyBytes: 0,
      corsOrigins: new Set(),
      trustedProxies: [],
      logEveryRequest: false,
      macSecrets: null,
      sealingKeys: null,
      admin: null,
    });
  });

  it("names the texts that mean nothing to it, without refusing service, and never their values", () => {
    expect(readConfig(envOf({ SUBSCRIPTION: "required", API_LIMITS: 5, HELPER: {} }))).toMatchObject({
      ok: true,
      unknown: ["SUBSCRIPTION", "API_LIMITS"],
    });
  });

  it("can't be changed afterwards", () => {
    expect(Object.isFrozen(configOf({}))).toBe(true);
  });

  it.each(["CREDENTIALS", "INTROSPECTION", "TENANT_AUTHORITY", "DIRECTORY"])(
    "is invalid without the binding %s",
    (variable) => {
      expect(problemOf({ [variable]: undefined })).toMatchObject({ variable, found: "nothing" });
    },
  );

  it.each([
    "ORIGIN_TIMEOUT_MS",
    "AUTHORITY_TIMEOUT_MS",
    "ORIGIN_ACCESS_CLIENT_ID",
    "API_LIMIT",
    "SUBSCRIPTIONS",
    "SUBSCRIPTION_GRACE_DAYS",
    "INTROSPECTION_MODE",
    "INTROSPECTION_URL",
    "INTROSPECTION_JWKS_URL",
    "INTROSPECTION_TTL",
    "INTROSPECTION_STALE_IF_ERROR",
    "INTROSPECTION_TIMEOUT_MS",
    "LEARN_FROM_ORIGIN",
    "UNPROTECTED",
    "MAX_BODY_BYTES",
    "CORS_ORIGINS",
    "SHADOW_POLICIES",
    "TRUSTED_PROXIES",
    "LOG_REQUESTS",
    "KEY_MAC_SECRET",
    "SEALING_KEY",
    "ADMIN_TOKEN",
    "ACCESS_TEAM",
  ])("takes an empty %s for one that is not set", (variable) => {
    expect(configOf({ [variable]: "" })).toEqual(configOf({}));
  });

  it.each(["ORIGIN_URL", "ORIGIN_TIMEOUT_MS", "API_LIMIT", "SUBSCRIPTIONS", "CORS_ORIGINS", "LOG_REQUESTS"])(
    "calls %s by its name where it holds no text, as vars of wrangler may, instead of crashing",
    (variable) => {
      for (const value of [null, true, { a: 1 }, ["x"]]) {
        expect(problemOf({ [variable]: value })).toMatchObject({ variable });
      }
    },
  );
});

describe("secrets of the control plane", () => {
  const LONG = "x".repeat(32);
  const KEY = Buffer.alloc(32, 1).toString("base64");

  it("are taken, each with the one before it", () => {
    const config = configOf({
      KEY_MAC_SECRET: LONG,
      KEY_MAC_SECRET_PREVIOUS: `${LONG}y`,
      SEALING_KEY: KEY,
      ADMIN_TOKEN: LONG,
      ACCESS_TEAM: "https://team.example.com/",
      ACCESS_AUD: "aud",
    });
    expect(config.macSecrets).toEqual({ current: LONG, previous: `${LONG}y` });
    expect(config.sealingKeys).toEqual({ current: new Uint8Array(32).fill(1), previous: null });
    expect(config.admin).toEqual({
      token: LONG,
      access: { team: "https://team.example.com", audience: "aud" },
    });
  });

  it.each([
    [{ KEY_MAC_SECRET: LONG.slice(1) }, "KEY_MAC_SECRET"],
    [{ KEY_MAC_SECRET: `${LONG} ` }, "KEY_MAC_SECRET"],
    [{ KEY_MAC_SECRET_PREVIOUS: LONG }, "KEY_MAC_SECRET"],
    [{ SEALING_KEY: Buffer.alloc(31).toString("base64") }, "SEALING_KEY"],
    [{ SEALING_KEY: Buffer.alloc(33).toString("base64") }, "SEALING_KEY"],
    [{ SEALING_KEY: "0".repeat(64) }, "SEALING_KEY"],
    [{ SEALING_KEY_PREVIOUS: KEY }, "SEALING_KEY"],
    [{ ADMIN_TOKEN: LONG.slice(1) }, "ADMIN_TOKEN"],
    [{ ACCESS_TEAM: "team", ACCESS_AUD: "aud" }, "ACCESS_TEAM"],
    [{ ACCESS_TEAM: "https://team.example.com" }, "ACCESS_AUD"],
    [{ ACCESS_AUD: "aud" }, "ACCESS_TEAM"],
  ])("%j is invalid, and what a secret held is never said", (vars, variable) => {
    const problem = problemOf(vars);
    expect(problem.variable).toBe(variable);
    if (!variable.startsWith("ACCESS_")) {
      for (const value of Object.values(vars)) expect(problem.found).not.toContain(value);
    }
  });
});

describe("ORIGIN_URL", () => {
  it.each([
    ["https://api.postiz.com", "https://api.postiz.com", "https://api.postiz.com"],
    ["https://api.postiz.com/", "https://api.postiz.com", "https://api.postiz.com"],
    ["https://host/api", "https://host/api", "https://host"],
    ["https://host/api/", "https://host/api", "https://host"],
    ["https://host/api//", "https://host/api", "https://host"],
    ["http://127.0.0.1:3000/api", "http://127.0.0.1:3000/api", "http://127.0.0.1:3000"],
    ["HTTPS://HOST:443/Api", "https://host/Api", "https://host"],
    ["https://host/publicity", "https://host/publicity", "https://host"],
    ["https://host/public/v2", "https://host/public/v2", "https://host"],
  ])("%s: requests go to %s/public/v1/…", (url, originBase, originRoot) => {
    expect(configOf({ ORIGIN_URL: url })).toMatchObject({ originBase, originRoot });
  });

  it.each([
    ["https://Host/api", ["host", "host:443"]],
    ["http://host", ["host", "host:80"]],
    ["http://host:8787/api", ["host:8787"]],
    ["http://[::1]:8787", ["[::1]:8787"]],
    ["https://[::1]", ["[::1]", "[::1]:443"]],
  ])("%s is known as %j in a Host field", (url, hosts) => {
    expect([...configOf({ ORIGIN_URL: url }).originHosts]).toEqual(hosts);
  });

  it.each([
    [undefined, "nothing"],
    ["", "nothing"],
    ["postiz.example.com", '"postiz.example.com"'],
    ["/api", '"/api"'],
    ["https://", '"https://"'],
    ["ftp://host/api", '"ftp://host/api"'],
    ["https://host/api?x=1", '"https://host/api?x=1"'],
    ["https://host/api#x", '"https://host/api#x"'],
    ["https://host:65536", '"https://host:65536"'],
    ["https://host/public/v1", '"https://host/public/v1"'],
    ["https://host/api/public/v1/", '"https://host/api/public/v1/"'],
    ["https://host/Public", '"https://host/Public"'],
  ])("%s is not a base to forward to", (url, found) => {
    const problem = problemOf({ ORIGIN_URL: url });
    expect(problem).toMatchObject({ variable: "ORIGIN_URL", found });
    expect(problem.allowed).toContain('such as "https://host/api"');
  });

  it.each([
    "https://user:hunter2@host/api",
    "https://:hunter2@host/api",
    "https://hunter2@host/api",
    "https://user:hunter2@host:99999/api",
    "https://user:hunter2@/api",
    "user:hunter2@host/api",
    "//user:hunter2@host/api",
  ])("%s is refused without repeating the password", (url) => {
    const problem = problemOf({ ORIGIN_URL: url });
    expect(problem.variable).toBe("ORIGIN_URL");
    expect(JSON.stringify(problem)).not.toContain("hunter2");
  });
});

describe("whole numbers", () => {
  const NUMBERS = [
    ["ORIGIN_TIMEOUT_MS", "originTimeoutMs", 1, 3_600_000],
    ["AUTHORITY_TIMEOUT_MS", "authorityTimeoutMs", 1, 60_000],
    ["API_LIMIT", "postsPerHour", 1, 1_000_000],
    ["SUBSCRIPTION_GRACE_DAYS", "subscriptionGraceDays", 0, 3_650],
    ["MAX_BODY_BYTES", "maxBodyBytes", 0, Number.MAX_SAFE_INTEGER],
  ] as const;

  it.each(NUMBERS)("%s may be anything from its least to its greatest value", (variable, field, min, max) => {
    for (const value of [min, min + 1, max - 1, max]) {
      expect(configOf({ [variable]: String(value) })[field]).toBe(value);
    }
  });

  it.each(NUMBERS)("%s may be written as a number, as wrangler.toml allows", (variable, field, _, max) => {
    expect(configOf({ [variable]: max })[field]).toBe(max);
    expect(problemOf({ [variable]: -1 })).toMatchObject({ variable, found: '"-1"' });
  });

  it.each(NUMBERS)("%s may be nothing else", (variable, _field, min, max) => {
    const outside = [String(BigInt(min) - 1n), String(BigInt(max) + 1n), String(BigInt(max) * 10n)];
    const garbage = [
      "abc",
      "1.5",
      "1e3",
      "0x10",
      "+5",
      " 5",
      "5 ",
      "5\n",
      "1_000",
      "1,000",
      "٣",
      "NaN",
      "Infinity",
      "-0",
    ];
    for (const value of [...outside, ...garbage]) {
      expect(problemOf({ [variable]: value })).toEqual({
        variable,
        found: JSON.stringify(value),
        allowed: `a whole number from ${min} to ${max}`,
      });
    }
  });
});

describe("choices", () => {
  const CHOICES = [
    ["SUBSCRIPTIONS", "subscriptionsRequired", "off", "required"],
    ["UNPROTECTED", "forwardUnprotected", "refuse", "forward"],
    ["LOG_REQUESTS", "logEveryRequest", "refusals", "all"],
  ] as const;

  it.each(CHOICES)("%s is one of two words", (variable, field, byDefault, other) => {
    expect(configOf({ [variable]: byDefault })[field]).toBe(false);
    expect(configOf({ [variable]: other })[field]).toBe(true);
  });

  it.each(CHOICES)(
    "%s is no other word, and none of them in another spelling",
    (variable, _, byDefault, other) => {
      for (const value of [other.toUpperCase(), `${other} `, ` ${byDefault}`, "true", "false", "1", "on"]) {
        expect(problemOf({ [variable]: value })).toEqual({
          variable,
          found: JSON.stringify(value),
          allowed: `"${byDefault}" or "${other}"`,
        });
      }
    },
  );
});

describe("SHADOW_POLICIES", () => {
  it("names policies, separated by commas", () => {
    expect([...configOf({ SHADOW_POLICIES: "posts, flood" }).shadowPolicies]).toEqual(["posts", "flood"]);
    expect([...configOf({}).shadowPolicies]).toEqual([]);
  });

  it.each(["all", "posts,", "Posts", "posts;api"])("is no %s", (value) => {
    expect(problemOf({ SHADOW_POLICIES: value })).toMatchObject({
      variable: "SHADOW_POLICIES",
      allowed: 'some of "posts", "api", "flood", separated by commas',
    });
  });
});

describe("CORS_ORIGINS", () => {
  it.each([
    ["https://app.example.com", ["https://app.example.com"]],
    ["https://a.example, http://localhost:3000", ["https://a.example", "http://localhost:3000"]],
    ["https://a.example,https://a.example", ["https://a.example"]],
    ["http://[::1]:5173", ["http://[::1]:5173"]],
  ])("%s lists %j", (value, origins) => {
    expect([...configOf({ CORS_ORIGINS: value }).corsOrigins]).toEqual(origins);
  });

  it.each([
    ["*", '"*"'],
    ["null", '"null"'],
    ["app.example.com", '"app.example.com"'],
    ["https://app.example.com/", '"https://app.example.com/"'],
    ["https://app.example.com/x", '"https://app.example.com/x"'],
    ["https://app.example.com:443", '"https://app.example.com:443"'],
    ["https://APP.example.com", '"https://APP.example.com"'],
    ["https://*.example.com", '"https://*.example.com"'],
    ["ws://app.example.com", '"ws://app.example.com"'],
    ["https://a.example https://b.example", '"https://a.example https://b.example"'],
    ["https://a.example, *", '"*"'],
    ["https://a.example,", "nothing"],
    [" ", "nothing"],
  ])("%s is refused for what no browser sends as Origin", (value, found) => {
    expect(problemOf({ CORS_ORIGINS: value })).toMatchObject({ variable: "CORS_ORIGINS", found });
  });
});

describe("the service token of Cloudflare Access", () => {
  const ID = "3f2a.access";
  const SECRET = "s3cr3t-s3cr3t";

  it("is both of its halves", () => {
    const { originAccess } = configOf({ ORIGIN_ACCESS_CLIENT_ID: ID, ORIGIN_ACCESS_CLIENT_SECRET: SECRET });
    expect(originAccess).toEqual({ clientId: ID, clientSecret: SECRET });
  });

  it.each([
    ["ORIGIN_ACCESS_CLIENT_SECRET", { ORIGIN_ACCESS_CLIENT_ID: ID }],
    ["ORIGIN_ACCESS_CLIENT_ID", { ORIGIN_ACCESS_CLIENT_SECRET: SECRET }],
    ["ORIGIN_ACCESS_CLIENT_ID", { ORIGIN_ACCESS_CLIENT_ID: "", ORIGIN_ACCESS_CLIENT_SECRET: SECRET }],
  ])("is invalid without %s", (variable, vars) => {
    expect(problemOf(vars)).toMatchObject({ variable, found: "nothing" });
  });

  it.each([`${SECRET}\n`, ` ${SECRET}`, `${SECRET} ${SECRET}`, `${SECRET}é`, `${SECRET}\0`, `${SECRET}\x7f`])(
    "is visible ASCII, and what is not is never repeated",
    (value) => {
      for (const [variable, other] of [
        ["ORIGIN_ACCESS_CLIENT_ID", "ORIGIN_ACCESS_CLIENT_SECRET"],
        ["ORIGIN_ACCESS_CLIENT_SECRET", "ORIGIN_ACCESS_CLIENT_ID"],
      ] as const) {
        const problem = problemOf({ [variable]: value, [other]: SECRET });
        expect(problem.variable).toBe(variable);
        expect(problem.found).toContain(String(value.length));
        expect(JSON.stringify(problem)).not.toContain("s3cr3t");
      }
    },
  );

  it.each(["ORIGIN_ACCESS_CLIENT_ID", "ORIGIN_ACCESS_CLIENT_SECRET"])(
    "is never repeated where %s holds no text",
    (variable) => {
      for (const value of [{ token: SECRET }, [SECRET]]) {
        const problem = problemOf({ ORIGIN_ACCESS_CLIENT_ID: ID, [variable]: value });
        expect(problem.variable).toBe(variable);
        expect(JSON.stringify(problem)).not.toContain(SECRET);
      }
    },
  );

  it("is never repeated when another variable is wrong", () => {
    const problem = problemOf({
      ORIGIN_ACCESS_CLIENT_ID: ID,
      ORIGIN_ACCESS_CLIENT_SECRET: SECRET,
      API_LIMIT: "many",
    });
    expect(JSON.stringify(problem)).not.toMatch(/s3cr3t|3f2a/);
  });
});

describe("introspection by RFC 7662", () => {
  const needed = {
    INTROSPECTION_MODE: "rfc7662",
    INTROSPECTION_URL: "https://as.example.com/introspect",
    INTROSPECTION_CLIENT_ID: "gateway",
    INTROSPECTION_CLIENT_SECRET: "secret-of-introspection",
  };
  const signing = {
    INTROSPECTION_JWKS_URL: "https://as.example.com/jwks",
    INTROSPECTION_ISSUER: "https://as.example.com",
    INTROSPECTION_AUDIENCE: "gateway",
  };

  it("has an endpoint, a client, and a claim with a default", () => {
    expect(configOf(needed).rfc7662).toEqual({
      url: "https://as.example.com/introspect",
      clientId: "gateway",
      clientSecret: "secret-of-introspection",
      tenantClaim: "organization_id",
      signed: null,
    });
    expect(configOf({ ...needed, INTROSPECTION_TENANT_CLAIM: "org" }).rfc7662?.tenantClaim).toBe("org");
  });

  it("is not forgotten: an endpoint without the mode is invalid", () => {
    expect(problemOf({ ...needed, INTROSPECTION_MODE: "" })).toMatchObject({
      variable: "INTROSPECTION_MODE",
    });
  });

  it.each(["INTROSPECTION_URL", "INTROSPECTION_CLIENT_ID", "INTROSPECTION_CLIENT_SECRET"])(
    "is not half configured: without %s it is invalid",
    (variable) => {
      expect(problemOf({ ...needed, [variable]: "" })).toMatchObject({ variable, found: "nothing" });
    },
  );

  it("counts signed answers only, where it is told whose", () => {
    expect(configOf({ ...needed, ...signing }).rfc7662?.signed).toEqual({
      jwksUrl: "https://as.example.com/jwks",
      issuer: "https://as.example.com",
      audience: "gateway",
    });
  });

  it.each(Object.keys(signing))("never checks a signature by half: without %s it is invalid", (variable) => {
    expect(problemOf({ ...needed, ...signing, [variable]: "" })).toMatchObject({
      variable,
      found: "nothing",
    });
  });

  it.each(["INTROSPECTION_URL", "INTROSPECTION_JWKS_URL"])(
    "%s must be an http(s) URL, and never shows a password",
    (variable) => {
      for (const url of ["/introspect", "ftp://as.example.com/", "https://me:hunter2@as.example.com/"]) {
        const problem = problemOf({ ...needed, ...signing, [variable]: url });
        expect(problem).toMatchObject({ variable });
        expect(JSON.stringify(problem)).not.toContain("hunter2");
      }
    },
  );

  it("a secret that can't be sent is not shown", () => {
    const problem = problemOf({ ...needed, INTROSPECTION_CLIENT_SECRET: "hunter2\n" });
    expect(problem.variable).toBe("INTROSPECTION_CLIENT_SECRET");
    expect(JSON.stringify(problem)).not.toContain("hunter2");
  });
});

describe("TRUSTED_PROXIES", () => {
  it.each(["127.0.0.1", "10.0.0.0/8, ::1", "fd00::/8,192.0.2.1", "::ffff:127.0.0.1"])(
    "%s is a list of networks",
    (text) => {
      expect(configOf({ TRUSTED_PROXIES: text }).trustedProxies).toHaveLength(text.split(",").length);
    },
  );

  it.each(["localhost", "10.0.0.0/33", "10.0.0.0/8,", "127.0.0.1;10.0.0.1", "*"])("%s is refused", (text) => {
    expect(problemOf({ TRUSTED_PROXIES: text })).toMatchObject({ variable: "TRUSTED_PROXIES" });
  });
});
