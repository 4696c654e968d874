import ipaddr from "ipaddr.js";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { type Config, readConfig } from "../../src/config.ts";
import type { Env } from "../../src/env.ts";
import { TimeoutError, within } from "../../src/timeout.ts";
import { clientOf, type Networks } from "../../src/upstream/client-address.ts";
import { bodyOf, lengthOf, readBody } from "../../src/upstream/request-body.ts";
import {
  hasPassedHere,
  type Identity,
  nominatedBy,
  originHeaders,
} from "../../src/upstream/request-headers.ts";
import { Stopwatch } from "../../src/upstream/stopwatch.ts";
import { denialOf, passed, reasonOf } from "./result.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";
const STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";

describe("fields for the origin", () => {
  const identity: Identity = {
    authorization: "raw-key",
    clientAddress: "192.0.2.7",
    protocol: "https",
    host: "gateway.test",
    requestId: "request-1",
    traceparent: `00-${TRACE}-${PARENT}-01`,
    tracestate: null,
    access: null,
  };
  const SPOKEN = {
    authorization: "raw-key",
    traceparent: `00-${TRACE}-${PARENT}-01`,
    via: "1.1 postiz-gateway",
    "x-forwarded-for": "192.0.2.7",
    "x-forwarded-host": "gateway.test",
    "x-forwarded-proto": "https",
    "x-request-id": "request-1",
  };
  const sent = (incoming: Record<string, string>, as: Partial<Identity> = {}) =>
    Object.fromEntries(originHeaders(new Headers(incoming), { ...identity, ...as }));

  it("are what the gateway says, where the client says nothing", () => {
    expect(sent({})).toEqual(SPOKEN);
  });

  it.each([
    "Connection",
    "Keep-Alive",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Expect",
    "Host",
    "Content-Length",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Proxy-Anything",
    "Forwarded",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
    "X-Forwarded-Port",
    "X-Forwarded-Prefix",
    "X-Forwarded-Anything",
    "X-Real-IP",
    "True-Client-IP",
    "Fastly-Client-IP",
    "X-Appengine-User-IP",
    "X-Envoy-External-Address",
    "X-ProxyUser-IP",
    "X-URL-Scheme",
    "Front-End-HTTPS",
    "CF-Connecting-IP",
    "CF-IPCountry",
    "CF-Access-Client-Id",
    "CF-Access-Client-Secret",
    "CF-Anything",
    "X-Original-URL",
    "X-Original-Host",
    "X-Rewrite-URL",
    "X-HTTP-Method-Override",
    "X-Postiz-Gateway-Principal",
    "X-Request-Id",
    "traceparent",
    "tracestate",
  ])("a client's own %s never arrives, nor any spelling of it with underscores or dots", (name) => {
    const others = [name.replaceAll("-", "_"), name.replace("-", "_"), name.replaceAll("-", ".")];
    const spellings = [name, name.toUpperCase(), ...others];
    for (const spelling of spellings) expect(sent({ [spelling]: "forged" })).toEqual(SPOKEN);
  });

  it.each([
    ["Accept", "application/json"],
    ["Accept-Encoding", "gzip"],
    ["Content-Type", "multipart/form-data; boundary=x"],
    ["Cookie", "a=1; b=2"],
    ["Range", "bytes=0-9"],
    ["User-Agent", "postiz/2.1.0"],
    ["If-None-Match", '"x"'],
    ["Idempotency-Key", "k"],
    ["X-Custom_Field", "v"],
    ["Forwarded-By", "v"],
    ["CFX", "v"],
  ])("a client's %s arrives as it came", (name, value) => {
    expect(sent({ [name]: value })).toEqual({ ...SPOKEN, [name.toLowerCase()]: value });
  });

  it("what Connection nominates stays on this connection, in any case and with any white space", () => {
    const incoming = { Connection: "close ,\tX-Hop,, x-other", "X-Hop": "1", "X-OTHER": "2", "X-End": "3" };
    expect(sent(incoming)).toEqual({ ...SPOKEN, "x-end": "3" });
  });

  it("Connection can't nominate away what the gateway says", () => {
    const all = Object.keys(SPOKEN).join(", ");
    expect(sent({ Connection: all, Authorization: "Bearer raw-key" })).toEqual(SPOKEN);
  });

  it("the credential arrives raw, whatever the client wrote before it", () => {
    expect(sent({ Authorization: "Bearer raw-key" })).toEqual(SPOKEN);
  });

  it("without a credential to set, the client's own stays", () => {
    const headers = sent({ Authorization: "Basic abc" }, { authorization: null });
    expect(headers["authorization"]).toBe("Basic abc");
  });

  it("X-Forwarded-For holds exactly one address, or none where the client's is not known", () => {
    const forged = { "X-Forwarded-For": "203.0.113.9, 10.0.0.1" };
    expect(sent(forged)["x-forwarded-for"]).toBe("192.0.2.7");
    expect(sent(forged, { clientAddress: null })).not.toHaveProperty("x-forwarded-for");
  });

  it("an origin behind Cloudflare Access gets the gateway's service token, not the client's", () => {
    const forged = { "CF-Access-Client-Id": "forged", "CF-Access-Client-Secret": "forged" };
    expect(sent(forged, { access: { clientId: "id", clientSecret: "secret" } })).toEqual({
      ...SPOKEN,
      "cf-access-client-id": "id",
      "cf-access-client-secret": "secret",
    });
  });

  it("the trace goes on as the gateway has it", () => {
    expect(sent({ tracestate: "forged=1" }, { tracestate: STATE })["tracestate"]).toBe(STATE);
  });

  it("Via tells of the proxies before, then of this one", () => {
    expect(sent({ Via: "1.0 fred, 2 p.example" })["via"]).toBe("1.0 fred, 2 p.example, 1.1 postiz-gateway");
  });

  it("several values of one field stay apart in their order", () => {
    const incoming = new Headers([
      ["X-List", "a"],
      ["X-List", "b"],
    ]);
    expect(originHeaders(incoming, identity).get("x-list")).toBe("a, b");
  });

  it("nothing is nominated without Connection", () => {
    expect([...nominatedBy(new Headers())]).toEqual([]);
  });
});

describe("a request that goes in circles", () => {
  it.each([
    "1.1 postiz-gateway",
    "1.0 fred, 1.1 postiz-gateway",
    "1.1 postiz-gateway, 1.1 fred",
    "1.1 Postiz-Gateway",
    "HTTP/1.1 postiz-gateway (a comment)",
    "1.1   postiz-gateway",
    "1.1 postiz-gateway,1.1 postiz-gateway",
  ])("is known by Via: %s", (via) => {
    expect(hasPassedHere(new Headers({ Via: via }))).toBe(true);
  });

  it.each([
    "1.1 fred",
    "1.1 postiz-gateway2",
    "1.1 my-postiz-gateway",
    "1.1 postiz-gateway.example.com",
    "postiz-gateway",
    "1.1 fred (postiz-gateway)",
    "",
  ])("is not seen in Via: %s", (via) => {
    expect(hasPassedHere(new Headers({ Via: via }))).toBe(false);
  });

  it("nor where there is no Via", () => {
    expect(hasPassedHere(new Headers())).toBe(false);
  });
});

describe("the client's address", () => {
  const requestWith = (cf: unknown, headers: Record<string, string> = {}): Request => {
    const request = new Request("http://gateway.test/", { headers });
    Object.defineProperty(request, "cf", { value: cf });
    return request;
  };
  const forged = {
    "CF-Connecting-IP": "203.0.113.9",
    "X-Forwarded-For": "203.0.113.9",
    "X-Real-IP": "203.0.113.9",
  };

  it.each([
    ["192.0.2.7:55123", "192.0.2.7"],
    ["[2001:db8::7]:55123", "2001:db8::7"],
    ["[::1]:8", "::1"],
    ["192.0.2.7", "192.0.2.7"],
  ])("on plain workerd is the peer %s, whatever the client's headers say", (clientIp, address) => {
    expect(clientOf(requestWith({ clientIp }, forged), []).address).toBe(address);
  });

  it.each([
    ["127.0.0.1:5", "198.51.100.1", "198.51.100.1", "behind one proxy"],
    ["127.0.0.1:5", "6.6.6.6, 198.51.100.1", "198.51.100.1", "whatever the client has written before it"],
    ["127.0.0.1:5", "198.51.100.1, 10.1.2.3", "198.51.100.1", "behind two"],
    [
      "127.0.0.1:5",
      "6.6.6.6, 10.9.9.9, 198.51.100.1, 10.1.2.3",
      "198.51.100.1",
      "not what looks like a proxy further out",
    ],
    ["198.51.100.1:5", "6.6.6.6", "198.51.100.1", "not the header of one that is no proxy"],
    ["[::1]:5", "2001:db8::9", "2001:db8::9", "over IPv6"],
    ["[::ffff:127.0.0.1]:5", "198.51.100.1", "198.51.100.1", "over IPv4 in IPv6"],
    ["127.0.0.1:5", "", "127.0.0.1", "the proxy itself, where it says nothing"],
    ["127.0.0.1:5", "junk", "127.0.0.1", "the proxy itself, where it says nothing that is an address"],
    ["127.0.0.1:5", "10.1.2.3", "10.1.2.3", "the outermost proxy, where nobody else is named"],
  ])("from the trusted proxy %s with X-Forwarded-For %j is %s: %s", (clientIp, forwarded, address) => {
    const { config } = readConfig({
      ...{ CREDENTIALS: {}, INTROSPECTION: {}, TENANT_AUTHORITY: {}, DIRECTORY: {}, ORIGIN_URL: "http://o" },
      TRUSTED_PROXIES: "127.0.0.1, ::1, 10.0.0.0/8",
    } as unknown as Env) as { config: Config };
    const request = requestWith({ clientIp }, forwarded === "" ? {} : { "X-Forwarded-For": forwarded });
    expect(clientOf(request, config.trustedProxies).address).toBe(address);
  });

  it.each([
    ["127.0.0.1:5", "https", "https"],
    ["127.0.0.1:5", "HTTP", "http"],
    ["127.0.0.1:5", "https, http", "https"],
    ["127.0.0.1:5", "gopher", null],
    ["127.0.0.1:5", "", null],
    ["198.51.100.1:5", "https", null],
  ])(
    "how it connected is what a trusted proxy says: %s with X-Forwarded-Proto %j: %s",
    (clientIp, said, protocol) => {
      const trusted: Networks = [[ipaddr.parse("127.0.0.1"), 32]];
      const request = requestWith({ clientIp }, said === "" ? {} : { "X-Forwarded-Proto": said });
      expect(clientOf(request, trusted).protocol).toBe(protocol);
    },
  );

  it("on Cloudflare is CF-Connecting-IP, which the platform sets", () => {
    expect(clientOf(requestWith({ country: "DE" }, forged), []).address).toBe("203.0.113.9");
    expect(clientOf(requestWith({ country: "DE" }), []).address).toBeNull();
  });

  it("is not known where the platform does not tell: a header proves nothing there", () => {
    expect(clientOf(requestWith(undefined, forged), []).address).toBeNull();
  });
});

describe("the request's body", () => {
  const stream = (): ReadableStream<Uint8Array> => new ReadableStream();
  const requestOf = (method: string, headers: Record<string, string>, body: ReadableStream | null = null) => {
    const request = { method, headers: new Headers(headers), body } as unknown as Request;
    return { request, body: bodyOf(request) };
  };

  it.each([
    ["GET", {}],
    ["HEAD", {}],
    ["GET", { "Content-Length": "0" }],
    ["POST", {}],
    ["DELETE", {}],
  ])("%s without one is passed on without one", (method, headers) => {
    expect(passed(readBody(requestOf(method, headers), 0))).toBeNull();
  });

  it.each([
    ["GET", { "Content-Length": "1" }],
    ["HEAD", { "Content-Length": "1" }],
    ["GET", { "Transfer-Encoding": "chunked" }],
    ["HEAD", { "Transfer-Encoding": "chunked" }],
  ])("%s with one is malformed", (method, headers) => {
    expect(reasonOf(readBody(requestOf(method, headers, stream()), 0))).toBe("request_malformed");
  });

  it("is not held, and has the length it announces", () => {
    const body = stream();
    const announced = passed(readBody(requestOf("POST", { "Content-Length": "7" }, body), 0));
    expect([announced?.stream, announced?.length]).toEqual([body, 7]);
    const chunked = passed(readBody(requestOf("POST", {}, body), 0));
    expect([chunked?.stream, chunked?.length]).toEqual([body, null]);
  });

  it("is refused by its announced length, one byte over MAX_BODY_BYTES and not before", () => {
    const announcing = (length: string) =>
      readBody(requestOf("POST", { "Content-Length": length }, stream()), 100);
    expect(reasonOf(announcing("100"))).toBe("passed");
    expect(denialOf(announcing("101"))).toMatchObject({ reason: "body_too_large" });
    expect(reasonOf(readBody(requestOf("POST", { "Content-Length": "101" }, stream()), 0))).toBe("passed");
  });

  it.each([
    ["12", 12],
    ["0", 0],
    ["999999999999999", 999_999_999_999_999],
    ["1000000000000000", null],
    ["", null],
    ["-1", null],
    ["1.5", null],
    ["1, 1", null],
    ["0x10", null],
  ])("Content-Length: %s is read as %s", (value, length) => {
    expect(lengthOf(new Headers({ "Content-Length": value }))).toBe(length);
  });

  it("without Content-Length is of unknown length", () => {
    expect(lengthOf(new Headers())).toBeNull();
  });
});

describe("time limits", () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it("a call outward that answers in time is its answer, and leaves no timer behind", async () => {
    await expect(within(100, Promise.resolve(7))).resolves.toBe(7);
    await expect(within(100, Promise.reject(new Error("down")))).rejects.toThrow("down");
    expect(vi.getTimerCount()).toBe(0);
  });

  it("a call that does not is a TimeoutError, even if it fails later", async () => {
    const late = new Promise<never>((_, reject) => setTimeout(() => reject(new Error("late")), 200));
    const result = within(100, late).catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(100);
    expect(await result).toBeInstanceOf(TimeoutError);
    await vi.advanceTimersByTimeAsync(200);
  });

  it("a stopwatch runs only while it is started, and from the start each time", async () => {
    const expired = vi.fn();
    const watch = new Stopwatch(100, expired);
    for (let turn = 0; turn < 3; turn++) {
      watch.start();
      await vi.advanceTimersByTimeAsync(99);
      watch.stop();
      await vi.advanceTimersByTimeAsync(1_000);
    }
    expect(expired).not.toHaveBeenCalled();
    expect(watch.expired).toBe(false);
    watch.start();
    await vi.advanceTimersByTimeAsync(100);
    expect(expired).toHaveBeenCalledTimes(1);
    expect(watch.expired).toBe(true);
  });

  it("a stopwatch that was started twice expires once", async () => {
    const expired = vi.fn();
    const watch = new Stopwatch(100, expired);
    watch.start();
    await vi.advanceTimersByTimeAsync(50);
    watch.start();
    await vi.advanceTimersByTimeAsync(99);
    expect(expired).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1_000);
    watch.start();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(expired).toHaveBeenCalledTimes(1);
  });

  it("a retired stopwatch never expires", async () => {
    const expired = vi.fn();
    const watch = new Stopwatch(100, expired);
    watch.start();
    watch.retire();
    watch.start();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(expired).not.toHaveBeenCalled();
    expect(watch.expired).toBe(false);
    expect(vi.getTimerCount()).toBe(0);
  });
});
