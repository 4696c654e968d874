/** A server between the program and the gateway, that may answer in its place. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** True: it has answered. */
type Meddle = (request: IncomingMessage, body: string, response: ServerResponse) => boolean;

export interface Between {
  readonly url: string;
  meddle: Meddle;
  stop(): Promise<void>;
}

export async function startBetween(gatewayUrl: string): Promise<Between> {
  const between = { meddle: (() => false) as Meddle };
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks).toString("utf8");
    if (between.meddle(request, body, response)) return;
    const { method = "GET", headers, url } = request;
    const answer = await fetch(`${gatewayUrl}${url}`, {
      method,
      headers: {
        Authorization: headers.authorization ?? "",
        "Content-Type": headers["content-type"] ?? "",
      },
      ...(method !== "GET" && { body }),
    });
    response.writeHead(answer.status, { "Content-Type": answer.headers.get("Content-Type") ?? "" });
    response.end(await answer.text());
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return Object.assign(between, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    stop: async () => {
      server.close();
      server.closeAllConnections();
    },
  });
}
