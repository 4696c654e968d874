import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalPath, readTarget, type Target } from "../../src/route/canonical.ts";
import { OPERATIONS } from "../../src/route/operations.ts";
import { isGatewayPath, type Route, resolveRoute } from "../../src/route/route.ts";
import { denialOf, passed, reasonOf } from "./result.ts";

const targetOf = (rawPath: string): Target =>
  passed(readTarget(`http://gateway.test${rawPath}`, "gateway.test"));
const routeOf = (method: string, rawPath: string): Route =>
  passed(resolveRoute(method, targetOf(rawPath), true));

function protectedRoute(method: string, rawPath: string): Extract<Route, { kind: "protected" }> {
  const route = routeOf(method, rawPath);
  if (route.kind !== "protected") throw new Error(`${rawPath} is not protected`);
  return route;
}

describe("odd spellings of a path", () => {
  it.each([
    ["/public/v1/posts", "/public/v1/posts"],
    ["/api/public/v1/posts", "/public/v1/posts"],
    ["/api//public/v1/posts", "/public/v1/posts"],
    ["//public/v1/posts", "/public/v1/posts"],
    ["///api///public///v1///posts///", "/public/v1/posts"],
    ["/public/v1/posts/", "/public/v1/posts"],
    ["/public/V1/POSTS/", "/public/v1/posts"],
    ["/API/Public/v1/Posts", "/public/v1/posts"],
    ["/%70ublic/v1/posts", "/public/v1/posts"],
    ["/public/v1/p%6Fsts", "/public/v1/posts"],
    ["/public/v1/p%6fsts", "/public/v1/posts"],
    ["/public/%76%31/%50%4F%53%54%53", "/public/v1/posts"],
    ["/public/v1", "/public/v1"],
    ["/public/v1/", "/public/v1"],
    ["/api/public/v1", "/public/v1"],
    ["/public/v1/Unknown/Path", "/public/v1/Unknown/Path"],
    ["/public/v1/...", "/public/v1/..."],
    ["/public/v1/.hidden", "/public/v1/.hidden"],
    ["/public/v1/a%2Eb", "/public/v1/a.b"],
    ["/public/v1/%7Ex%2D%5F", "/public/v1/~x-_"],
    ["/public/v1/a%20b", "/public/v1/a%20b"],
    ["/public/v1/caf%c3%a9", "/public/v1/caf%C3%A9"],
    ["/public/v1/a!$&'()*+,=:@b", "/public/v1/a!$&'()*+,=:@b"],
  ])("%s is protected and goes to the origin as %s", (rawPath, forwarded) => {
    expect(protectedRoute("POST", rawPath).path).toBe(forwarded);
  });

  it.each([
    ["a dot segment", "/public/v1/./posts"],
    ["a final dot segment", "/public/v1/posts/."],
    ["two dots", "/public/v1/x/../posts"],
    ["final two dots", "/public/v1/posts/.."],
    ["two dots at the root", "/.."],
    ["two dots into the API", "/x/../public/v1/posts"],
    ["encoded dots", "/public/v1/posts/%2e%2e/x"],
    ["encoded dots in upper case", "/public/v1/posts/%2E%2E/x"],
    ["half-encoded dots", "/public/v1/posts/.%2e/x"],
    ["one encoded dot", "/public/v1/%2e/posts"],
    ["dots after an empty segment", "/public/v1//../x"],
    ["an encoded slash", "/public/v1%2Fposts"],
    ["an encoded slash in lower case", "/public%2fv1/posts"],
    ["a backslash", "/public\\v1\\posts"],
    ["an encoded backslash", "/public/v1%5cposts"],
    ["an encoded backslash in upper case", "/public/v1%5Cposts"],
    ["a doubly encoded dot", "/public/v1/%252e%252e/x"],
    ["a doubly encoded slash", "/public/v1%252Fposts"],
    ["a semicolon", "/public/v1/posts;x=1"],
    ["a semicolon of its own", "/public/v1/;/posts"],
    ["an encoded semicolon", "/public/v1/posts%3Bx"],
    ["NUL", "/public/v1/posts\0"],
    ["an encoded NUL", "/public/v1/posts%00"],
    ["an encoded line feed", "/public/v1/posts%0A"],
    ["an encoded unit separator", "/public/v1/posts%1f"],
    ["an encoded delete", "/public/v1/posts%7F"],
    ["a tab", "/public/v1/po\tsts"],
    ["a raw delete", "/public/v1/posts\x7f"],
    ["an overlong slash", "/public/v1%c0%afposts"],
    ["an overlong dot", "/public/v1/%c0%ae%c0%ae/x"],
    ["an encoded surrogate", "/public/v1/%ed%a0%80"],
    ["a lone continuation byte", "/public/v1/%80"],
    ["a truncated character", "/public/v1/%e2%82"],
    ["Latin-1", "/public/v1/caf%e9"],
    ["a lone percent sign", "/public/v1/100%"],
    ["half a percent-encoding", "/public/v1/%2"],
    ["a percent-encoding that is none", "/public/v1/%zz"],
    ["braces", "/public/v1/{}"],
    ["a raw character outside ASCII", "/public/v1/café"],
    ["a raw full-width solidus", "/public/v1\uff0fposts"],
    ["a space", "/public/v1/a b"],
    ["a quotation mark", '/public/v1/"'],
    ["angle brackets", "/public/v1/<x>"],
    ["a vertical bar", "/public/v1/a|b"],
    ["a caret", "/public/v1/a^b"],
    ["a grave accent", "/public/v1/`"],
    ["square brackets", "/public/v1/[a]"],
    ["a fragment", "/public/v1/posts#x"],
  ])("%s is refused as ambiguous", (_, rawPath) => {
    expect(reasonOf(readTarget(`http://gateway.test${rawPath}`, "gateway.test"))).toBe("path_ambiguous");
  });
});

describe("the request line", () => {
  it.each([
    ["http://h/x", { protocol: "http", host: "h", path: "/x", query: "" }],
    ["https://api.example.com:8443/x", { protocol: "https", host: "api.example.com:8443", path: "/x" }],
    ["http://[::1]:8787/x", { host: "[::1]:8787", path: "/x" }],
    ["http://H_1-a.B/x", { host: "H_1-a.B" }],
    ["http://h", { host: "h", rawPath: "/", path: "/", query: "" }],
    ["http://h/", { host: "h", rawPath: "/", path: "/" }],
    ["http://h?a=/b", { host: "h", rawPath: "/", path: "/", query: "?a=/b" }],
    ["http://h/a//b/?c", { rawPath: "/a//b/", path: "/a/b", query: "?c" }],
  ])("%s is split where RFC 3986 splits it", (url, parts) => {
    expect(passed(readTarget(url, null))).toMatchObject(parts);
  });

  it.each([["?"], ["??"], ["?a=%2f..%2F;b\\c"], ["?next=http://x/../y&z=é{}"], ["?%zz%00&&==+"]])(
    "the query %s goes through byte for byte",
    (query) => {
      expect(protectedRoute("GET", `/public/v1/posts${query}`).query).toBe(query);
    },
  );

  it.each<[string, string, string?]>([
    ["two Host lines", "http://a, b/x"],
    ["OPTIONS *", "http://h*"],
    ["OPTIONS * with a port", "http://127.0.0.1:8787*"],
    ["no host", "http:///x"],
    ["a user name", "http://user:secret@h/x"],
    ["a port of six digits", "http://h:123456/x"],
    ["a port that is no number", "http://h:80a/x"],
    ["a space in the host", "http://h h/x"],
    ["a backslash after the host", "http://h\\public/v1/posts"],
    ["an unclosed bracket", "http://[::1/x"],
    ["a host outside ASCII", "http://é.example/x"],
    ["a path in the Host field", "http://gw.test/public/v1/users", "gw.test/public/v1"],
    ["a query in the Host field", "http://gw.test?/users", "gw.test?"],
    ["an empty Host field", "http://gw.test/users", ""],
  ])("%s is refused as malformed", (_, url, hostField) => {
    expect(reasonOf(readTarget(url, hostField ?? null))).toBe("request_malformed");
  });

  it("the refusal never repeats what stood before the host", () => {
    expect(denialOf(readTarget("http://user:hunter2@h/x", null)).detail).not.toContain("hunter2");
  });
});

/** Pieces that paths with two readings are made of. */
const piece = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom("/", "//", "/public", "/v1", "/api", "/posts", "/Public", "/V1") },
  { weight: 2, arbitrary: fc.constantFrom("/%70ublic", "/%761", "/p%6Fsts", "/%50osts", "x", "/x", "%2B") },
  { weight: 2, arbitrary: fc.constantFrom(".", "..", "/.", "/..", "%2e", "%2E%2e", "/...", "%3f", "%23") },
  {
    weight: 1,
    arbitrary: fc.constantFrom("%2f", "%5C", "\\", ";", "%3b", "%00", "%0d", "%25", "%252e", "%7f"),
  },
  { weight: 1, arbitrary: fc.constantFrom("%c0%af", "%e2%84%aa", "%c3%a9", "é", "%", "%4", "{", " ", "%20") },
  { weight: 1, arbitrary: fc.string({ unit: "binary", maxLength: 4 }).filter((s) => !s.includes("?")) },
);
const rawPath = fc.array(piece, { maxLength: 8 }).map((pieces) => `/${pieces.join("")}`);

/** Canonical, or null where it was refused. */
function canonicalOf(raw: string): string | null {
  const result = canonicalPath(raw);
  return result.ok ? result.value : null;
}

const decode = (path: string): string =>
  path.replace(/(?:%[0-9A-Fa-f]{2})+/g, (run) => Buffer.from(run.replaceAll("%", ""), "hex").toString());
const collapse = (path: string): string => path.replace(/[/\\]+/g, "/");
const cutParameters = (path: string): string => path.replace(/;[^/]*/g, "");
function resolveDots(path: string): string {
  const segments: string[] = [];
  for (const segment of path.split("/").slice(1)) {
    if (segment === "..") segments.pop();
    else if (segment !== ".") segments.push(segment);
  }
  return `/${segments.join("/")}`;
}
/** What servers and proxies do to a path, each in its own order. */
const STEPS = {
  decode,
  collapse,
  cutParameters,
  resolveDots,
  lowerCase: (path: string) => path.toLowerCase(),
};
type Step = keyof typeof STEPS;
const otherSteps = fc.array(
  fc.constantFrom<Step>("decode", "collapse", "cutParameters", "resolveDots", "lowerCase"),
  {
    maxLength: 7,
  },
);
const readBy = (steps: readonly Step[], path: string): string =>
  steps.reduce((read, step) => STEPS[step](read), path);

const leadsToApi = (path: string): boolean => /^\/+(?:api\/+)?public\/+v1(?:\/|$)/i.test(path);
const createsPost = (path: string): boolean => /^\/+(?:api\/+)?public\/+v1\/+posts\/*$/i.test(path);

const RUNS = { numRuns: 20_000 };

describe("the canonical path, whatever was sent", () => {
  it("is its own canonical form", () => {
    fc.assert(
      fc.property(rawPath, (raw) => {
        const path = canonicalOf(raw);
        if (path !== null) expect(canonicalOf(path)).toBe(path);
      }),
      RUNS,
    );
  });

  it("is left as it is by the URL parser that `fetch` uses", () => {
    fc.assert(
      fc.property(rawPath, (raw) => {
        const path = canonicalOf(raw);
        if (path !== null) expect(new URL(`http://h${path}`).pathname).toBe(path);
      }),
      RUNS,
    );
  });

  it("has no empty or dot segments, no trailing slash and nothing encoded that could end or split a segment", () => {
    fc.assert(
      fc.property(rawPath, (raw) => {
        const path = canonicalOf(raw);
        if (path === null) return;
        expect(path).toMatch(/^\/(?:[^/\\;]+(?:\/[^/\\;]+)*)?$/);
        expect(path).not.toMatch(/\/\.{1,2}(?:\/|$)/);
        expect(path).not.toMatch(/%(?:2e|2f|5c|25|3b|3f|23|[01].|7f)/i);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: control bytes are what is looked for
        expect(path).not.toMatch(/[\x00-\x20\x7f-\uffff]/);
      }),
      RUNS,
    );
  });

  /** Over all paths that get a route; one that gets none holds the API's path where it is not the API's own. */
  function forEveryRoute(check: (route: Route, steps: Parameters<typeof readBy>[0]) => void): void {
    fc.assert(
      fc.property(rawPath, otherSteps, (raw, steps) => {
        const target = readTarget(`http://gateway.test${raw}`, "gateway.test");
        if (!target.ok) return;
        const route = resolveRoute("POST", target.value, true);
        if (route.ok) check(route.value, steps);
        else expect(target.value.path).toMatch(/.\/public\/v1(?:\/|$)/i);
      }),
      RUNS,
    );
  }

  it("leads the origin into the API however it is read there, or never does", () => {
    forEveryRoute(({ kind, path }, steps) => {
      expect(leadsToApi(readBy(steps, path))).toBe(kind === "protected");
    });
  });

  it("is counted as a new post if the origin can read it as one, and only then", () => {
    forEveryRoute((route, steps) => {
      const counted = route.kind === "protected" && route.operation.policy === "posts";
      expect(createsPost(readBy(steps, route.path))).toBe(counted);
    });
  });
});

const S = 1_000;

/** Postiz at 74b01ad, typed out from its controllers. */
const DOCUMENTED = [
  ["POST", "/upload", 0],
  ["POST", "/upload-from-url", 120 * S],
  ["GET", "/find-slot/:id", 0],
  ["GET", "/posts", 0],
  ["POST", "/posts", 0],
  ["DELETE", "/posts/:id", 0],
  ["DELETE", "/posts/group/:group", 0],
  ["GET", "/posts/:id/missing", 120 * S],
  ["PUT", "/posts/:id/settings", 0],
  ["PUT", "/posts/:id/status", 0],
  ["PUT", "/posts/:id/release-id", 0],
  ["GET", "/is-connected", 0],
  ["GET", "/groups", 0],
  ["GET", "/integrations", 0],
  ["DELETE", "/integrations/:id", 0],
  ["GET", "/social/:integration", 120 * S],
  ["GET", "/integration-settings/:id", 120 * S],
  ["POST", "/integration-trigger/:id", 120 * S],
  ["GET", "/analytics/:integration", 120 * S],
  ["GET", "/analytics/post/:postId", 120 * S],
  ["GET", "/notifications", 0],
  ["GET", "/users", 0],
  ["POST", "/generate-video", 600 * S],
  ["POST", "/video/function", 120 * S],
] as const;

const filledIn = (template: string, parameter: string): string =>
  template.replace(/:[A-Za-z]+/g, () => parameter);

describe("Postiz's documented operations", () => {
  it("are all known, and nothing else is", () => {
    expect(OPERATIONS.map(({ method, template }) => `${method} ${template}`)).toEqual(
      DOCUMENTED.map(([method, template]) => `${method} ${template}`),
    );
  });

  it.each(DOCUMENTED)(
    "%s %s is recognised in any case and has its time limit",
    (method, template, slowMs) => {
      const path = `/public/v1${filledIn(template, "Id-7")}`;
      for (const spelling of [path, `/api${path}/`, path.toUpperCase().replaceAll("ID-7", "Id-7")]) {
        const route = protectedRoute(method, spelling);
        expect(route.path).toBe(path);
        expect(route.operation).toMatchObject({ method, template, slowMs });
      }
    },
  );

  it.each(DOCUMENTED)(
    "%s %s keeps the case of its parameters, whatever they are called",
    (method, template) => {
      const parameter = fc.oneof(
        fc.constantFrom("GROUP", "Missing", "POST", "Settings", "posts"),
        fc.stringMatching(/^[A-Za-z0-9_~-]{1,12}$/),
      );
      fc.assert(
        fc.property(parameter, (value) => {
          const path = `/public/v1${filledIn(template, value)}`;
          expect(protectedRoute(method, path).path).toBe(path);
        }),
        { numRuns: 200, examples: [["GROUP"], ["Missing"]] },
      );
    },
  );

  it("HEAD is the same operation as GET", () => {
    expect(protectedRoute("HEAD", "/public/v1/analytics/x").operation).toBe(
      protectedRoute("GET", "/public/v1/analytics/x").operation,
    );
  });

  it.each([
    ["PATCH", "/public/v1/Posts", "/public/v1/posts", "/posts"],
    ["GET", "/public/v1/UPLOAD", "/public/v1/upload", "/upload"],
    ["GET", "/public/v1/Nothing/Here", "/public/v1/Nothing/Here", "*"],
    ["GET", "/public/v1/posts/a/b/c", "/public/v1/posts/a/b/c", "*"],
    ["GET", "/public/v1", "/public/v1", "*"],
  ])(
    "%s %s, which Postiz does not document, is forwarded under policy api",
    (method, raw, path, template) => {
      const route = protectedRoute(method, raw);
      expect(route.path).toBe(path);
      expect(route.operation).toMatchObject({ method: "*", template, policy: "api", slowMs: 0 });
    },
  );
});

describe("policy posts", () => {
  it("applies to POST /public/v1/posts, however it is spelt", () => {
    for (const path of ["/public/v1/posts", "/api//public/V1/Posts/", "/public/v1/%70osts"]) {
      expect(protectedRoute("POST", path).operation.policy).toBe("posts");
    }
  });

  it.each([
    ["GET", "/public/v1/posts"],
    ["HEAD", "/public/v1/posts"],
    ["PUT", "/public/v1/posts"],
    ["POST", "/public/v1/posts/x"],
    ["POST", "/public/v1/postsx"],
    ["POST", "/public/v1/x/posts"],
    ["DELETE", "/public/v1/posts/x"],
    ["POST", "/public/v1/upload"],
    ["POST", "/public/v1"],
  ])("does not apply to %s %s", (method, path) => {
    expect(protectedRoute(method, path).operation.policy).toBe("api");
  });
});

describe("outside the public API", () => {
  const OUTSIDE = [
    "/",
    "/public",
    "/public/v1x",
    "/public/v10/posts",
    "/public/v2/posts",
    "/xpublic/v1/posts",
    "/apipublic/v1/posts",
    "/api",
    "/auth/login",
  ];

  it.each(OUTSIDE)("%s is unknown unless the whole host is fronted", (path) => {
    expect(denialOf(resolveRoute("GET", targetOf(path), false)).reason).toBe("path_unknown");
  });

  it.each(["/x/public/v1/posts", "/api/api/public/v1", "/postiz/backend/Public/V1/posts"])(
    "%s, the API below a prefix that the origin may have, is never passed on",
    (path) => {
      for (const forward of [true, false]) {
        expect(denialOf(resolveRoute("POST", targetOf(path), forward)).reason).toBe("path_unknown");
      }
    },
  );

  it.each([...OUTSIDE, "//a//b/", "/%61%7e/", "/A%c3%a9"])(
    "%s is passed on untouched where it is",
    (path) => {
      expect(routeOf("GET", `${path}?q=%2F`)).toEqual({ kind: "unprotected", path, query: "?q=%2F" });
    },
  );

  it.each(["/public/v1/posts", "/anything"])("TRACE %s is never forwarded", (path) => {
    const denial = denialOf(resolveRoute("TRACE", targetOf(path), true));
    expect(denial.reason).toBe("method_not_allowed");
    expect(denial.allow).toEqual(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);
  });

  it.each([
    ["/_gateway", true],
    ["/_gateway/", true],
    ["/_gateway/health", true],
    ["//%5Fgateway//health/", true],
    ["/_gatewayx", false],
    ["/_gatewa", false],
    ["/x/_gateway", false],
  ])("whether %s is the gateway's own: %s", (path, own) => {
    expect(isGatewayPath(targetOf(path).path)).toBe(own);
  });
});
