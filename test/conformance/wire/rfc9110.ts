/** RFC 9110, HTTP semantics: what an intermediary does to messages, and what a server answers. */
import { describe, expect, it } from "vitest";
import { until } from "../../support/poll.ts";
import { PATH, type Stage, statusesIn } from "./stage.ts";

const answer = (head: string, body: string, ...lines: string[]): string =>
  [head, "Connection: close", `Content-Length: ${body.length}`, ...lines, "", body].join("\r\n");

/** What the gateway sets; the client names it in `Connection` to have it removed. */
const SET = [
  "Authorization",
  "Host",
  "Via",
  "X-Request-Id",
  "X-Forwarded-For",
  "X-Forwarded-Host",
  "X-Forwarded-Proto",
  "traceparent",
  "tracestate",
  "Content-Length",
];

export function rfc9110(stage: Stage): void {
  const arrivedHeaders = (): Headers => stage.arrivals[0]?.headers ?? new Headers();

  describe("RFC 9110 §7.6.1, fields of one connection stay on it, on the way to the origin", () => {
    it.each([
      ["what Connection nominates", "X-Hop"],
      ["in any case", "x-HOP"],
      ["among empty elements and white space", ", ,\t X-Hop ,"],
      ["beside what is no field name (§5.6.2)", '"bad", x y, X-Hop'],
      ["in the second of two lines", "keep-alive\r\nConnection: X-Hop"],
    ])("%s", async (_, connection) => {
      const lines = ["Connection: close", `Connection: ${connection}`, "X-Hop: 1", "X-End: 2"];
      await stage.exchange(stage.head(`GET ${PATH} HTTP/1.1`, ...lines));
      const arrived = arrivedHeaders();
      expect([arrived.get("X-Hop"), arrived.get("X-End")]).toEqual([null, "2"]);
    });

    it.each([
      ["Keep-Alive", "timeout=5"],
      ["Proxy-Connection", "keep-alive"],
      ["Proxy-Authorization", "Basic b25lOnR3bw=="],
      ["TE", "trailers"],
      ["Trailer", "X-T"],
      ["Upgrade", "h2c"],
    ])("%s, whether Connection names it or not", async (name, value) => {
      const lines = [`${name}: ${value}`, "Connection: close"];
      expect(statusesIn(await stage.exchange(stage.head(`GET ${PATH} HTTP/1.1`, ...lines)))).toEqual([200]);
      expect(arrivedHeaders().get(name)).toBeNull();
    });

    it("nothing that the gateway sets is nominated away", async () => {
      const traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
      const received = await stage.get(
        [
          ["Connection", SET.join(", ")],
          ["traceparent", traceparent],
          ["tracestate", "foo=1"],
        ],
        { method: "POST", body: "hello", cf: { clientIp: "203.0.113.7:4711" } },
      );
      expect(received.status).toBe(200);
      expect(SET.filter((name) => !arrivedHeaders().has(name))).toEqual([]);
      expect(arrivedHeaders().get("Authorization")).toBe(stage.key);
      expect(stage.arrivals[0]?.body).toBe("hello");
    });
  });

  describe("RFC 9110 §7.6.1, fields of one connection stay on it, on the way to the client", () => {
    it("what the origin's Connection nominates, in any case, among what is no name", async () => {
      const named = 'Connection: x-PRIVATE, , "bad token", x y, Content-Type';
      stage.answers(
        answer("HTTP/1.1 200 OK", "ok", named, "X-Private: 1", "Content-Type: text/plain", "X-End: 2"),
      );
      const { headers } = await stage.get();
      expect([headers.get("X-Private"), headers.get("Content-Type"), headers.get("X-End")]).toEqual([
        null,
        null,
        "2",
      ]);
    });

    it("but nothing that the gateway says itself", async () => {
      const named =
        "Connection: X-Request-Id, RateLimit, RateLimit-Policy, WWW-Authenticate, Vary, Content-Length";
      stage.answers(answer("HTTP/1.1 401 Unauthorized", "ok", named));
      const received = await stage.get([["Origin", "https://app.example"]]);
      const said = ["X-Request-Id", "RateLimit", "RateLimit-Policy", "WWW-Authenticate", "Vary"];
      expect(said.filter((name) => !received.headers.has(name))).toEqual([]);
      expect([received.body, received.cutShort]).toEqual(["ok", false]);
    });

    it.each([
      ["§7.6.1", "Keep-Alive", "timeout=99"],
      ["§7.6.1", "Proxy-Connection", "close"],
      ["§7.6.1", "TE", "trailers"],
      ["§7.8", "Upgrade", "h2c"],
      ["§6.6.2", "Trailer", "X-T"],
      ["§11.7.1", "Proxy-Authenticate", "Basic"],
      ["§11.7.3", "Proxy-Authentication-Info", "nextnonce=1"],
    ])("%s %s", async (_, name, value) => {
      stage.answers(answer("HTTP/1.1 200 OK", "ok", `${name}: ${value}`));
      expect((await stage.get()).headers.get(name)).not.toBe(value);
    });
  });

  describe("RFC 9110 §7.6.2 and §7.6.3, on the way through", () => {
    it.each([
      ["none before", [], "1.1 postiz-gateway"],
      ["one before", ["1.0 fred"], "1.0 fred, 1.1 postiz-gateway"],
      [
        "two lines before",
        ["1.0 fred", "2 p.example (a comment)"],
        "1.0 fred, 2 p.example (a comment), 1.1 postiz-gateway",
      ],
    ])("Via tells of the proxies before, then of this one: %s", async (_, before, via) => {
      await stage.get(before.map((hop) => ["Via", hop] as const));
      expect(arrivedHeaders().get("Via")).toBe(via);
    });

    it("Via that names this one means a loop", async () => {
      expect((await stage.get([["Via", "1.0 fred, 1.1 Postiz-Gateway (x)"]])).status).toBe(508);
      expect((await stage.get([["Via", "1.0 postiz-gateway.example"]])).status).toBe(200);
      expect(stage.arrivals).toHaveLength(1);
    });

    it.each([
      ["OPTIONS", 204],
      ["TRACE", 405],
    ])("Max-Forwards: 0 of %s goes no further", async (method, status) => {
      expect((await stage.get([["Max-Forwards", "0"]], { method })).status).toBe(status);
      expect(stage.arrivals).toEqual([]);
    });
  });

  describe("RFC 9110 §9, methods", () => {
    it("§9.3.2 HEAD: the fields of GET, and no body, though the origin sends one", async () => {
      stage.answers(answer("HTTP/1.1 200 OK", "0123456789", 'ETag: "1"'));
      const [got, head] = [await stage.get(), await stage.get([], { method: "HEAD" })];
      expect([head.status, head.body, head.cutShort]).toEqual([200, "", false]);
      for (const name of ["Content-Length", "ETag"])
        expect(head.headers.get(name)).toBe(got.headers.get(name));
      expect(stage.arrivals.map(({ method }) => method)).toEqual(["GET", "HEAD"]);
    });

    it("§8.6 a length that is none is not handed on, on HEAD either", async () => {
      stage.answers("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\n");
      const received = await stage.get([], { method: "HEAD" });
      expect([received.status, received.headers.get("Content-Length")]).toEqual([200, null]);
      stage.answers("HTTP/1.1 204 No Content\r\nConnection: close\r\nContent-Length: 6\r\n\r\n");
      const empty = await stage.get([], { method: "HEAD" });
      expect([empty.status, empty.headers.get("Content-Length")]).toEqual([204, null]);
    });

    it("§9.3.2 HEAD of a refusal, and of the gateway's own pages", async () => {
      for (const sent of [{ path: PATH }, { path: "/nothing" }, { path: "/_gateway/health" }]) {
        const [got, head] = [
          await stage.gateway.send(sent),
          await stage.gateway.send({ ...sent, method: "HEAD" }),
        ];
        expect([head.status, head.body]).toEqual([got.status, ""]);
        const length = head.headers.get("Content-Length");
        expect([null, String(got.bytes.length)]).toContain(length);
      }
    });

    it.each([
      ["TRACE", PATH, "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"],
      ["POST", "/_gateway/health", "GET, HEAD"],
      ["OPTIONS", "/_gateway/ready", "GET, HEAD"],
      ["DELETE", "/_gateway/errors/flood", "GET, HEAD"],
    ])("§15.5.6 %s %s is 405, with Allow", async (method, path, allow) => {
      const received = await stage.gateway.send({ method, path, authorization: stage.key });
      expect([received.status, received.headers.get("Allow")]).toEqual([405, allow]);
    });

    it("§9.3.7 OPTIONS is 204, without a body and its length (§8.6), and asks nobody", async () => {
      const bytes = await stage.exchange(`OPTIONS ${PATH} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n`);
      expect(bytes).toMatch(/^HTTP\/1\.1 204 /);
      expect(bytes).not.toMatch(/content-length|transfer-encoding/i);
      expect(bytes).toMatch(/\r\n\r\n$/);
    });

    it("§9.1 a method that the gateway has no word on reaches the origin", async () => {
      await stage.get([], { method: "PROPFIND" });
      expect(stage.arrivals.map(({ method }) => method)).toEqual(["PROPFIND"]);
    });
  });

  describe("RFC 9110 §10.1.1, Expect", () => {
    const upload = (...lines: string[]): string =>
      stage.head("POST /public/v1/upload HTTP/1.1", "Content-Length: 5", "Connection: close", ...lines);

    it("100-continue is met here, and does not go on", async () => {
      const line = stage.dial();
      line.write(upload("Expect: 100-continue"));
      await until("the interim answer", () => line.read().includes("HTTP/1.1 100 "));
      expect(stage.arrivals).toEqual([]);
      line.write("hello");
      await until("the answer", () => line.read().endsWith("ok"));
      expect(stage.arrivals.map(({ headers, body }) => [headers.get("Expect"), body])).toEqual([
        [null, "hello"],
      ]);
      line.hangUp();
    });

    it("a refusal does not wait for the body", async () => {
      const line = stage.dial();
      line.write(
        "POST /public/v1/upload HTTP/1.1\r\nHost: gw\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
      );
      await until("the refusal", () => line.read().endsWith('{"msg":"Invalid API key"}'));
      line.hangUp();
    });

    it("an expectation that nobody knows does not go on either", async () => {
      expect(statusesIn(await stage.exchange(`${upload("Expect: a-miracle")}hello`))).toEqual([200]);
      expect(arrivedHeaders().get("Expect")).toBeNull();
    });
  });

  describe("RFC 9110 §15, answers of the origin's without a body have none here", () => {
    it.each([
      ["§15.3.5", 204, 'HTTP/1.1 204 No Content\r\nConnection: close\r\nETag: "1"\r\n\r\n'],
      ["§15.3.5, though a body follows,", 204, answer("HTTP/1.1 204 No Content", "smuggled", 'ETag: "1"')],
      ["§15.3.6", 205, answer("HTTP/1.1 205 Reset Content", "", 'ETag: "1"')],
      [
        "§15.4.5",
        304,
        'HTTP/1.1 304 Not Modified\r\nConnection: close\r\nETag: "1"\r\nContent-Length: 1234\r\n\r\n',
      ],
    ])("%s %i", async (_, status, bytes) => {
      stage.answers(bytes);
      const received = await stage.get();
      expect([received.status, received.body, received.headers.get("ETag")]).toEqual([status, "", '"1"']);
      if (status === 204) expect(received.headers.get("Content-Length")).toBeNull();
      expect(await stage.gateway.eventOf(received)).toMatchObject({
        status,
        outcome: "forwarded",
        bytesOut: 0,
      });
    });

    it.each([
      ["§15.2.1 100", "HTTP/1.1 100 Continue\r\n\r\n"],
      ["RFC 8297 103", "HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"],
    ])("%s before the answer is not the answer", async (_, interim) => {
      stage.answers(interim + answer("HTTP/1.1 200 OK", "ok"));
      expect(await stage.get()).toMatchObject({ status: 200, body: "ok" });
    });

    it("§15 a status that nobody knows goes back as it is, its reason too", async () => {
      stage.answers(answer("HTTP/1.1 299 Quite Good", "ok"));
      expect(await stage.exchange(stage.head(`GET ${PATH} HTTP/1.1`, "Connection: close"))).toMatch(
        /^HTTP\/1\.1 299 Quite Good\r\n/,
      );
    });

    it("§11.6.1 a 401 of the origin's gains a challenge, and keeps its words", async () => {
      stage.answers(
        answer("HTTP/1.1 401 Unauthorized", '{"msg":"Channel disconnected due to expired token"}'),
      );
      const received = await stage.get();
      expect(received.headers.get("WWW-Authenticate")).toBe('Bearer realm="Postiz API"');
      expect(received.body).toContain("Channel disconnected");
    });
  });
}
