/** An origin on a bare socket, for what no HTTP library would do: junk, silence, closing at the wrong moment. */
import { createServer, type Server, type Socket } from "node:net";

export interface TcpOrigin {
  readonly url: string;
  /** What every connection has received so far, oldest first. */
  readonly received: Buffer[];
  /** What the next connections do once a request head has arrived. */
  behave(behaviour: (socket: Socket) => void): void;
  /** Connections that have closed, from whichever side. */
  closed(): number;
  stop(): Promise<void>;
}

export async function startTcpOrigin(): Promise<TcpOrigin> {
  const received: Buffer[] = [];
  const sockets = new Set<Socket>();
  let behaviour: (socket: Socket) => void = (socket) => socket.destroy();
  let closed = 0;
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    const index = received.push(Buffer.alloc(0)) - 1;
    let headSeen = false;
    socket.on("error", () => {});
    socket.on("close", () => {
      closed++;
      sockets.delete(socket);
    });
    socket.on("data", (chunk) => {
      const all = Buffer.concat([received[index] ?? Buffer.alloc(0), chunk]);
      received[index] = all;
      if (headSeen || !all.includes("\r\n\r\n")) return;
      headSeen = true;
      behaviour(socket);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no address");
  return {
    url: `http://127.0.0.1:${address.port}`,
    received,
    behave: (next) => {
      behaviour = next;
    },
    closed: () => closed,
    stop: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
