/** What reaches the origin and what comes back, unharmed. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { startGateway, type TestGateway } from "../support/gateway.ts";
import type { Received, Sent } from "../support/http.ts";
import { until } from "../support/poll.ts";

const TEST = "/public/v1/_test";

interface Arrival {
  readonly method: string;
  readonly url: string;
  readonly headers: readonly (readonly [string, string])[];
  readonly firstByteAt?: number;
  readonly bytes?: number;
}

describe("in front of the stand-in origin", () => {
  let gateway: TestGateway;
  let key: string;

  beforeAll(async () => {
    gateway = await startGateway({
      vars: {
        ORIGIN_ACCESS_CLIENT_ID: "access-id",
        ORIGIN_ACCESS_CLIENT_SECRET: "access-secret-of-the-suite",
      },
    });
    key = await gateway.tenant("forwarding");
  });
  afterAll(() => gateway.stop());
  beforeEach(async () => {
    await fetch(`${gateway.originUrl}/_origin/log`, { method: "DELETE" });
  });

  const get = (path: string, more: Sent = {}): Promise<Received> =>
    gateway.send({ path, authorization: key, ...more });

  async function arrival(): Promise<Arrival> {
    const log = (await (await fetch(`${gateway.originUrl}/_origin/log`)).json()) as Arrival[];
    if (log.length !== 1 || log[0] === undefined) throw new Error(`${log.length} requests at the origin`);
    return log[0];
  }

  async function arrivedHeaders(): Promise<Headers> {
    return new Headers((await arrival()).headers.map(([name, value]): [string, string] => [name, value]));
  }

  it.each([
    ["/public/v1/posts?a=1&a=2&b=%20%2F+", "/public/v1/posts?a=1&a=2&b=%20%2F+"],
    [
      "/api//public/V1/Posts/?x=%zz&y=%5B%5D[]{}|^`\\~!*()$,:@;/../",
      "/public/v1/posts?x=%zz&y=%5B%5D[]{}|^`\\~!*()$,:@;/../",
    ],
    ["/public/v1/posts/AbC-1%2e2", "/public/v1/posts/AbC-1.2"],
    ["/public/v1/Unknown/Path", "/public/v1/Unknown/Path"],
    ["/public/v1/posts?", "/public/v1/posts?"],
  ])("forwards %s as %s: path canonical, query as it came", async (path, expected) => {
    await get(path);
    expect((await arrival()).url.replace(gateway.originUrl, "")).toBe(expected);
  });

  it.each(["Bearer ", "bearer ", "BEARER   ", ""])(
    "sends the credential raw when it came with %j",
    async (scheme) => {
      const received = await gateway.send({
        path: "/public/v1/is-connected",
        authorization: `${scheme}${key}`,
      });
      expect(received.status).toBe(200);
      expect((await arrivedHeaders()).get("Authorization")).toBe(key);
    },
  );

  it("never lets a client say who it is, who sent it or which connection it came by", async () => {
    const spoofed = [
      "Forwarded",
      "X-Forwarded-For",
      "X-Forwarded-Host",
      "X-Forwarded-Proto",
      "X-Forwarded-Port",
      "X-Real-IP",
      "True-Client-IP",
      "CF-Connecting-IP",
      "CF-Access-Client-Secret",
      "CF-Ray",
      "X-Original-URL",
      "X-Rewrite-URL",
      "X-HTTP-Method-Override",
      "X-Postiz-Gateway-Tenant",
      "Proxy-Authorization",
      "Proxy-Connection",
      "Expect-Nothing",
      "X_Forwarded_For",
      "X_Real_IP",
      "X-Request-Id",
      "X-Private",
    ];
    const headers: [string, string][] = spoofed.map((name) => [name, "spoofed-198.51.100.9"]);
    headers.push(
      ["Connection", "keep-alive, X-Private, Authorization"],
      ["X-Kept", "kept"],
      ["User-Agent", "n8n"],
    );
    const received = await get("/public/v1/is-connected", { headers, cf: { clientIp: "203.0.113.7:4711" } });
    expect(received.status).toBe(200);
    const { headers: arrived } = await arrival();
    expect(arrived.filter(([, value]) => value.includes("spoofed")).map(([name]) => name)).toEqual([
      "expect-nothing",
    ]);
    const byName = await arrivedHeaders();
    expect(byName.get("X-Forwarded-For")).toBe("203.0.113.7");
    expect(byName.get("X-Forwarded-Proto")).toBe("http");
    expect(byName.get("X-Forwarded-Host")).toBe(gateway.url.replace("http://", ""));
    expect(byName.get("X-Request-Id")).toBe(received.headers.get("X-Request-Id"));
    expect(byName.get("Via")).toBe("1.1 postiz-gateway");
    expect(byName.get("Authorization")).toBe(key);
    expect(byName.get("CF-Access-Client-Id")).toBe("access-id");
    expect(byName.get("CF-Access-Client-Secret")).toBe("access-secret-of-the-suite");
    expect([byName.get("X-Kept"), byName.get("User-Agent")]).toEqual(["kept", "n8n"]);
  });

  it("takes CF-Connecting-IP for the client's address on Cloudflare, and nothing where the platform tells nothing", async () => {
    const header: Sent["headers"] = [["CF-Connecting-IP", "2001:db8::7"]];
    await get("/public/v1/is-connected", { headers: header, cf: { colo: "FRA" } });
    expect((await arrivedHeaders()).get("X-Forwarded-For")).toBe("2001:db8::7");
    await fetch(`${gateway.originUrl}/_origin/log`, { method: "DELETE" });
    await get("/public/v1/is-connected", { headers: header });
    expect((await arrivedHeaders()).get("X-Forwarded-For")).toBeNull();
  });

  it("hands back several Set-Cookie lines as several", async () => {
    const received = await get(`${TEST}/cookies`);
    const cookies = received.rawHeaders.filter(
      (_, i, all) => i % 2 === 1 && all[i - 1]?.toLowerCase() === "set-cookie",
    );
    expect(cookies).toHaveLength(2);
    expect(cookies.every((cookie) => cookie.includes("Expires="))).toBe(true);
  });

  it.each(["gzip", "gzip-chunked"])("passes %s through as the origin encoded it", async (route) => {
    const direct = await fetch(`${gateway.originUrl}${TEST}/${route}`, { headers: { Authorization: key } });
    const plain = await direct.text();
    const received = await get(`${TEST}/${route}`, { headers: [["Accept-Encoding", "gzip"]] });
    expect(received.headers.get("Content-Encoding")).toBe("gzip");
    expect(gunzipSync(received.bytes).toString()).toBe(plain);
    if (route === "gzip") expect(received.headers.get("Content-Length")).toBe(String(received.bytes.length));
    expect((await gateway.eventOf(received)).bytesOut).toBe(received.bytes.length);
  });

  it("hands back redirects instead of following them with the credential", async () => {
    const received = await get(`${TEST}/redirect?to=http://127.0.0.1:1/elsewhere`);
    expect([received.status, received.headers.get("Location")]).toEqual([
      302,
      "http://127.0.0.1:1/elsewhere",
    ]);
  });

  it("keeps a relayed 401 as it is and adds the challenge, without blaming the credential", async () => {
    const received = await get(`${TEST}/status/401-empty`);
    expect([received.status, received.body, received.headers.get("logout")]).toEqual([401, "", "true"]);
    expect(received.headers.get("WWW-Authenticate")).toBe('Bearer realm="Postiz API"');
    expect(received.headers.has("Proxy-Status")).toBe(false);
  });

  it("replaces the origin's rate fields and request id by its own", async () => {
    const received = await get(`${TEST}/headers`);
    expect(received.headers.get("X-RateLimit-Limit")).toBeNull();
    expect(received.headers.get("RateLimit-Policy")).toBe('"api";q=600;w=60');
    expect(received.headers.get("X-Request-Id")).not.toBe("the-origin-s-own");
  });
});

function memoryOf(pid: number): { peakMb: number; nowMb: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const mb = (field: string) =>
    Math.round(Number(new RegExp(`${field}:\\s+(\\d+) kB`).exec(status)?.[1]) / 1_000);
  return { peakMb: mb("VmHWM"), nowMb: mb("VmRSS") };
}

/** Null where there is no /proc to tell. */
function memoryOfWorkerd(): { peakMb: number; nowMb: number } | null {
  return existsSync("/proc/self/status") ? memoryOf(workerdPid()) : null;
}

function workerdPid(): number {
  const children = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, "utf8")
    .trim()
    .split(" ");
  const pid = children
    .map(Number)
    .findLast((child) => readFileSync(`/proc/${child}/cmdline`, "utf8").includes("workerd"));
  if (pid === undefined) throw new Error("no workerd among the children");
  return pid;
}

describe("an upload of 200 MB", () => {
  it("reaches the origin byte for byte, its first bytes before its last are sent, with flat memory", async () => {
    const arrived = createHash("sha256");
    let firstArrivedAtMs = 0;
    let arrivedBytes = 0;
    // In a process of its own kind: the memory measured is the gateway's alone.
    const origin = createServer((request, response) => {
      request.on("data", (chunk: Buffer) => {
        firstArrivedAtMs ||= performance.now();
        arrivedBytes += chunk.length;
        arrived.update(chunk);
      });
      request.on("end", () => response.writeHead(201).end("ok"));
    });
    await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
    const { port } = origin.address() as AddressInfo;
    const gateway = await startGateway({ vars: { ORIGIN_URL: `http://127.0.0.1:${port}` } });
    try {
      const key = await gateway.tenant("uploader");
      const block = Buffer.from(Uint8Array.from({ length: 1_000_000 }, (_, i) => (i * 31) % 251));
      const sent = createHash("sha256");
      let lastSentAtMs = 0;
      const source = Readable.from(
        (async function* () {
          for (let i = 0; i < 200; i++) {
            if (i === 100) await until("the first bytes at the origin", () => firstArrivedAtMs > 0);
            sent.update(block);
            lastSentAtMs = performance.now();
            yield block;
          }
        })(),
      );
      const headers: Sent["headers"] = [["Content-Length", "200000000"]];
      const before = memoryOfWorkerd();
      const upload: Sent = {
        method: "POST",
        path: "/public/v1/upload",
        authorization: key,
        headers,
        body: source,
      };
      const received = await gateway.send(upload);
      const after = memoryOfWorkerd();
      expect([received.status, received.body, arrivedBytes]).toEqual([201, "ok", 200_000_000]);
      expect(arrived.digest("hex")).toBe(sent.digest("hex"));
      expect(firstArrivedAtMs).toBeLessThan(lastSentAtMs);
      expect((await gateway.eventOf(received)).bytesIn).toBe(200_000_000);
      if (before === null || after === null) return;
      console.info(
        `200 MB upload: workerd ${before.nowMb} MB before, ${after.nowMb} MB after, peak ${after.peakMb} MB`,
      );
      expect(after.peakMb - before.nowMb).toBeLessThan(50);
    } finally {
      await gateway.stop();
      origin.close();
    }
  }, 60_000);
});

describe("paths outside the public API", () => {
  it("are passed on as they came where UNPROTECTED says so, but never as a way around the gateway", async () => {
    const access = {
      ORIGIN_ACCESS_CLIENT_ID: "id",
      ORIGIN_ACCESS_CLIENT_SECRET: "access-secret-of-the-suite",
    };
    const gateway = await startGateway({ vars: { UNPROTECTED: "forward", ...access } });
    try {
      const passed = await gateway.send({ path: "/Some//Page/?q='1'", authorization: "Bearer dashboard" });
      expect(passed.status).toBe(404);
      const log = (await (await fetch(`${gateway.originUrl}/_origin/log`)).json()) as Arrival[];
      expect(log.map(({ url }) => url.replace(gateway.originUrl, ""))).toEqual(["/Some//Page/?q=%271%27"]);
      const arrived = new Headers(log[0]?.headers.map(([n, v]): [string, string] => [n, v]));
      expect(arrived.get("Authorization")).toBe("Bearer dashboard");
      // Nobody has authenticated the request: it must not pass Access by the gateway's own right.
      expect(arrived.has("CF-Access-Client-Secret")).toBe(false);
      expect(await gateway.eventOf(passed)).toMatchObject({
        route: "unprotected",
        outcome: "forwarded",
        tenant: "",
      });
      for (const path of [
        "//public/v1/users",
        "/PUBLIC/v1/users",
        "/%70ublic/v1/users",
        "/api/public//v1/users",
      ]) {
        expect((await gateway.send({ path })).status).toBe(401);
      }
      for (const path of ["/postiz/backend/public/v1/users", "/api/api/Public/v1", "/x//%70ublic/v1/users"]) {
        expect((await gateway.send({ path })).status).toBe(404);
      }
      for (const path of ["/x/../public/v1/users", "/x%2f..%2fpublic/v1", "/x\\public"]) {
        expect((await gateway.send({ path })).status).toBe(400);
      }
      // Some of Postiz's own paths hold a key, refused or passed on: neither log nor event has it.
      const inPath = createHash("sha256").update("a key in a path").digest("hex");
      for (const prefix of [
        "/mcp",
        "/sse",
        "/message",
        "/x/public/v1",
        "/mcp/%2e%2e",
        "/public/v1/%00",
        "/public/v1/posts",
      ])
        await gateway.eventOf(await gateway.send({ path: `${prefix}/${inPath}?key=${inPath}` }));
      expect(gateway.logs.filter((line) => line.includes(inPath))).toEqual([]);
    } finally {
      await gateway.stop();
    }
  });
});
