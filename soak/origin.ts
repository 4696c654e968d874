/** An origin that writes down each request, and fails on command. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { crc32 } from "node:zlib";
import type { Fault, Interval, Seen } from "./ledger.ts";

/** Which requests fail, and how. */
export interface Mood {
  readonly fault: Fault;
  readonly appliesTo: () => boolean;
  readonly slowMs: () => number;
}

/** What the client says of its body: bytes and checksum. */
export const BODY_HEADER = "x-soak-body";
/** Its number, towards the origin; in the answer also bytes and checksum of that. */
export const ID_HEADER = "x-soak-id";
const MAX_ANSWER_BYTES = 4_000_000;

export class Origin {
  readonly seen: Seen[] = [];
  readonly downs: Interval[] = [];
  /** Requests of the gateway's own: introspection. */
  questions = 0;
  mood: Mood | null = null;
  /** Authorization → tenant. */
  readonly tenants = new Map<string, string>();
  readonly #server: Server = createServer((request, response) => this.#arrive(request, response));
  readonly #open = new Set<Seen>();
  #port = 0;

  /** Resolves to its port. */
  async start(): Promise<number> {
    await this.#listen(0);
    const address = this.#server.address();
    this.#port = typeof address === "object" && address !== null ? address.port : 0;
    return this.#port;
  }

  async stop(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  connections(): Promise<number> {
    return new Promise((resolve) => this.#server.getConnections((_, count) => resolve(count)));
  }

  /** Nothing listens, and every connection is gone, for that long. */
  async goDown(lasting: Promise<unknown>): Promise<void> {
    const fromMs = Date.now();
    for (const seen of this.#open) seen.end = "down";
    await this.stop();
    await lasting;
    await this.#listen(this.#port);
    this.downs.push({ fromMs, untilMs: Date.now() });
  }

  async #listen(port: number): Promise<void> {
    this.#server.listen(port, "127.0.0.1");
    await once(this.#server, "listening");
  }

  #arrive(request: IncomingMessage, response: ServerResponse): void {
    const { headers } = request;
    const id = Number(headers[ID_HEADER] ?? 0);
    const mood = this.mood?.appliesTo() ? this.mood : null;
    request.on("error", () => {});
    if (id === 0 && request.url?.endsWith("/is-connected")) {
      this.questions++;
      if (mood === null) answer(response, 200, '{"connected":true}', {});
      else fail(mood, response, () => answer(response, 200, '{"connected":true}', {}));
      return;
    }
    const seen: Seen = {
      id,
      requestId: String(headers["x-request-id"] ?? ""),
      atMs: Date.now(),
      tenant: this.tenants.get(headers.authorization ?? "") ?? "",
      fault: mood?.fault ?? null,
      status: 0,
      end: "under way",
      endedAtMs: 0,
      body: headers[BODY_HEADER] === undefined ? "none" : "broken",
    };
    this.seen.push(seen);
    this.#open.add(seen);
    response.on("close", () => {
      this.#open.delete(seen);
      seen.endedAtMs = Date.now();
      seen.status = response.headersSent ? response.statusCode : 0;
      if (seen.end === "under way") seen.end = response.writableFinished ? "whole" : "closed";
    });
    const failed = () => {
      if (seen.end === "under way") seen.end = "failed";
    };
    this.#serve(request, response, seen, mood, failed);
  }

  #serve(
    request: IncomingMessage,
    response: ServerResponse,
    seen: Seen,
    mood: Mood | null,
    failed: () => void,
  ): void {
    const answerWhole = () => {
      const { status, body, echo } = answerTo(request, seen);
      answer(response, status, body, echo);
    };
    if (mood?.fault === "early") {
      const echo = echoOf(seen.id, EARLY);
      answer(response, 413, EARLY, echo);
      request.resume();
      return;
    }
    // It does not read either.
    if (mood?.fault === "hang" || mood?.fault === "reset") {
      failed();
      if (mood.fault === "reset") request.socket.resetAndDestroy();
      return;
    }
    readBody(request, seen, () => {
      if (mood?.fault === "cut" || mood?.fault === "stall") failed();
      if (mood === null) answerWhole();
      else fail(mood, response, answerWhole, echoOf(seen.id, FAILED));
    });
  }
}

const EARLY = '{"message":"too large"}';
const FAILED = '{"message":"out of order"}';

function answer(response: ServerResponse, status: number, body: string | Buffer, headers: object): void {
  const length = Buffer.byteLength(body);
  const all = { "Content-Type": "application/json", "Content-Length": length, ...headers };
  response.writeHead(status, all as Record<string, string | number>);
  response.end(body);
}

function fail(mood: Mood, response: ServerResponse, answerWhole: () => void, echo: object = {}): void {
  switch (mood.fault) {
    case "slow":
      setTimeout(answerWhole, mood.slowMs());
      return;
    case "error":
      answer(response, 500, FAILED, echo);
      return;
    case "reset":
      response.socket?.resetAndDestroy();
      return;
    case "early":
      answerWhole();
      return;
    case "hang":
      return;
    case "cut":
    case "stall": {
      response.writeHead(200, { "Content-Type": "application/json", "Content-Length": 20_000 });
      response.write(" ".repeat(10_000), () => {
        if (mood.fault === "cut") setTimeout(() => response.socket?.destroy(), 20);
      });
    }
  }
}

/** Compares it with what the client said of it. */
function readBody(request: IncomingMessage, seen: Seen, then: () => void): void {
  let [bytes, crc] = [0, 0];
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    crc = crc32(chunk, crc);
  });
  request.on("end", () => {
    const said = request.headers[BODY_HEADER];
    if (said !== undefined) seen.body = said === `${bytes}:${crc}` ? "whole" : "wrong";
    then();
  });
}

const echoOf = (id: number, body: string | Buffer) => ({
  [ID_HEADER]: `${id}:${Buffer.byteLength(body)}:${crc32(body)}`,
});

function answerTo(request: IncomingMessage, { id, tenant }: Seen) {
  const size = Number(/[?&]size=(\d+)/.exec(request.url ?? "")?.[1] ?? 0);
  const text = JSON.stringify({ id, tenant });
  const body = Buffer.alloc(Math.min(MAX_ANSWER_BYTES, Math.max(size, text.length)), " ");
  body.write(text);
  return { status: request.method === "POST" ? 201 : 200, body, echo: echoOf(id, body) };
}
