/** The admin API, for who has to live with a gateway that is killed at any moment. */
import { setTimeout as delay } from "node:timers/promises";
import type { Asked } from "./ledger.ts";

const TIMEOUT_MS = 10_000;
const PATIENCE_MS = 300_000;

export interface Told {
  readonly askedAtMs: number;
  readonly status: number;
  readonly body: Readonly<Record<string, unknown>>;
}

export class Admin {
  readonly #url: string;
  readonly #token: string;
  /** Everything, for the oracle. */
  readonly asked: Asked[] = [];

  constructor(gatewayUrl: string, token: string) {
    this.#url = `${gatewayUrl}/_gateway/v1`;
    this.#token = token;
  }

  /** Null where there was no answer: nobody knows whether it was done. */
  async ask(method: string, path: string, body?: object | string): Promise<Told | null> {
    const askedAtMs = Date.now();
    const told = await this.#ask(method, path, body);
    const [what, status] = [`${method} ${path}`, told?.status ?? 0];
    this.asked.push({ what, status, sentAtMs: askedAtMs, doneAtMs: Date.now() });
    return told === null ? null : { ...told, askedAtMs };
  }

  async #ask(method: string, path: string, body?: object | string): Promise<Omit<Told, "askedAtMs"> | null> {
    try {
      const isText = typeof body === "string";
      const response = await fetch(this.#url + path, {
        method,
        headers: {
          Authorization: `Bearer ${this.#token}`,
          "Content-Type": isText ? "application/x-ndjson" : "application/json",
        },
        ...(body !== undefined && { body: isText ? body : JSON.stringify(body) }),
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
      const text = await response.text();
      return { status: response.status, body: readJson(text) };
    } catch {
      return null;
    }
  }

  /** While nobody kills the gateway. */
  async must(method: string, path: string, body?: object | string): Promise<Told["body"]> {
    const told = await this.ask(method, path, body);
    if (told !== null && told.status < 300) return told.body;
    throw new Error(
      `${method} ${path} was answered ${told?.status ?? "nothing"}: ${JSON.stringify(told?.body)}`,
    );
  }

  async mustImport(line: object): Promise<void> {
    const { result } = await this.must("POST", "/import", `${JSON.stringify(line)}\n`);
    if (result !== "created") throw new Error(`an import was ${result}`);
  }

  /** What can be asked twice without harm, until it is done or refused. `askedAtMs` is the first time. */
  async insist(method: string, path: string, body?: object): Promise<Told> {
    const askedAtMs = Date.now();
    while (Date.now() - askedAtMs < PATIENCE_MS) {
      const told = await this.ask(method, path, body);
      if (told !== null && told.status < 500) return { ...told, askedAtMs };
      await delay(200);
    }
    throw new Error(`${method} ${path} was not answered for ${PATIENCE_MS} ms`);
  }
}

/** Of lines, the first. */
function readJson(text: string): Told["body"] {
  try {
    return JSON.parse(text.split("\n")[0] ?? "") as Told["body"];
  } catch {
    return {};
  }
}
