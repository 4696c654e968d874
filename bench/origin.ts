/** A fast origin: answers everything alike, `is-connected` as Postiz does. */
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import { hasNginx, type Server, startNginx } from "./nginx.ts";

const ANSWER = '{"connected":true}';

export function startOrigin(folder: string, port: number): Promise<Server> {
  if (!hasNginx) {
    return startNode(port, (_, response) => {
      response.writeHead(200, { "Content-Type": "application/json", "Content-Length": ANSWER.length });
      response.end(ANSWER);
    });
  }
  const http = `server { listen 127.0.0.1:${port}; location / { return 200 '${ANSWER}'; } }`;
  return startNginx(folder, "origin", http, port);
}

/** A small server in this process. */
export async function startNode(port: number, answer: RequestListener): Promise<Server> {
  const server = createServer(answer);
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const stop = async () => {
    server.closeAllConnections();
    server.close();
  };
  return { pid: process.pid, stop };
}
