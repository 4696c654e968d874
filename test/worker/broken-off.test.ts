/** What happens when the origin, or the client, does not keep to its part. */
import { once } from "node:events";
import { connect } from "node:net";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tagOf } from "../../src/authority/tag.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import { open, type Sent, sendRaw } from "../support/http.ts";
import { until } from "../support/poll.ts";
import { record } from "../support/record.ts";
import { startTcpOrigin, type TcpOrigin } from "../support/tcp-origin.ts";

/** Of the origin. Long enough for a busy machine to do in time what is not meant to take its time. */
const DEADLINE_MS = 1_000;

describe("in front of an origin that misbehaves", () => {
  let origin: TcpOrigin;
  let gateway: TestGateway;
  let key: string;
  /** Whether the request on that connection has come: the origin then does what it is told. */
  const hasHead = (connection: number) => origin.received[connection]?.includes("\r\n\r\n");

  beforeAll(async () => {
    origin = await startTcpOrigin();
    gateway = await startGateway({
      vars: { ORIGIN_URL: origin.url, ORIGIN_TIMEOUT_MS: String(DEADLINE_MS) },
    });
    key = await gateway.tenant("misbehaved");
  });
  afterAll(async () => {
    await gateway.stop();
    await origin.stop();
  });

  const get = () => gateway.send({ path: "/public/v1/users", authorization: key });

  it.each([
    ["closes at once", "", 502, "origin_unreachable"],
    ["sends junk", "hello\r\n\r\n", 502, "origin_unreachable"],
    [
      "switches protocols",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
      502,
      "origin_invalid",
    ],
    [
      "is down, says Cloudflare",
      "HTTP/1.1 521 Origin Down\r\nContent-Length: 6\r\n\r\n<html>",
      502,
      "origin_unreachable",
    ],
    [
      "does not resolve, says Cloudflare",
      "HTTP/1.1 530 Origin DNS\r\nContent-Length: 0\r\n\r\n",
      502,
      "origin_unreachable",
    ],
    [
      "talks junk, says Cloudflare",
      "HTTP/1.1 520 Unknown\r\nContent-Length: 0\r\n\r\n",
      502,
      "origin_invalid",
    ],
    [
      "is silent, says Cloudflare",
      "HTTP/1.1 522 Timed Out\r\nContent-Length: 0\r\n\r\n",
      504,
      "origin_timeout",
    ],
    ["answers with status 999", "HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 502, "origin_invalid"],
    [
      "closes right after its head",
      "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n",
      502,
      "origin_unreachable",
    ],
    ["closes in the middle of its head", "HTTP/1.1 200 OK\r\nContent-Le", 502, "origin_unreachable"],
  ])("answers for an origin that %s", async (_, bytes, status, code) => {
    origin.behave((socket) => socket.end(bytes));
    const received = await get();
    expect([received.status, JSON.parse(received.body).code]).toEqual([status, code]);
    expect(received.headers.get("Proxy-Status")).toContain(`details="${code}"`);
    expect(await gateway.eventOf(received)).toMatchObject({ outcome: code, source: "upstream", status });
  });

  it("is 504 within the deadline when it never answers, and let go of", async () => {
    let closed = false;
    origin.behave((socket) => socket.once("close", () => (closed = true)));
    const startedAt = performance.now();
    const received = await get();
    await until("the call's end", () => closed);
    expect([received.status, JSON.parse(received.body).code]).toEqual([504, "origin_timeout"]);
    expect(performance.now() - startedAt).toBeGreaterThanOrEqual(DEADLINE_MS - 1);
    expect(await gateway.eventOf(received)).toMatchObject({ outcome: "origin_timeout", source: "upstream" });
  });

  it("is 504 within the deadline when nothing follows its head, and let go of", async () => {
    let closed = false;
    origin.behave((socket) => {
      socket.once("close", () => (closed = true));
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    });
    const received = await get();
    await until("the call's end", () => closed);
    expect([received.status, JSON.parse(received.body).code]).toEqual([504, "origin_timeout"]);
    expect(await gateway.eventOf(received)).toMatchObject({ outcome: "origin_timeout", source: "upstream" });
  });

  it("is asked once by a hundred health checks that come while it does not answer", async () => {
    let answer: () => void = () => {};
    origin.behave((socket) => {
      answer = () =>
        socket.end(
          "HTTP/1.1 401 Unauthorized\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        );
    });
    const arrivedBefore = origin.received.length;
    const first = gateway.send({ path: "/_gateway/ready" });
    await until("the check at the origin", () => hasHead(arrivedBefore));
    const others = await Promise.all(
      Array.from({ length: 99 }, () => gateway.send({ path: "/_gateway/ready" })),
    );
    expect(new Set(others.map(({ status }) => status))).toEqual(new Set([503]));
    answer();
    expect((await first).status).toBe(200);
    expect((await gateway.send({ path: "/_gateway/ready" })).status).toBe(200);
    expect(origin.received.length).toBe(arrivedBefore + 1);
  });

  it.each([
    ["stops", "origin_timeout", (): void => {}],
    ["closes", "origin_invalid", (close: () => void): void => close()],
  ] as const)(
    "breaks the connection off when the answer %s in the middle, and the event says %s",
    async (_, outcome, then) => {
      origin.behave((socket) => {
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nthe first part", () =>
          then(() => socket.end()),
        );
      });
      const received = await get();
      expect([received.status, received.body, received.cutShort]).toEqual([200, "the first part", true]);
      expect(await gateway.eventOf(received)).toMatchObject({
        outcome,
        source: "upstream",
        status: 200,
        bytesOut: 14,
      });
    },
  );

  it("hears a refusal of the credential that comes in pieces", async () => {
    const body = '{"msg":"Invalid API key"}';
    origin.behave((socket) => {
      socket.write(`HTTP/1.1 401 Unauthorized\r\nContent-Length: ${body.length}\r\n\r\n${body.slice(0, 7)}`);
      setTimeout(() => socket.end(body.slice(7)), 20);
    });
    const before = origin.received.length;
    const received = await gateway.send({
      path: "/public/v1/users",
      authorization: await gateway.tenant("in-pieces"),
    });
    expect([received.status, received.body]).toEqual([401, body]);
    const asked = Buffer.concat(origin.received.slice(before)).toString();
    expect(asked.match(/^GET \/public\/v1\/is-connected /gm)).toHaveLength(1);
  });

  it("breaks a chunked answer off without its end, so that half an answer never looks whole", async () => {
    origin.behave((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", () => socket.end());
    });
    const received = await get();
    expect([received.body, received.cutShort]).toEqual(["half", true]);
    expect(await gateway.eventOf(received)).toMatchObject({ outcome: "origin_invalid" });
  });

  it("lets a slow client take its time: the origin's deadline is not the client's", async () => {
    origin.behave((socket) => {
      socket.end(`HTTP/1.1 200 OK\r\nContent-Length: 8000000\r\n\r\n${"x".repeat(8_000_000)}`);
    });
    const response = await open(gateway.url, { path: "/public/v1/users", headers: [["Authorization", key]] });
    // Longer than the origin's deadline, in which the client reads nothing.
    const openedAt = performance.now();
    await until("the deadline to pass", () => performance.now() > openedAt + 2 * DEADLINE_MS);
    let bytes = 0;
    for await (const chunk of response) bytes += (chunk as Buffer).length;
    expect(bytes).toBe(8_000_000);
  });
  it("gives an upload that outlasts the deadline its time, as long as the origin keeps reading", async () => {
    origin.behave((socket) => {
      socket.on("data", () => {
        if ((origin.received.at(-1)?.length ?? 0) > 100_000)
          socket.end("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nok");
      });
    });
    const source = Readable.from(
      (async function* () {
        for (let i = 0; i < 10; i++) {
          const sentAt = performance.now();
          yield Buffer.alloc(10_000);
          await until("a slow line", () => performance.now() > sentAt + DEADLINE_MS / 5);
        }
      })(),
    );
    const headers: Sent["headers"] = [["Content-Length", "100000"]];
    const received = await gateway.send({
      method: "POST",
      path: "/public/v1/upload",
      authorization: key,
      headers,
      body: source,
    });
    expect([received.status, received.body]).toEqual([201, "ok"]);
  });

  it("hands back an answer that comes before the upload has ended", async () => {
    const tooLarge = `too large ${"x".repeat(100_000)}`;
    origin.behave((socket) => {
      socket.write(
        `HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: ${tooLarge.length}\r\n\r\n`,
      );
      socket.end(tooLarge);
    });
    const received = await gateway.send({
      method: "POST",
      path: "/public/v1/upload",
      authorization: key,
      body: Buffer.alloc(8_000_000),
    });
    expect([received.status, received.body.length, received.cutShort]).toEqual([413, tooLarge.length, false]);
    expect(await gateway.eventOf(received)).toMatchObject({ outcome: "forwarded", status: 413 });
  });

  it("lets a client read a refusal that comes in the middle of its upload, and go on with the connection", async () => {
    const { hostname, port } = new URL(gateway.url);
    const socket = connect(Number(port), hostname);
    let received = "";
    socket.on("data", (chunk) => {
      received += chunk;
    });
    socket.write("POST /public/v1/upload HTTP/1.1\r\nHost: gw\r\nContent-Length: 4000000\r\n\r\n");
    await until("the refusal", () => received.endsWith('{"msg":"Invalid API key"}'));
    socket.write(Buffer.alloc(4_000_000));
    socket.write("GET /public/v1/nothing HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n");
    await until("the next answer", () => received.split("HTTP/1.1 401 ").length === 3);
    record("response", received);
    socket.destroy();
  });

  it.each([
    ["small", "/public/v1/posts", "Content-Length: 100"],
    ["large", "/public/v1/upload", "Content-Length: 100000"],
    ["chunked", "/public/v1/upload", "Transfer-Encoding: chunked"],
  ])("gives up a %s body whose client is silent, and says whose fault it is", async (kind, path, framing) => {
    origin.behave(() => {});
    const authorization = await gateway.tenant(`silent-${kind}`);
    const closedBefore = origin.closed();
    const answer = await sendRaw(
      gateway.url,
      `POST ${path} HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nAuthorization: ${authorization}\r\n${framing}\r\n\r\n5\r\nfirst\r\n`,
    );
    expect(answer).toMatch(/^HTTP\/1.1 400 .*"code":"request_malformed"/s);
    await until("the origin's connection closed", () => origin.closed() > closedBefore);
    const event = await until("its event", () =>
      gateway.events.find(({ tenant }) => tenant === `silent-${kind}`),
    );
    expect(event).toMatchObject({ outcome: "request_malformed", source: "client", status: 400 });
  });

  it("books a small body that its client did not finish as the client's fault", async () => {
    origin.behave(() => {});
    const authorization = await gateway.tenant("unfinished");
    const { hostname, port } = new URL(gateway.url);
    const socket = connect(Number(port), hostname);
    const arrivedBefore = origin.received.length;
    socket.write(
      `PUT /public/v1/posts/1/status HTTP/1.1\r\nHost: gw\r\nAuthorization: ${authorization}\r\nContent-Length: 100\r\n\r\nfirst`,
    );
    await until("the first bytes at the origin", () => hasHead(arrivedBefore));
    socket.destroy();
    const event = await until("its event", () =>
      gateway.events.find(({ tenant }) => tenant === "unfinished"),
    );
    expect(event).toMatchObject({ outcome: "request_malformed", source: "client" });
  });

  it("aborts the origin's request when the client leaves in the middle of an upload", async () => {
    origin.behave(() => {});
    const [arrivedBefore, closedBefore] = [origin.received.length, origin.closed()];
    const { hostname, port } = new URL(gateway.url);
    const socket = connect(Number(port), hostname);
    socket.write(
      `POST /public/v1/upload HTTP/1.1\r\nHost: gw\r\nAuthorization: ${key}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n`,
    );
    await until("the first bytes at the origin", () => origin.received[arrivedBefore]?.includes("first"));
    socket.destroy();
    await until("the origin's connection closed", () => origin.closed() > closedBefore);
    expect(origin.received.at(-1)?.toString()).not.toContain("\r\n0\r\n");
    await until("its event", () =>
      gateway.events.some((event) => event.route === "/upload" && event.outcome !== "forwarded"),
    );
  });

  it("keeps the event and the settlement of a request whose client left before the answer", async () => {
    let answer: () => void = () => {};
    origin.behave((socket) => {
      answer = () => socket.end("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}");
    });
    const poster = await gateway.tenant("left-early");
    const { hostname, port } = new URL(gateway.url);
    const socket = connect(Number(port), hostname);
    const arrivedBefore = origin.received.length;
    socket.write(
      `POST /public/v1/posts HTTP/1.1\r\nHost: gw\r\nAuthorization: ${poster}\r\nContent-Length: 2\r\n\r\n{}`,
    );
    await until("the request at the origin", () => hasHead(arrivedBefore));
    socket.resetAndDestroy();
    answer();
    const event = await until("its event", () =>
      gateway.events.find(({ tenant }) => tenant === "left-early"),
    );
    expect(event.route).toBe("/posts");
  });

  it("settles a post when the origin has answered, and not when it never did", async () => {
    const countsFor = async (tenant: string): Promise<number> => {
      const name = { name: tagOf(tenantIdOf(tenant)) };
      const storage = await gateway.miniflare.unsafeGetDurableObjectStorage(
        "postiz-gateway",
        "TenantAuthority",
        name,
      );
      const [row] = await storage.exec("SELECT counts_until_ms - usable_until_ms AS ms FROM grant_log");
      return Number(row?.["ms"]);
    };
    const create = async (tenant: string): Promise<void> => {
      const authorization = await gateway.tenant(tenant);
      await gateway.send({ method: "POST", path: "/public/v1/posts", authorization, body: "{}" });
    };
    origin.behave((socket) => socket.end("HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}"));
    await create("answered");
    await until("the settlement", async () => (await countsFor("answered")) < 3_600_000 + 2_000);
    origin.behave((socket) => socket.destroy());
    await create("unanswered");
    expect(await countsFor("unanswered")).toBe(DEADLINE_MS + 3_600_000 + 2_000);
  });

  it("asks an origin that has throttled posts no more until its Retry-After has passed", async () => {
    origin.behave((socket) =>
      socket.end("HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1234\r\nContent-Length: 2\r\n\r\n{}"),
    );
    const authorization = await gateway.tenant("throttled-by-origin");
    const post: Sent = { method: "POST", path: "/public/v1/posts", authorization, body: "{}" };
    const relayed = await gateway.send(post);
    expect([
      relayed.status,
      relayed.headers.get("RateLimit"),
      relayed.headers.get("X-RateLimit-Limit"),
    ]).toEqual([429, '"posts";r=0;t=1234', null]);
    const refused = await until("the gateway's own refusal", async () => {
      const received = await gateway.send(post);
      return received.headers.has("Proxy-Status") && received;
    });
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get("Retry-After"))).toBeGreaterThan(1_200);
  });

  it("notices a client that leaves while the origin is silent in the middle of its answer", async () => {
    origin.behave((socket) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfirst"));
    const patient = await startGateway({ vars: { ORIGIN_URL: origin.url } });
    try {
      const authorization = await patient.tenant("gone");
      const { hostname, port } = new URL(patient.url);
      const socket = connect(Number(port), hostname);
      socket.write(`GET /public/v1/users HTTP/1.1\r\nHost: gw\r\nAuthorization: ${authorization}\r\n\r\n`);
      await new Promise((resolve) => socket.once("data", resolve));
      socket.resetAndDestroy();
      const event = await until("its event", () => patient.events.find(({ tenant }) => tenant === "gone"));
      expect(event).toMatchObject({ outcome: "forwarded", source: "client", status: 200 });
    } finally {
      await patient.stop();
    }
  });

  it("keeps the event of a request whose client has reset the connection before the answer began", async () => {
    let answer: (() => void) | undefined;
    origin.behave((socket) => {
      answer = () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nfirst");
    });
    const patient = await startGateway({ vars: { ORIGIN_URL: origin.url } });
    try {
      const authorization = await patient.tenant("reset");
      const { hostname, port } = new URL(patient.url);
      const socket = connect(Number(port), hostname);
      socket.write(`GET /public/v1/users HTTP/1.1\r\nHost: gw\r\nAuthorization: ${authorization}\r\n\r\n`);
      // Connected is not asked yet.
      const reply = await until("the request at the origin", () => answer);
      socket.resetAndDestroy();
      await once(socket, "close");
      reply();
      const event = await until("its event", () => patient.events.find(({ tenant }) => tenant === "reset"));
      expect(event).toMatchObject({ outcome: "forwarded", source: "client" });
    } finally {
      await patient.stop();
    }
  });

  it("says so in the event when the client leaves in the middle of an answer, and lets the origin go", async () => {
    origin.behave((socket) => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
      const more = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(100_000))) {}
      };
      socket.on("drain", more);
      more();
    });
    const closedBefore = origin.closed();
    const response = await open(gateway.url, {
      path: "/public/v1/groups",
      headers: [["Authorization", key]],
    });
    response.destroy();
    const event = await until("the event", () => gateway.events.find(({ route }) => route === "/groups"));
    expect(event).toMatchObject({ outcome: "forwarded", source: "client", status: 200 });
    await until("the origin's connection closed", () => origin.closed() > closedBefore);
  });

  it("is 502 when it is down", async () => {
    await origin.stop();
    const received = await get();
    expect([received.status, JSON.parse(received.body).code]).toEqual([502, "origin_unreachable"]);
    expect(await gateway.eventOf(received)).toMatchObject({
      outcome: "origin_unreachable",
      source: "upstream",
    });
  });
});
