/** One request as its client sends it, well or badly, and what came of it. */
import { once } from "node:events";
import { Agent, type ClientRequest, type IncomingMessage, request } from "node:http";
import { setTimeout as delay } from "node:timers/promises";
import { crc32 } from "node:zlib";
import type { Sent } from "./ledger.ts";
import { BODY_HEADER, ID_HEADER } from "./origin.ts";
import type { Random } from "./random.ts";

/** Nothing takes longer than the origin's time, several times over. */
const DEADLINE_MS = 30_000;
const PIECES = 12;
/** Shorter than the gateway keeps a connection open: it must not close one that is about to be used. */
const IDLE_MS = 2_000;

export interface Target {
  readonly port: number;
  /** Of this machine, which the client comes from. */
  readonly address: string;
  readonly authorization: string | null;
}

const agents = new Map<string, Agent>();

/** Writes what it finds into `sent`. */
export async function exchange(sent: Sent, target: Target, random: Random): Promise<void> {
  const body = sent.bodyBytes === 0 ? null : Buffer.alloc(sent.bodyBytes, `${sent.id} `);
  const outgoing = begin(sent, target, body);
  const isOver = new Promise<void>((resolve) => outgoing.on("close", resolve));
  const deadline = setTimeout(() => {
    sent.end = "hung";
    outgoing.destroy();
  }, DEADLINE_MS);
  outgoing.on("error", (error: NodeJS.ErrnoException) => {
    if (sent.end === "under way") sent.end = error.code === "ECONNREFUSED" ? "unreached" : "broken";
  });
  let received = Promise.resolve();
  outgoing.on("response", (response) => {
    received = receive(sent, response, outgoing, random);
  });
  await send(sent, outgoing, body, random);
  await isOver;
  await received;
  clearTimeout(deadline);
  if (sent.end === "under way") sent.end = "broken";
  sent.doneAtMs = Date.now();
}

function begin(sent: Sent, { port, address, authorization }: Target, body: Buffer | null): ClientRequest {
  return request({
    host: "127.0.0.1",
    port,
    localAddress: address,
    // What is left half-way is not used again; and an answer may come in the middle of a body.
    agent: sent.manner === "plain" && body === null ? agentOf(address) : false,
    method: sent.method,
    path: sent.path,
    headers: {
      [ID_HEADER]: String(sent.id),
      ...(authorization !== null && { Authorization: authorization }),
      ...(body !== null && {
        "Content-Length": body.length,
        "Content-Type": "application/octet-stream",
        [BODY_HEADER]: `${body.length}:${crc32(body)}`,
      }),
    },
  });
}

function agentOf(address: string): Agent {
  let agent = agents.get(address);
  if (agent === undefined) {
    agent = new Agent({ keepAlive: true, timeout: IDLE_MS });
    agents.set(address, agent);
  }
  return agent;
}

/** Connections that are kept open for the next request. */
export function letGo(): void {
  for (const agent of agents.values()) agent.destroy();
  agents.clear();
}

function leave(sent: Sent, outgoing: ClientRequest): void {
  if (sent.end === "under way") sent.end = "left";
  outgoing.destroy();
}

async function send(sent: Sent, outgoing: ClientRequest, body: Buffer | null, random: Random): Promise<void> {
  const isInPieces = sent.manner === "slow body" || sent.manner === "leaves in body";
  if (!isInPieces || body === null) outgoing.end(body ?? undefined);
  else {
    const size = Math.ceil(body.length / PIECES);
    const leavesAt = sent.manner === "leaves in body" ? random.between(0, PIECES - 2) : PIECES;
    for (let i = 0; i < PIECES && !outgoing.destroyed; i++) {
      outgoing.write(body.subarray(i * size, (i + 1) * size));
      await delay(sent.manner === "slow body" ? random.between(20, 200) : random.between(1, 20));
      if (i === leavesAt) return leave(sent, outgoing);
    }
    outgoing.end();
  }
  if (sent.manner !== "leaves before") return;
  await delay(random.between(0, 30));
  leave(sent, outgoing);
}

async function receive(
  sent: Sent,
  response: IncomingMessage,
  outgoing: ClientRequest,
  random: Random,
): Promise<void> {
  sent.status = response.statusCode ?? 0;
  sent.requestId = String(response.headers["x-request-id"] ?? "");
  sent.reason = /details="([a-z_]+)"/.exec(String(response.headers["proxy-status"] ?? ""))?.[1] ?? "";
  let [bytes, crc] = [0, 0];
  try {
    if (sent.manner === "slow read") await delay(random.between(10, 400));
    for await (const chunk of response) {
      bytes += (chunk as Buffer).length;
      crc = crc32(chunk as Buffer, crc);
      if (sent.manner === "leaves in answer") return leave(sent, outgoing);
      if (sent.manner === "slow read") await delay(random.between(5, 40));
    }
    if (sent.end !== "under way") return;
    sent.end = response.complete ? "whole" : "cut";
    sent.intact = response.headers[ID_HEADER] === `${sent.id}:${bytes}:${crc}`;
    // Of a body that it did not want, all has been taken by now.
    if (!outgoing.writableFinished) await Promise.race([once(outgoing, "finish"), once(outgoing, "close")]);
  } catch {
    if (sent.end === "under way") sent.end = "cut";
  }
}
