/**
 * What arrived, as the runtime shows it to a Worker: header names in lower case, repeated headers joined.
 * Tests use it as an oracle, so it keeps raw credentials and asks for none itself.
 */
import { json, noContent } from "./answers.ts";

/** Grows while a body arrives, so that a reader of the log can see the first bytes before the last are sent. */
export interface Arrival {
  readonly method: string;
  readonly url: string;
  readonly headers: readonly (readonly [string, string])[];
  /** Milliseconds since the epoch, like the two below. */
  readonly at: number;
  firstByteAt?: number;
  /** Absent on a body that is still arriving or never ended. */
  lastByteAt?: number;
  /** Moves in steps of 256 KiB after the first chunk. */
  bytes?: number;
  /** Of the raw body, uploads only. */
  sha256?: string;
}

const MAX_ARRIVALS = 2000;
const ABOUT =
  "A stand-in for Postiz, for demonstrations and tests. Not Postiz: nothing is published, nothing is kept.\n" +
  "GET /_origin/log shows what arrived, credentials included; DELETE /_origin/log forgets it.\n";

let arrivals: Arrival[] = [];

export function recordArrival(request: Request): Arrival {
  const { method, url, headers } = request;
  const arrival: Arrival = { method, url, headers: [...headers], at: Date.now() };
  arrivals.push(arrival);
  if (arrivals.length > MAX_ARRIVALS) arrivals.shift();
  return arrival;
}

/** To be called with every chunk of a body. */
export function countBytes(arrival: Arrival, bytes: number): void {
  arrival.firstByteAt ??= Date.now();
  arrival.bytes = (arrival.bytes ?? 0) + bytes;
}

/** The server's own routes, beside the ones it imitates. They leave no trace in the log. */
export function serveControl(method: string, path: string): Response | undefined {
  if (path === "/_origin" && method === "GET") return new Response(ABOUT);
  if (path !== "/_origin/log") return undefined;
  if (method === "GET") return json(200, arrivals);
  if (method !== "DELETE") return undefined;
  arrivals = [];
  return noContent();
}
