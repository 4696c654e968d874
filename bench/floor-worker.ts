/**
 * What the wire's promises cost by themselves, in one file: fields dropped and set, no cache, no redirect, a time limit, a body that
 * is seen to end before its event is written, and an event also for a client that leaves. It asks nobody who the client is,
 * and counts nothing; a gateway can come near it, and not beyond.
 */
import type { EventStore } from "../src/telemetry/event-batch.ts";
import { continueTrace } from "../src/upstream/trace-context.ts";

interface FloorEnv {
  readonly ORIGIN_URL: string;
  readonly EVENT_STORE: EventStore;
}

const DROPPED = new Set(["connection", "host", "via", "x-request-id", "traceparent", "tracestate"]);
const TIMEOUT_MS = 30_000;
const MAX_EVENTS = 200;
let events: unknown[] = [];

export default {
  fetch(request, env, ctx) {
    const answered = relay(request, env, ctx);
    ctx.waitUntil(answered);
    return answered;
  },
} satisfies ExportedHandler<FloorEnv>;

async function relay(
  request: Request,
  { ORIGIN_URL, EVENT_STORE }: FloorEnv,
  ctx: ExecutionContext,
): Promise<Response> {
  const { url, method, cf } = request;
  const arrivedAtMs = Date.now();
  const requestId = crypto.randomUUID();
  const headers = new Headers();
  for (const [name, value] of request.headers) if (!DROPPED.has(name)) headers.append(name, value);
  headers.set("X-Forwarded-For", String(cf?.["clientIp"]));
  headers.set("X-Forwarded-Proto", "http");
  headers.set("X-Forwarded-Host", "127.0.0.1");
  headers.set("X-Request-Id", requestId);
  headers.set("traceparent", continueTrace(request.headers).traceparent);
  headers.set("Via", "1.1 floor");
  const { promise: expired, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error("time is up")), TIMEOUT_MS);
  const call = {
    method,
    headers,
    redirect: "manual",
    cache: "no-store",
    encodeResponseBody: "manual",
  } as const;
  const origin = await Promise.race([fetch(ORIGIN_URL + url.slice(url.indexOf("/", 8)), call), expired]);
  const body = await Promise.race([origin.arrayBuffer(), expired]);
  clearTimeout(timer);
  const { status, statusText, headers: sent } = origin;
  const response = new Response(body, { status, statusText, headers: sent, encodeBody: "manual" });
  response.headers.delete("Connection");
  response.headers.set("RateLimit-Policy", '"api";q=600;w=60');
  response.headers.set("RateLimit", '"api";r=599;t=60');
  response.headers.set("Cache-Control", "private");
  response.headers.set("X-Request-Id", requestId);
  const originMs = Date.now() - arrivedAtMs;
  events.push({ time: new Date(arrivedAtMs).toISOString(), requestId, method, status, originMs });
  if (events.length >= MAX_EVENTS) {
    ctx.waitUntil(EVENT_STORE.append(JSON.stringify(events)));
    events = [];
  }
  return response;
}
