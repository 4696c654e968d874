/** Ports of this machine. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type Server } from "node:net";
import { UserError } from "./project.ts";

/** Makes sure that `port` is free, and finds another one on loopback that is. */
export async function findPorts(host: string, port: number, advice: string): Promise<number> {
  const wanted = await listen(host, port).catch((error: NodeJS.ErrnoException) => {
    const reason = REASONS[error.code ?? ""] ?? error.message;
    throw new UserError(`Port ${port} of ${host} can't be used: ${reason}. ${advice}.`);
  });
  // While the wanted one is held, so that it is another.
  const other = await freePort();
  await close(wanted);
  return other;
}

/** One on loopback that nobody listens at. */
export async function freePort(): Promise<number> {
  const server = await listen("127.0.0.1", 0);
  const { port } = server.address() as AddressInfo;
  await close(server);
  return port;
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there",
  EACCES: "this user may not listen there",
  EADDRNOTAVAIL: "this machine has no such address",
};

async function listen(host: string, port: number): Promise<Server> {
  const server = createServer().listen(port, host);
  await once(server, "listening");
  return server;
}

async function close(server: Server): Promise<void> {
  server.close();
  await once(server, "close");
}
