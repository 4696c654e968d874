/**
 * RFC 9111, caching: an answer to one client is nobody else's, whatever the origin says, and what a client's own cache
 * needs goes through unharmed. `http-cache-semantics` says what a shared cache in front of the gateway may keep.
 */
import CachePolicy from "http-cache-semantics";
import { describe, expect, it } from "vitest";
import type { Received } from "../../support/http.ts";
import { PATH, type Stage } from "./stage.ts";

function isStorable(key: string, { status, headers }: Received): boolean {
  const request = { url: PATH, method: "GET", headers: { authorization: key } };
  return new CachePolicy(
    request,
    { status, headers: Object.fromEntries(headers) },
    { shared: true },
  ).storable();
}

const PERMISSIONS: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
  ["§5.2.2.9 public", { "Cache-Control": "public, max-age=3600" }],
  ["§5.2.2.10 s-maxage", { "Cache-Control": "s-maxage=3600" }],
  ["§5.2.2.2 must-revalidate", { "Cache-Control": "max-age=3600, must-revalidate" }],
  ["§5.2.2.7 private of one field only", { "Cache-Control": 'public, max-age=3600, private="Set-Cookie"' }],
  ["§5.2 a directive that looks like another", { "Cache-Control": 'public, max-age=3600, x=", private,"' }],
  ["§5.3 Expires", { "Cache-Control": "public", Expires: "Fri, 01 Jan 2100 00:00:00 GMT" }],
  ["§4.1 Vary of something else", { "Cache-Control": "public, max-age=3600", Vary: "Accept" }],
];

export function rfc9111(stage: Stage): void {
  /** Counts its answers, so that none of them could be another. */
  function counts(fields: Readonly<Record<string, string>>, status = 200): void {
    let count = 0;
    stage.answers((_, response) => {
      response.writeHead(status, { ...fields, ETag: '"same"', Connection: "close" });
      response.end(`answer ${++count}`);
    });
  }

  describe("RFC 9111 §3.5, an answer to one client is never another's", () => {
    it.each(PERMISSIONS)("%s: each request reaches the origin, also the same client's", async (_, fields) => {
      counts(fields);
      const bodies: string[] = [];
      for (const authorization of [stage.key, stage.otherKey, stage.key])
        bodies.push((await stage.get([], { authorization })).body);
      expect(bodies).toEqual(["answer 1", "answer 2", "answer 3"]);
      expect(stage.arrivals.map(({ headers }) => headers.get("Authorization"))).toEqual([
        stage.key,
        stage.otherKey,
        stage.key,
      ]);
    });

    it.each(PERMISSIONS)("%s: nor may a shared cache in front of the gateway keep it", async (_, fields) => {
      counts(fields);
      const received = await stage.get();
      expect(isStorable(stage.key, received)).toBe(false);
      // The checker can tell: without the gateway's word it might.
      const headers = new Headers({ ...fields, ETag: '"same"' });
      expect(isStorable(stage.key, { ...received, headers })).toBe(
        fields["Cache-Control"]?.includes("private") !== true,
      );
    });

    it.each<[string, Readonly<Record<string, string>>]>([
      ["§5.3 Expires alone", { Expires: "Fri, 01 Jan 2100 00:00:00 GMT" }],
      ["§4.2.2 nothing", {}],
      ["§5.2 an empty Cache-Control", { "Cache-Control": "" }],
      [
        "RFC 9110 §7.6.1 a Cache-Control of the connection's",
        { "Cache-Control": "public", Connection: "Cache-Control" },
      ],
    ])("%s: it is private, also to caches that don't care whose it is", async (_, fields) => {
      stage.answers((_, response) => {
        response.writeHead(200, { ...fields, ETag: '"same"' });
        response.end();
      });
      expect((await stage.get()).headers.get("Cache-Control")).toBe("private");
    });

    it.each([
      "CDN-Cache-Control",
      "Cloudflare-CDN-Cache-Control",
      "Vercel-CDN-Cache-Control",
      "Netlify-CDN-Cache-Control",
      "Akamai-Cache-Control",
      "Surrogate-Control",
      "Edge-Control",
      "X-Accel-Expires",
    ])("RFC 9213: %s, which such a cache heeds first, does not reach it", async (name) => {
      counts({ [name]: "public, max-age=3600" });
      expect((await stage.get()).headers.has(name)).toBe(false);
    });

    it.each(["/public/v1/logo.png", "/public/v1/app.js?v=1", "/public/v1/posts/a.css"])(
      "§4 a path that looks static, %s, is like any other",
      async (path) => {
        counts({ "Cache-Control": "public, max-age=31536000, immutable", "Content-Type": "image/png" });
        expect((await stage.get([], { path })).body).toBe("answer 1");
        expect((await stage.get([], { path, authorization: stage.otherKey })).body).toBe("answer 2");
        expect((await stage.gateway.send({ path })).status).toBe(401);
      },
    );

    it("§4.3.3 a 304 to one client gives another no body", async () => {
      stage.answers((request, response) => {
        const isFresh = request.headers["if-none-match"] === '"v1"';
        response.writeHead(isFresh ? 304 : 200, {
          ETag: '"v1"',
          "Cache-Control": "public",
          Connection: "close",
        });
        response.end(isFresh ? "" : `for ${request.headers.authorization === stage.key ? "one" : "other"}`);
      });
      expect(await stage.get()).toMatchObject({ status: 200, body: "for one" });
      expect(await stage.get([["If-None-Match", '"v1"']])).toMatchObject({ status: 304, body: "" });
      const other = await stage.get([], { authorization: stage.otherKey });
      expect(other).toMatchObject({ status: 200, body: "for other" });
      const revalidated = await stage.get([["If-None-Match", '"v1"']], { authorization: stage.otherKey });
      expect(isStorable(stage.otherKey, revalidated)).toBe(false);
    });

    it("§5.2.2.5 refusals are not to be stored at all", async () => {
      for (const sent of [{ path: PATH }, { path: "/nothing" }, { path: "/_gateway/health" }])
        expect((await stage.gateway.send(sent)).headers.get("Cache-Control")).toBe("no-store");
    });
  });

  describe("RFC 9111, what a client's own cache needs goes through unharmed", () => {
    it.each([
      ["§5.1 Age", "Age", "17"],
      ["RFC 9110 §8.8.3 ETag", "ETag", 'W/"x"'],
      ["RFC 9110 §8.8.2 Last-Modified", "Last-Modified", "Wed, 21 Oct 2015 07:28:00 GMT"],
      ["§5.3 Expires", "Expires", "0"],
      ["§5.2 Cache-Control of one client's", "Cache-Control", "private, max-age=60"],
      ["§5.2 Cache-Control of nobody's", "Cache-Control", "no-store"],
      ["RFC 9211 Cache-Status", "Cache-Status", "inner; hit"],
      ["RFC 9110 §6.6.1 Date", "Date", "Wed, 21 Oct 2015 07:28:00 GMT"],
      ["RFC 9110 §14.3 Accept-Ranges", "Accept-Ranges", "bytes"],
    ])("%s", async (_, name, value) => {
      counts({ [name]: value });
      const { headers } = await stage.get();
      expect(headers.get(name)).toBe(name === "ETag" ? '"same"' : value);
    });

    it("§5.2 Cache-Control keeps what else it says", async () => {
      counts({ "Cache-Control": "public, max-age=60" });
      expect((await stage.get()).headers.get("Cache-Control")).toBe("public, max-age=60, private");
    });

    it.each([
      ["RFC 9110 §13.1.1", "If-Match", '"a"'],
      ["RFC 9110 §13.1.2", "If-None-Match", 'W/"a", "b"'],
      ["RFC 9110 §13.1.3", "If-Modified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"],
      ["RFC 9110 §13.1.4", "If-Unmodified-Since", "Wed, 21 Oct 2015 07:28:00 GMT"],
      ["RFC 9110 §13.1.5", "If-Range", '"a"'],
      ["RFC 9110 §14.2", "Range", "bytes=0-4,10-"],
      ["§5.2.1", "Cache-Control", "max-age=0"],
    ])("%s %s reaches the origin", async (_, name, value) => {
      await stage.get([[name, value]]);
      expect(stage.arrivals[0]?.headers.get(name)).toBe(value);
    });

    it("RFC 9110 §15.3.7 and §15.5.17: parts, and ranges that can't be had", async () => {
      const part =
        "HTTP/1.1 206 Partial Content\r\nConnection: close\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\n234";
      stage.answers(part);
      const received = await stage.get([["Range", "bytes=2-4"]]);
      expect([received.status, received.body, received.headers.get("Content-Range")]).toEqual([
        206,
        "234",
        "bytes 2-4/10",
      ]);
      stage.answers(
        "HTTP/1.1 416 Range Not Satisfiable\r\nConnection: close\r\nContent-Range: bytes */10\r\nContent-Length: 0\r\n\r\n",
      );
      const none = await stage.get([["Range", "bytes=20-"]]);
      expect([none.status, none.headers.get("Content-Range")]).toEqual([416, "bytes */10"]);
    });

    it("RFC 9110 §15.5.13: 412 goes back as it is", async () => {
      counts({}, 412);
      expect((await stage.get([["If-Match", '"z"']])).status).toBe(412);
    });
  });
}
