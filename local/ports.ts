/** Ports of this machine. */
import { randomInt } from "node:crypto";
import { once } from "node:events";
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

/** Below those that systems give to outgoing connections: one of them could be taken before it is listened at. */
const FIRST_PORT = 15_000;
const LAST_PORT = 30_000;
const TRIES = 20;

/** One on loopback that nobody listens at. */
export async function freePort(tries = TRIES): Promise<number> {
  const port = randomInt(FIRST_PORT, LAST_PORT);
  const server = await listen("127.0.0.1", port).catch((error: unknown) => {
    if (tries === 1) throw error;
    return null;
  });
  if (server === null) return freePort(tries - 1);
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
