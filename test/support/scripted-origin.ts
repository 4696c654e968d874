/** An origin on loopback that answers what the test wants it to, and counts. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type Answer = (request: IncomingMessage, response: ServerResponse) => void;

export interface ScriptedOrigin {
  readonly url: string;
  /** Path of every request so far. */
  readonly asked: string[];
  answers(answer: Answer): void;
  stop(): Promise<void>;
}

export const json =
  (status: number, body: object): Answer =>
  (_, response) => {
    const text = JSON.stringify(body);
    response.writeHead(status, {
      "Content-Type": "application/json; charset=utf-8",
      "Content-Length": text.length,
    });
    response.end(text);
  };

export async function startScriptedOrigin(): Promise<ScriptedOrigin> {
  let answer: Answer = json(200, { connected: true });
  const asked: string[] = [];
  // Room for the longest path of the tests: Node would refuse it and reset the connection.
  const server = createServer({ maxHeaderSize: 65_536 }, (request, response) => {
    asked.push(request.url ?? "");
    request.resume();
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    answers: (next) => {
      answer = next;
    },
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
