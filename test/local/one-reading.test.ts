/**
 * One reading of every request: whatever bytes a client sends, the decision is made on exactly the request that the
 * origin receives, or the request is refused. Raw sockets against bare workerd, which tidies nothing up.
 */
import { mkdtempSync, rmSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DEMO } from "../../demo/tenants.ts";
import { record } from "../support/record.ts";
import { json, type ScriptedOrigin, startScriptedOrigin } from "../support/scripted-origin.ts";
import { endStandalone, type Standalone, startStandalone } from "../support/standalone.ts";

/** The base has a prefix of its own, so that nothing may leave it either. */
const BASE = "/behind/api";
const KEY = DEMO.acme.apiKey;

interface Arrived {
  readonly method: string;
  readonly url: string;
  readonly authorization: readonly string[];
}

let origin: ScriptedOrigin;
let gateway: Standalone;
let dataDir: string;
/** What reached the origin, by the mark that each request carries. */
const arrived = new Map<string, Arrived>();
let made = 0;

beforeAll(async () => {
  origin = await startScriptedOrigin();
  origin.answers((request, response) => {
    arrived.set(String(request.headers["x-mark"]), arrivedOf(request));
    json(200, {})(request, response);
  });
  dataDir = mkdtempSync(join(tmpdir(), "one-reading-"));
  const limits = ["--var", "API_LIMIT:1000000", "--var", "MAX_BODY_BYTES:100000"];
  gateway = await startStandalone(dataDir, origin.url + BASE, "--demo", ...limits);
}, 60_000);
afterAll(async () => {
  await endStandalone(gateway);
  await origin.stop();
  rmSync(dataDir, { recursive: true, force: true });
});

function arrivedOf({ method = "", url = "", rawHeaders }: IncomingMessage): Arrived {
  const authorization = rawHeaders.filter(
    (_, i) => rawHeaders[i - 1]?.toLowerCase() === "authorization" && i % 2 === 1,
  );
  return { method, url, authorization };
}

/** Sends the bytes and reads until the other side closes. */
function exchange(bytes: Buffer): Promise<string> {
  const { hostname, port } = new URL(gateway.url);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("close", () => {
      const text = Buffer.concat(chunks).toString("latin1");
      record("response", text.slice(0, 8_192));
      resolve(text);
    });
    socket.on("error", (error: NodeJS.ErrnoException) => error.code !== "ECONNRESET" && reject(error));
    socket.write(bytes);
  });
}

/** Of the final answer: 100 only says that a body may come. */
function statusOf(answer: string): number {
  const final = answer.replace(/^(?:HTTP\/1\.1 100 [^\r]*\r\n\r\n)+/, "");
  return Number(/^HTTP\/1\.1 (\d{3})/.exec(final)?.[1] ?? 0);
}

const segment = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.constantFrom("public", "v1", "posts", "api", "users", "upload", "PUBLIC", "V1", "Posts"),
  },
  {
    weight: 3,
    arbitrary: fc.constantFrom("p%6Fsts", "%70ublic", "v%31", "%2e%2e", ".", "..", "%2E", ".%2e", "..."),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      "%2f",
      "%5c",
      "\\",
      "%252e%252e",
      "%25",
      "%00",
      "%0d%0a",
      ";x=1",
      "%3b",
      "%3f",
      "%23",
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "%c0%af",
      "%e9",
      "%ed%a0%80",
      "é",
      "\u0001",
      "\x7f",
      "%zz",
      "%",
      "a b",
      "_gateway",
      "",
    ),
  },
  { weight: 1, arbitrary: fc.stringMatching(/^[A-Za-z0-9._~%-]{1,12}$/) },
  { weight: 1, arbitrary: fc.constant("x".repeat(16_384)) },
);
const target = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.array(segment, { minLength: 1, maxLength: 6 }).map((parts) => `/${parts.join("/")}`),
  },
  {
    weight: 6,
    arbitrary: fc
      .tuple(
        fc.constantFrom("/public/v1", "/api/public/v1", "//public//v1", "/api//PUBLIC/V1"),
        segment,
        fc.constantFrom("", "/", "?a=/../b", "#f"),
      )
      .map(([base, part, end]) => `${base}/${part}${end}`),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "*",
      "//evil.example/public/v1/posts",
      "http://evil.example/public/v1/posts",
      "/",
      "?x",
      "public/v1/posts",
      "/public/v1/../../admin",
      "/public/v1/..;/admin",
    ),
  },
);
const credential = fc.oneof(
  { weight: 3, arbitrary: fc.constant<readonly string[]>([`Authorization: ${KEY}`]) },
  {
    weight: 1,
    arbitrary: fc.constantFrom<readonly string[]>(
      [],
      [`Authorization: ${KEY}`, `Authorization: ${KEY}`],
      ["Authorization: 0", `Authorization: ${KEY}`],
      [`Authorization: ${KEY},x`],
      [`Authorization: ${KEY} x`],
      [`X-Api-Key: ${KEY}`],
      [`Cookie: auth=${KEY}`],
      [`Authorization: ${KEY}`, "Connection: Authorization"],
      ["Authorization : 0"],
      [`Authorization: Bearer ${KEY}`],
    ),
  },
);
const method = fc.constantFrom(
  "GET",
  "GET",
  "POST",
  "POST",
  "PUT",
  "DELETE",
  "HEAD",
  "PATCH",
  "PROPFIND",
  "OPTIONS",
  "TRACE",
);
const extra = fc.array(
  fc.constantFrom(
    "X-Forwarded-Host: evil.example",
    "X-HTTP-Method-Override: DELETE",
    "X-Original-URL: /admin",
    "X-Rewrite-URL: /admin",
    "Host: other.example",
    "Expect: 100-continue",
    "Transfer-Encoding: chunked",
    "Content-Length: 3",
    "Content-Length: 0",
    "Connection: close, X-Mark",
  ),
  { maxLength: 2 },
);

/** What a path must be for nobody behind the gateway to read it in another way. */
function isUnambiguous(path: string): boolean {
  return (
    !/\/\/|\\|;|%(?:2e|2f|5c|25|00|3b|3f|23)|[^!-~]/i.test(path) &&
    !/(?:^|\/)\.{1,2}(?:\/|$)/.test(path) &&
    new URL(path, "http://h").pathname === path
  );
}

describe("for every byte sequence that a client can send", { timeout: 120_000 }, () => {
  it("the origin receives what was decided on, or nothing", async () => {
    let reached = 0;
    await fc.assert(
      fc.asyncProperty(method, target, credential, extra, async (verb, path, auth, more) => {
        const mark = `m${made++}`;
        const lines = [
          `${verb} ${path} HTTP/1.1`,
          "Host: gw",
          `X-Mark: ${mark}`,
          "Connection: close",
          ...auth,
          ...more,
        ];
        const framed = more.some((line) => /^(?:transfer-encoding|content-length)/i.test(line));
        const answer = await exchange(
          Buffer.from(`${lines.join("\r\n")}\r\n\r\n${framed ? "3\r\nabc\r\n0\r\n\r\n" : ""}`),
        );
        const status = statusOf(answer);
        const sentKey = auth.length === 1 && /^Authorization: (?:Bearer )?[0-9a-f]{64}$/.test(auth[0] ?? "");
        const received = arrived.get(mark);
        // `Connection` may name the mark, which then does not arrive.
        const marked = !more.some((line) => line.includes("X-Mark"));
        expect(status, answer).toBeGreaterThanOrEqual(200);
        expect(status, answer).not.toBe(500);
        if (received === undefined) {
          if (marked) expect(status === 200 && verb !== "OPTIONS", answer).toBe(false);
          return;
        }
        reached++;
        expect(sentKey || auth.includes("Connection: Authorization"), lines.join("\n")).toBe(true);
        expect(received.authorization).toEqual([KEY]);
        expect(received.method).toBe(verb);
        const [receivedPath = ""] = received.url.split("?");
        expect(receivedPath.startsWith(`${BASE}/public/v1`), received.url).toBe(true);
        expect(/^\/public\/v1(?:\/|$)/.test(receivedPath.slice(BASE.length)), received.url).toBe(true);
        expect(isUnambiguous(receivedPath), received.url).toBe(true);
        // The policy that was applied is the one of the path that arrived.
        const policy = /RateLimit: "(\w+)"/i.exec(answer)?.[1];
        const isPost = verb === "POST" && /^\/public\/v1\/posts$/i.test(receivedPath.slice(BASE.length));
        expect(policy, received.url).toBe(isPost ? "posts" : "api");
        if (isPost) expect(receivedPath).toBe(`${BASE}/public/v1/posts`);
      }),
      { numRuns: 3_000 },
    );
    expect(reached).toBeGreaterThan(200);
  });

  it.each([
    ["CONNECT", "CONNECT gw:80 HTTP/1.1\r\nHost: gw\r\n\r\n", 500],
    ["a method that HTTP does not know", "FOO /public/v1/users HTTP/1.1\r\nHost: gw\r\n\r\n", 501],
    ["no Host", `GET /public/v1/users HTTP/1.1\r\nAuthorization: ${KEY}\r\n\r\n`, 400],
    ["NUL in the path", "GET /public/v1/\0 HTTP/1.1\r\nHost: gw\r\n\r\n", 400],
    ["NUL in a header", "GET /public/v1/users HTTP/1.1\r\nHost: gw\r\nX: a\0b\r\n\r\n", 400],
    ["a space in the path", "GET /public/v1/a b HTTP/1.1\r\nHost: gw\r\n\r\n", 400],
    [
      "a space before a colon",
      `GET /public/v1/users HTTP/1.1\r\nHost: gw\r\nAuthorization : ${KEY}\r\n\r\n`,
      400,
    ],
    ["no HTTP at all", "hello\r\n\r\n", 400],
  ])("the runtime itself refuses %s", async (_, bytes, status) => {
    const before = origin.asked.length;
    expect(
      statusOf(await exchange(Buffer.from(bytes.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")))),
    ).toBe(status);
    expect(origin.asked.length).toBe(before);
  });
});
