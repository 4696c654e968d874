/** Ports of this machine, loopback only. */
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { createServer, type Server } from "node:net";
import { UserError } from "./project.ts";

/** Makes sure that `port` is free, and finds another one that is. */
export async function findPorts(port: number): Promise<number> {
  const wanted = await listen(port).catch((error: NodeJS.ErrnoException) => {
    throw new UserError(
      `Port ${port} of 127.0.0.1 can't be used: ${REASONS[error.code ?? ""] ?? error.message}. Set PORT to another one.`,
    );
  });
  const other = await listen(0);
  const found = (other.address() as AddressInfo).port;
  await Promise.all([close(wanted), close(other)]);
  return found;
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there",
  EACCES: "this user may not listen there",
};

async function listen(port: number): Promise<Server> {
  const server = createServer().listen(port, "127.0.0.1");
  await once(server, "listening");
  return server;
}

async function close(server: Server): Promise<void> {
  server.close();
  await once(server, "close");
}
