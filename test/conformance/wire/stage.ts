/**
 * A gateway between a client that sends any bytes and an origin that answers with any. What arrives at the origin has
 * been through Node's own parser, which takes no message that could be framed in two ways.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { startGateway, type TestGateway } from "../../support/gateway.ts";
import type { Received, Sent } from "../../support/http.ts";
import { record } from "../../support/record.ts";

/** As it arrived at the origin. */
export interface Arrival {
  readonly method: string;
  readonly url: string;
  readonly headers: Headers;
  readonly body: string;
}

type Behaviour = string | ((request: IncomingMessage, response: ServerResponse) => void);

export interface Stage {
  readonly gateway: TestGateway;
  /** Of two tenants. */
  readonly key: string;
  readonly otherKey: string;
  /** Requests at the origin since the test began. */
  readonly arrivals: readonly Arrival[];
  /** What the origin answers from now on: bytes, after which it closes, or what a handler does. */
  answers(behaviour: Behaviour): void;
  /** GET of a public path with the first tenant's key. */
  get(headers?: Sent["headers"], more?: Sent): Promise<Received>;
  /** The lines of a request of the first tenant, which asks for the connection to be closed; `rest` goes on after them. */
  head(requestLine: string, ...lines: string[]): string;
  /** Everything that comes back for these bytes until the connection is closed. */
  exchange(bytes: string): Promise<string>;
  /** A connection of its own, to go on with. */
  dial(): Line;
}

export interface Line {
  write(bytes: string): void;
  read(): string;
  hangUp(): void;
}

const OK = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
export const PATH = "/public/v1/integrations";

/** Filled by `open`, so that tables can be written before anything runs. */
export class TheStage implements Stage {
  gateway!: TestGateway;
  key = "";
  otherKey = "";
  arrivals: Arrival[] = [];
  #behaviour: Behaviour = OK;
  readonly #server = createServer((request, response) => this.#receive(request, response));

  async open(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    // What can't be parsed would otherwise go unnoticed.
    this.#server.on("clientError", (error, socket) => {
      const nothing = { method: "unreadable", url: String(error), headers: new Headers(), body: "" };
      this.arrivals.push(nothing);
      socket.destroy();
    });
    const { port } = this.#server.address() as AddressInfo;
    this.gateway = await startGateway({
      vars: { ORIGIN_URL: `http://127.0.0.1:${port}`, CORS_ORIGINS: "https://app.example" },
    });
    this.key = await this.gateway.tenant("conformance");
    this.otherKey = await this.gateway.tenant("conformance-other");
  }

  reset(): void {
    this.arrivals = [];
    this.#behaviour = OK;
  }

  async close(): Promise<void> {
    await this.gateway.stop();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  answers(behaviour: Behaviour): void {
    this.#behaviour = behaviour;
  }

  get(headers: Sent["headers"] = [], more: Sent = {}): Promise<Received> {
    return this.gateway.send({ path: PATH, authorization: this.key, headers, ...more });
  }

  head(requestLine: string, ...lines: string[]): string {
    const all = [requestLine, "Host: gw", `Authorization: ${this.key}`, ...lines, "", ""];
    return all.join("\r\n");
  }

  exchange(bytes: string): Promise<string> {
    const line = this.dial();
    line.write(bytes);
    return line.ended;
  }

  dial(): Line & { readonly ended: Promise<string> } {
    const { hostname, port } = new URL(this.gateway.url);
    const socket = connect(Number(port), hostname);
    let received = "";
    socket.setEncoding("latin1").on("data", (text) => {
      received += text;
    });
    socket.on("error", () => {});
    const ended = new Promise<string>((resolve) => {
      socket.on("close", () => {
        record("response", received);
        resolve(received);
      });
    });
    return {
      write: (bytes) => void socket.write(Buffer.from(bytes, "latin1")),
      read: () => received,
      hangUp: () => socket.destroy(),
      ended,
    };
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = "", url = "", rawHeaders, socket } = request;
    const headers = new Headers();
    for (let i = 0; i < rawHeaders.length; i += 2)
      headers.append(rawHeaders[i] ?? "", rawHeaders[i + 1] ?? "");
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return;
    }
    this.arrivals.push({ method, url, headers, body: Buffer.concat(chunks).toString("latin1") });
    if (typeof this.#behaviour === "string") socket.end(Buffer.from(this.#behaviour, "latin1"));
    else this.#behaviour(request, response);
  }
}

/** Of an exchange: the status codes of the answers in it, interim ones left out. */
export function statusesIn(bytes: string): number[] {
  return [...bytes.matchAll(/HTTP\/1\.[01] ([2-5]\d\d) /g)].map(([, status]) => Number(status));
}
