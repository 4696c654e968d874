/** A crowd, as a process of its own, so that what it costs is not taken for the gateway's: `crowd-sender.ts JSON`. */
import { Agent, type ClientRequest, type RequestOptions, request } from "node:http";
import { connect, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

export interface Crowd {
  readonly does: "idles" | "slow headers" | "slow bodies" | "uploads" | "paced uploads" | "floods";
  readonly port: number;
  /** Connections at once. */
  readonly count: number;
  readonly seconds: number;
  readonly authorization: string;
}

/** What came of it. */
export interface CrowdEnd {
  /** Connections, or requests. */
  begun: number;
  /** Status → how many. */
  readonly answers: Record<string, number>;
  /** Closed by the gateway, and after how long the first and the last of them. */
  closed: number;
  firstClosedMs: number;
  lastClosedMs: number;
  /** At the end. */
  open: number;
  errors: number;
}

const OPENED_A_SECOND = 1_000;
const SLOW_EVERY_MS = 1_000;
const UPLOAD_BYTES = 524_288;
const PIECE_BYTES = 16_384;
/** 32 KB a second for each. */
const PIECE_EVERY_MS = 500;

const crowd = JSON.parse(process.argv[2] ?? "{}") as Crowd;
const end: CrowdEnd = {
  begun: 0,
  answers: {},
  closed: 0,
  firstClosedMs: 0,
  lastClosedMs: 0,
  open: 0,
  errors: 0,
};
const untilMs = Date.now() + crowd.seconds * 1_000;
const isOver = () => Date.now() >= untilMs;

if (crowd.does === "floods") await Promise.all(Array.from({ length: crowd.count }, flood));
else if (crowd.does === "uploads" || crowd.does === "paced uploads")
  await Promise.all(Array.from({ length: crowd.count }, upload));
else await hold();
console.log(JSON.stringify(end));
process.exit(0);

function note(status: number): void {
  end.answers[status] = (end.answers[status] ?? 0) + 1;
}

/** Connections that are held for as long as they may be. */
async function hold(): Promise<void> {
  const sockets: Socket[] = [];
  for (let i = 0; i < crowd.count && !isOver(); i++) {
    sockets.push(open());
    if (i % 20 === 19) await delay((20 * 1_000) / OPENED_A_SECOND);
  }
  while (!isOver()) {
    await delay(SLOW_EVERY_MS);
    if (crowd.does === "idles") continue;
    const more = crowd.does === "slow headers" ? `X-More: ${"x".repeat(20)}\r\n` : "x";
    for (const socket of sockets) if (socket.writable) socket.write(more);
  }
  end.open = sockets.filter((socket) => !socket.destroyed).length;
}

function open(): Socket {
  const socket = connect(crowd.port, "127.0.0.1");
  const openedAtMs = Date.now();
  end.begun++;
  socket.on("connect", () => {
    if (crowd.does === "slow headers") socket.write("GET /public/v1/posts HTTP/1.1\r\nHost: gateway\r\n");
    if (crowd.does === "slow bodies") {
      const head = `POST /public/v1/upload HTTP/1.1\r\nHost: gateway\r\nAuthorization: ${crowd.authorization}\r\n`;
      socket.write(`${head}Content-Length: 100000\r\n\r\n`);
    }
  });
  socket.on("data", (chunk: Buffer) => {
    const status = /^HTTP\/1\.1 (\d+)/.exec(chunk.toString("latin1"))?.[1];
    if (status !== undefined) note(Number(status));
  });
  socket.on("error", () => {
    end.errors++;
  });
  socket.on("close", () => {
    if (isOver()) return;
    const afterMs = Date.now() - openedAtMs;
    end.closed++;
    end.firstClosedMs = end.closed === 1 ? afterMs : Math.min(end.firstClosedMs, afterMs);
    end.lastClosedMs = Math.max(end.lastClosedMs, afterMs);
  });
  return socket;
}

async function upload(): Promise<void> {
  // Not all in one instant.
  await delay(Math.random() * 1_000);
  const headers = { Authorization: crowd.authorization, "Content-Length": UPLOAD_BYTES };
  const options = { method: "POST", path: "/public/v1/upload", headers, agent: false } as const;
  while (!isOver()) {
    await send(options, (outgoing) => {
      if (crowd.does === "uploads") outgoing.end(Buffer.alloc(UPLOAD_BYTES));
      else void inPieces((piece) => outgoing.write(piece)).then(() => outgoing.end());
    });
  }
}

/** Resolves when it is over, however it has ended. */
function send(options: RequestOptions, write: (outgoing: ClientRequest) => void): Promise<void> {
  end.begun++;
  return new Promise((resolve) => {
    const outgoing = request({ port: crowd.port, host: "127.0.0.1", ...options }, (response) => {
      note(response.statusCode ?? 0);
      response.resume();
    });
    outgoing.on("error", () => {
      end.errors++;
    });
    outgoing.on("close", resolve);
    write(outgoing);
  });
}

async function inPieces(write: (piece: Buffer) => void): Promise<void> {
  for (let sent = 0; sent < UPLOAD_BYTES; sent += PIECE_BYTES) {
    write(Buffer.alloc(PIECE_BYTES));
    await delay(PIECE_EVERY_MS);
  }
}

/** As fast as it is answered. */
async function flood(): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const headers = { Authorization: crowd.authorization };
  const options = { agent, path: "/public/v1/integrations", headers };
  while (!isOver()) await send(options, (outgoing) => outgoing.end());
}
