/** RFC 9112, HTTP/1.1: every message has one framing, in both directions, and nothing is smuggled past it. */
import { describe, expect, it } from "vitest";
import { until } from "../../support/poll.ts";
import { PATH, type Stage, statusesIn } from "./stage.ts";

const UPLOAD = "POST /public/v1/upload HTTP/1.1";
const CLOSE = "Connection: close";
const CHUNKED = "5\r\nhello\r\n0\r\n\r\n";
const SECOND = "GET /public/v1/smuggled HTTP/1.1\r\nHost: gw\r\n\r\n";

export function rfc9112(stage: Stage): void {
  const upload = (...lines: string[]): string => stage.head(UPLOAD, ...lines, "Connection: close");

  describe("RFC 9112, a request's body that is framed once arrives framed once", () => {
    it.each([
      ["§6.2 by its length", ["Content-Length: 5"], "hello"],
      ["§6.2 by its length, white space around it", ["Content-Length: \t5 "], "hello"],
      ["§6.3 by one length, said twice", ["Content-Length: 5", "Content-Length: 5"], "hello"],
      ["§7.1 in chunks", ["Transfer-Encoding: chunked"], CHUNKED],
      ["§7 in chunks, the coding in any case", ["Transfer-Encoding: CHUNKED"], CHUNKED],
      [
        "§7.1 in chunks, the size in any case",
        ["Transfer-Encoding: chunked"],
        `A\r\nhellohello\r\n0\r\n\r\n`,
      ],
      [
        "§7.1.1 with a chunk extension, which stays behind",
        ["Transfer-Encoding: chunked"],
        "5;x=1\r\nhello\r\n0\r\n\r\n",
      ],
      [
        "§7.1.2 with trailer fields, which stay behind",
        ["Transfer-Encoding: chunked"],
        "5\r\nhello\r\n0\r\nAuthorization: evil\r\nX-T: 1\r\n\r\n",
      ],
    ])("%s", async (_, lines, body) => {
      expect(statusesIn(await stage.exchange(upload(...lines) + body))).toEqual([200]);
      expect(stage.arrivals.map((arrival) => arrival.body)).toEqual([
        body.includes("hellohello") ? "hellohello" : "hello",
      ]);
      const { headers } = stage.arrivals[0] ?? { headers: new Headers() };
      const framing = [headers.get("Content-Length"), headers.get("Transfer-Encoding")];
      expect(framing).toEqual(lines[0]?.startsWith("Transfer") ? [null, "chunked"] : ["5", null]);
      expect([headers.get("Authorization"), headers.get("X-T")]).toEqual([stage.key, null]);
    });

    it("§6.1 by length and chunks: the chunks count, the length does not go on, the connection ends", async () => {
      const bytes = stage.head(UPLOAD, "Content-Length: 3", "Transfer-Encoding: chunked") + CHUNKED + SECOND;
      expect(statusesIn(await stage.exchange(bytes))).toEqual([200]);
      expect(stage.arrivals.map(({ headers, body }) => [headers.get("Content-Length"), body])).toEqual([
        [null, "hello"],
      ]);
    });

    it("§6.3 a request inside a body is a body", async () => {
      const bytes = upload(`Content-Length: ${SECOND.length}`) + SECOND;
      expect(statusesIn(await stage.exchange(bytes))).toEqual([200]);
      expect(stage.arrivals.map(({ url, body }) => [url, body])).toEqual([["/public/v1/upload", SECOND]]);
    });
  });

  describe("RFC 9112, a request that could be framed in two ways is refused, and what follows it is not read", () => {
    it.each([
      ["§6.3 two lengths", ["Content-Length: 5", "Content-Length: 6"], "hello!"],
      ["§6.3 a list of lengths", ["Content-Length: 5, 5"], "hello"],
      ["§6.2 a length with a sign", ["Content-Length: +5"], "hello"],
      ["§6.2 a negative length", ["Content-Length: -5"], "hello"],
      ["§6.2 a hexadecimal length", ["Content-Length: 0x5"], "hello"],
      ["§6.2 an empty length", ["Content-Length:"], "hello"],
      ["§6.1 chunked, but not at the end", ["Transfer-Encoding: chunked, gzip"], CHUNKED],
      ["§6.1 a coding that does not exist", ["Transfer-Encoding: xchunked"], CHUNKED],
      [
        "§6.1 identity, which is no coding any more",
        ["Transfer-Encoding: identity", "Content-Length: 5"],
        "hello",
      ],
      ["§6.1 a coding behind a vertical tab", ["Transfer-Encoding: \vchunked"], CHUNKED],
      ["§5.1 white space before a colon", ["Transfer-Encoding : chunked", "Content-Length: 5"], "hello"],
      ["§5.2 a folded line", ["X-A: 1", " folded", "Content-Length: 5"], "hello"],
      ["§5.1 a field without a name", [": x", "Content-Length: 5"], "hello"],
      ["§2.2 a bare CR in a field", ["X-A: 1\rContent-Length: 5"], "hello"],
      ["§7.1 a chunk size that is no number", ["Transfer-Encoding: chunked"], "zz\r\nhello\r\n0\r\n\r\n"],
      [
        "§7.1 a chunk size that overflows",
        ["Transfer-Encoding: chunked"],
        "fffffffffffffffff5\r\nhello\r\n0\r\n\r\n",
      ],
      ["§7.1 a chunk longer than its size", ["Transfer-Encoding: chunked"], "5\r\nhelloX0\r\n\r\n"],
      [
        "§7.1.1 an extension that ends with a bare LF",
        ["Transfer-Encoding: chunked"],
        "5;a\nhello\r\n0\r\n\r\n",
      ],
    ])("%s", async (_, lines, body) => {
      const answer = await stage.exchange(stage.head(UPLOAD, ...lines) + body + SECOND);
      expect(statusesIn(answer)).toEqual([400]);
      expect(stage.arrivals).toEqual([]);
    });

    it.each([
      ["§6.1 chunked twice", UPLOAD, ["Transfer-Encoding: chunked", "Transfer-Encoding: chunked", CLOSE]],
      ["§6.1 a coding that is not known", UPLOAD, ["Transfer-Encoding: gzip, chunked", CLOSE]],
      ["§6.1 chunks under HTTP/1.0", "POST /public/v1/upload HTTP/1.0", ["Transfer-Encoding: chunked"]],
      ["§2.3 a version that is not spoken here", `GET ${PATH} HTTP/2.0`, []],
      ["§3 no version", `GET ${PATH}`, []],
      ["§3 a request line with a space too many", `GET ${PATH} x HTTP/1.1`, []],
    ])("%s", async (_, requestLine, lines) => {
      const answer = await stage.exchange(stage.head(requestLine, ...lines) + CHUNKED + SECOND);
      expect(statusesIn(answer)).toEqual([400]);
      expect(stage.arrivals).toEqual([]);
    });
  });

  describe("RFC 9112 §9, the connection", () => {
    it("§9.3 an early refusal leaves it usable: the body is read to its end, and the next request is the next request", async () => {
      const line = stage.dial();
      line.write(`${UPLOAD}\r\nHost: gw\r\nContent-Length: ${SECOND.length}\r\n\r\n`);
      await until("the refusal", () => line.read().endsWith('{"msg":"Invalid API key"}'));
      line.write(SECOND);
      line.write(stage.head(`GET ${PATH} HTTP/1.1`));
      await until("the next answer", () => line.read().endsWith("ok"));
      expect(statusesIn(line.read())).toEqual([401, 200]);
      expect(stage.arrivals.map(({ url }) => url)).toEqual([PATH]);
      line.hangUp();
    });

    it("§9.3.2 requests that come without waiting are answered in their order", async () => {
      const bytes = `GET /nothing HTTP/1.1\r\nHost: gw\r\n\r\n${upload("Content-Length: 5")}hello`;
      expect(statusesIn(await stage.exchange(bytes))).toEqual([404, 200]);
    });

    it("§9.6 one that the client wants closed is closed, and a Connection field of the origin's is not the client's", async () => {
      expect(await stage.exchange(stage.head(`GET ${PATH} HTTP/1.1`, "Connection: close"))).toMatch(
        /\r\nConnection: close\r\n/,
      );
      const line = stage.dial();
      line.write(stage.head(`GET ${PATH} HTTP/1.1`));
      await until("the answer", () => line.read().endsWith("ok"));
      // The stand-in closes its own each time.
      expect(line.read()).not.toMatch(/\r\nConnection:/i);
      line.hangUp();
    });

    it("§3.2.2 a request in absolute form is for the host in Host, as far as the runtime lets see", async () => {
      await stage.exchange(stage.head(`GET http://elsewhere.example${PATH} HTTP/1.1`, "Connection: close"));
      expect(stage.arrivals.map(({ url, headers }) => [url, headers.get("X-Forwarded-Host")])).toEqual([
        [PATH, "gw"],
      ]);
    });
  });

  describe("RFC 9112, an answer of the origin's is framed once, or is none", () => {
    const answer = (...lines: string[]): string =>
      ["HTTP/1.1 200 OK", "Connection: close", ...lines].join("\r\n");

    it.each([
      ["§6.3 a length", answer("Content-Length: 2", "", "ok"), "ok"],
      ["§6.3 a length, said twice", answer("Content-Length: 2", "Content-Length: 2", "", "ok"), "ok"],
      ["§7.1 chunks", answer("Transfer-Encoding: chunked", "", "2", "ok", "0", "", ""), "ok"],
      [
        "§6.3 chunks and a length: the chunks",
        answer("Content-Length: 9", "Transfer-Encoding: chunked", "", "2", "ok", "0", "", ""),
        "ok",
      ],
      ["§6.3 up to the connection's end", answer("", "until the end"), "until the end"],
      [
        "§7.1.2 trailer fields, which stay behind",
        answer("Transfer-Encoding: chunked", "Trailer: X-T", "", "2", "ok", "0", "X-T: 1", "", ""),
        "ok",
      ],
      [
        "§6.3 more than its length: no more than that",
        answer("Content-Length: 2", "", `ok${answer("Content-Length: 6", "", "secret")}`),
        "ok",
      ],
      ["§2.3 of HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", "ok"],
    ])("%s", async (_, bytes, body) => {
      stage.answers(bytes);
      const received = await stage.get();
      expect([received.status, received.body, received.cutShort]).toEqual([200, body, false]);
      const names = received.rawHeaders.filter((_name, i) => i % 2 === 0).map((name) => name.toLowerCase());
      expect(names.filter((name) => name === "content-length" || name === "transfer-encoding")).toHaveLength(
        1,
      );
      expect([received.headers.get("X-T"), received.headers.get("Trailer")]).toEqual([null, null]);
      stage.answers(answer("Content-Length: 4", "", "next"));
      expect((await stage.get()).body).toBe("next");
    });

    it.each([
      ["§6.3 two lengths", answer("Content-Length: 2", "Content-Length: 3", "", "okx")],
      ["§6.2 a length that is no number", answer("Content-Length: two", "", "ok")],
      ["§6.1 a coding that is not known", answer("Transfer-Encoding: gzip", "", "ok")],
      ["§5.1 NUL in a field", answer("X-A: a\0b", "Content-Length: 2", "", "ok")],
      ["§4 no status", "HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok"],
      ["§2.3 another protocol", "ICY 200 OK\r\nContent-Length: 2\r\n\r\nok"],
    ])("%s: 502", async (_, bytes) => {
      stage.answers(bytes);
      expect((await stage.get()).status).toBe(502);
    });

    it.each([
      ["§8 shorter than its length", answer("Content-Length: 20", "", "half")],
      ["§8 without its last chunk", answer("Transfer-Encoding: chunked", "", "4", "half", "")],
      ["§7.1 with a broken chunk", answer("Transfer-Encoding: chunked", "", "4", "half", "zz", "")],
    ])("%s: broken off, so that it does not look whole", async (_, bytes) => {
      stage.answers(bytes);
      expect(await stage.get()).toMatchObject({ body: "half", cutShort: true });
    });
  });
}
