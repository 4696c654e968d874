/** A plain HTTP/1.1 client that sends paths and header lines exactly as given, and keeps every byte it gets back. */
import { Agent, type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { Readable } from "node:stream";
import { record } from "./record.ts";

export interface Sent {
  readonly method?: string;
  readonly path?: string;
  /** Name and value, one line each; a name may repeat. */
  readonly headers?: readonly (readonly [string, string])[];
  readonly authorization?: string;
  readonly body?: string | Buffer | Readable;
  /** What the platform is to tell the Worker about the connection (`request.cf`). */
  readonly cf?: Record<string, unknown>;
  /** The answer shows a new key, this once: it is the one place where the record may not look. */
  readonly showsKey?: boolean;
}

export interface Received {
  readonly status: number;
  readonly headers: Headers;
  readonly rawHeaders: readonly string[];
  readonly body: string;
  readonly bytes: Buffer;
  /** Set where the connection broke off before the answer was complete. */
  readonly cutShort: boolean;
}

const agent = new Agent({ keepAlive: true, maxSockets: 64 });

export async function send(baseUrl: string, sent: Sent = {}): Promise<Received> {
  const response = await open(baseUrl, sent);
  const chunks: Buffer[] = [];
  let cutShort = false;
  try {
    for await (const chunk of response) chunks.push(chunk as Buffer);
  } catch {
    cutShort = true;
  }
  const bytes = Buffer.concat(chunks);
  const body = bytes.toString();
  const seen = sent.showsKey ? body.replace(/"key":"pgw_\w+"/, '"key":"(shown once)"') : body;
  record("response", seen.slice(0, 4_096));
  return {
    status: response.statusCode ?? 0,
    headers: headersOf(response),
    rawHeaders: response.rawHeaders,
    body,
    bytes,
    cutShort,
  };
}

/** Resolves with the response head; the body is the caller's to read. */
export function open(baseUrl: string, sent: Sent = {}): Promise<IncomingMessage> {
  const { hostname, port } = new URL(baseUrl);
  const { body } = sent;
  const lines = (sent.headers ?? []).flat();
  if (sent.authorization !== undefined) lines.push("Authorization", sent.authorization);
  if (sent.cf !== undefined) lines.push("MF-CF-Blob", JSON.stringify(sent.cf));
  if (!lines.some((line, i) => i % 2 === 0 && line.toLowerCase() === "host"))
    lines.push("Host", `${hostname}:${port}`);
  const whole = body instanceof Readable ? null : (body ?? "");
  if (body !== undefined && whole !== null) lines.push("Content-Length", String(Buffer.byteLength(whole)));
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { agent, hostname, port, method: sent.method ?? "GET", path: sent.path ?? "/", headers: lines },
      (response) => {
        record("response", response.rawHeaders.join("\n"));
        resolve(response);
      },
    );
    outgoing.on("error", reject);
    if (body instanceof Readable) body.pipe(outgoing);
    else outgoing.end(whole);
  });
}

function headersOf(response: IncomingMessage): Headers {
  const headers = new Headers();
  for (let i = 0; i < response.rawHeaders.length; i += 2) {
    headers.append(response.rawHeaders[i] ?? "", response.rawHeaders[i + 1] ?? "");
  }
  return headers;
}

/** Bytes on a socket, and whatever comes back until the other side closes. */
export function sendRaw(baseUrl: string, bytes: string | Buffer): Promise<string> {
  const { hostname, port } = new URL(baseUrl);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname);
    const chunks: Buffer[] = [];
    socket.on("data", (chunk) => chunks.push(chunk));
    socket.on("close", () => {
      const text = Buffer.concat(chunks).toString("latin1");
      record("response", text.slice(0, 8_192));
      resolve(text);
    });
    socket.on("error", reject);
    socket.write(bytes);
  });
}
