/**
 * Whatever the gateway leans on, in whatever way it fails: the answer that is designed for it, after the time that is, with
 * one event that says so, and no stampede when it is back. The whole gateway over real authorities, in virtual time.
 *
 * Not in the table, because they can't be: an authority or a directory that is behind or answers 429 (an object has one state,
 * and is overloaded instead); Analytics Engine in any way but throwing (its call returns nothing, at once); a limiter that is
 * behind (it is approximate by its nature); an origin that is overloaded (it answers 429 or 503, which are its own to say).
 */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { digestOf } from "../../src/credential/credential.ts";
import { handle } from "../../src/edge.ts";
import type { Env } from "../../src/env.ts";
import { LeaseDesk } from "../../src/lease/desk.ts";
import type { GatewayEvent } from "../../src/telemetry/event.ts";
import { record } from "../support/record.ts";
import { stubRuntime } from "../support/runtime.ts";
import { World } from "../support/world.ts";

const ACME = tenantIdOf("acme");
const SECRETS = {
  key: digestOf("the key"),
  token: `pos_${"Tk1".repeat(13)}A`,
  "token of an authorization server's": `pos_${"As1".repeat(13)}A`,
  "unknown key": digestOf("no key"),
} as const;
const INTROSPECTION_URL = "https://login.example/introspect";
const RFC_7662 = {
  INTROSPECTION_MODE: "rfc7662",
  INTROSPECTION_URL,
  INTROSPECTION_CLIENT_ID: "the gateway",
  INTROSPECTION_CLIENT_SECRET: "the client secret of these tests",
};
const SLOW_MS = 400;
const SECOND = 1_000;

type Kind = keyof typeof SECRETS;
type Fault =
  | "is slow"
  | "hangs"
  | "throws"
  | "is overloaded"
  | "answers 429"
  | "says something else"
  | "is behind";
/** Never seen by the isolate; on a lease; on one that is over, as is what was found out about a token. */
type State = "cold" | "warm" | "stale";

beforeEach(stubRuntime);
afterEach(() => {
  vi.unstubAllGlobals();
  vi.useRealTimers();
  vi.restoreAllMocks();
});

interface Answer {
  /** `200`, `200 degraded`, `200 stale`, or the status with what the event says of it. */
  readonly is: string;
  readonly afterMs: number;
}

class Stage {
  readonly limiter = { limit: async () => ({ success: true }) };
  readonly points = { writeDataPoint: (_point: unknown): void => {} };
  readonly world: World;
  readonly #events: GatewayEvent[] = [];

  constructor(kind: Kind) {
    const vars = { LOG_REQUESTS: "all", INTROSPECTION_TTL: "10", ...this.#bindings() };
    const isIntrospected = kind === "token of an authorization server's";
    this.world = new World({ ...vars, ...(isIntrospected && RFC_7662) }, this.limiter);
    vi.stubGlobal("fetch", async (url: string | URL) => {
      this.world.originCalls++;
      return this.world.origin("", String(url));
    });
    vi.spyOn(console, "log").mockImplementation((line: string) => {
      record("unit", line);
      this.#events.push(JSON.parse(line));
    });
    this.world.origin = (_, url) =>
      isQuestion(url)
        ? Response.json({ connected: true, active: true })
        : new Response("[]", { headers: { "Content-Length": "2" } });
  }

  /** Tenant acme with its key; `secret` is in `state` in the isolate that is returned. */
  async open(kind: Kind, state: State): Promise<Env> {
    const { world } = this;
    const key = { digest: digestOf(SECRETS.key), keyId: "k", name: "", expiresAtMs: null };
    const lines = [
      { type: "tenant", tenantId: ACME, name: "Acme" },
      { type: "api_key", tenantId: ACME, ...key },
    ] as const;
    await world.authority(ACME).import(ACME, lines, "tests");
    await world.pass(2 * SECOND);
    const isolate = world.env();
    if (state !== "cold") await this.ask([isolate], kind);
    if (state === "stale") await world.pass(kind.startsWith("token") ? 12 * SECOND : 7 * SECOND);
    return isolate;
  }

  /** The answers to requests that are sent at once, each to one of `isolates`. */
  async ask(isolates: readonly Env[], kind: Kind): Promise<Answer[]> {
    const answers = isolates.map((isolate) => this.#send(isolate, kind));
    let isOver = false;
    const all = Promise.all(answers).finally(() => {
      isOver = true;
    });
    for (let waitedMs = 0; !isOver && waitedMs < 60 * SECOND; waitedMs += SECOND / 2) {
      await this.world.pass(SECOND / 2);
    }
    const ended = await all;
    // The event of an answer that was streamed comes after its end.
    await this.world.pass(1);
    return ended.map(({ status, id, afterMs }) => {
      const events = this.#events.filter(({ requestId }) => requestId === id);
      expect(events, "one event a request").toHaveLength(1);
      return { is: told(status, events[0]), afterMs };
    });
  }

  async #send(isolate: Env, kind: Kind) {
    const headers = new Headers({ Host: "gateway.example", Authorization: SECRETS[kind] });
    const request = new Request("http://gateway.example/public/v1/integrations", { headers });
    const context = { waitUntil: () => {} } as unknown as ExecutionContext;
    const askedAtMs = Date.now();
    const response = await handle(request, isolate, context);
    await response.arrayBuffer();
    const id = response.headers.get("X-Request-Id");
    return { status: response.status, id, afterMs: Date.now() - askedAtMs };
  }

  #bindings(): Record<string, string> {
    return { EVENTS: this.points } as unknown as Record<string, string>;
  }
}

/** About a token: to Postiz, or to the authorization server. */
const isQuestion = (url: string) => url.endsWith("/is-connected") || url === INTROSPECTION_URL;

function told(status: number, event: GatewayEvent | undefined): string {
  if (event === undefined || event.status !== status) return `${status}, and no event of it`;
  const marks = [event.stale && "stale", event.degraded && "degraded"].filter(Boolean);
  const outcome = event.outcome === "forwarded" ? marks.join(" ") : event.outcome;
  return `${status} ${outcome}`.trim();
}

const never = () => new Promise<never>(() => {});
const failure = (message: string, flags = {}) => Promise.reject(Object.assign(new Error(message), flags));

/** What a call to something comes to that fails in this way. */
function failing<Value>(
  fault: Fault,
  call: () => Value | Promise<Value>,
  { wrong, behind }: { wrong?: Value; behind?: Value } = {},
): Promise<Value> {
  switch (fault) {
    case "is slow":
      return new Promise((resolve) => setTimeout(() => resolve(call()), SLOW_MS));
    case "hangs":
      return never();
    case "throws":
      return failure("it failed");
    case "is overloaded":
      return failure("it is overloaded", { overloaded: true, retryable: true });
    case "answers 429":
      return failure("429 Too Many Requests");
    case "says something else":
      return Promise.resolve(wrong as Value);
    case "is behind":
      return Promise.resolve(behind as Value);
  }
}

/** Each breaks one thing, and returns what mends it. */
const BREAK: Record<string, (stage: Stage, fault: Fault) => () => void> = {
  KV({ world: { credentials } }, fault) {
    const get = credentials.get.bind(credentials);
    credentials.get = (name) => failing<string | null>(fault, () => get(name), { wrong: "{", behind: null });
    return () => {
      credentials.get = get;
    };
  },
  authority: ({ world }, fault) => breakCalls(world, fault, (method) => method.startsWith("lease")),
  "authority's ear": ({ world }, fault) => breakCalls(world, fault, (method) => method === "testify"),
  directory: ({ world }, fault) => breakCalls(world, fault, (method) => method.startsWith("directory.")),
  introspection: (stage, fault) => breakOrigin(stage, fault, true),
  origin: (stage, fault) => breakOrigin(stage, fault, false),
  "Analytics Engine"({ points }) {
    const { writeDataPoint } = points;
    points.writeDataPoint = () => {
      throw new Error("it failed");
    };
    return () => {
      points.writeDataPoint = writeDataPoint;
    };
  },
  "flood limiter"({ limiter }, fault) {
    const { limit } = limiter;
    limiter.limit = () => failing(fault, limit, { wrong: null as unknown as { success: boolean } });
    return () => {
      limiter.limit = limit;
    };
  },
};

function breakCalls(world: World, fault: Fault, isMeant: (method: string) => boolean): () => void {
  world.before = (method) => (isMeant(method) ? failing(fault, () => {}) : undefined);
  world.garbles = (method) => fault === "says something else" && isMeant(method);
  return () => {
    world.before = () => {};
    world.garbles = () => false;
  };
}

function breakOrigin({ world }: Stage, fault: Fault, isIntrospection: boolean): () => void {
  const { origin } = world;
  const tooMany = () => new Response("{}", { status: 429, headers: { "Retry-After": "7" } });
  const wrong = new Response("<html>", { status: 502 });
  world.origin = (authorization, url) => {
    const answer = () => origin(authorization, url);
    if (isQuestion(url) !== isIntrospection) return answer();
    return fault === "answers 429" ? tooMany() : failing(fault, answer, { wrong });
  };
  return () => {
    world.origin = origin;
  };
}

const OK = "200";
const NO_KV = "503 credentials_unavailable";
const NO_AUTHORITY = "503 authority_unavailable";
const NO_WORD = "503 introspection_unavailable";

/** What breaks, for whom, how; what is answered where the credential is cold, warm and stale, each "after" so many ms. */
const TABLE: readonly (readonly [keyof typeof BREAK, Kind, Fault, string, string, string])[] = [
  ["KV", "key", "is slow", `${OK} after 800`, OK, OK],
  ["KV", "key", "hangs", `${NO_KV} after 2000`, OK, OK],
  ["KV", "key", "throws", NO_KV, OK, OK],
  ["KV", "key", "answers 429", NO_KV, OK, OK],
  ["KV", "key", "says something else", NO_KV, OK, OK],
  ["KV", "key", "is behind", "401 key_unknown", OK, OK],
  ["KV", "token", "is slow", `${OK} after 800`, OK, OK],
  ["KV", "token", "hangs", `${NO_KV} after 2000`, OK, OK],
  ["KV", "token", "throws", NO_KV, OK, OK],
  ["KV", "token", "says something else", NO_KV, OK, OK],
  ["KV", "token", "is behind", OK, OK, OK],
  ["authority", "key", "is slow", `${OK} after 400`, OK, `${OK} after 400`],
  ["authority", "key", "hangs", `${NO_AUTHORITY} after 1000`, OK, `${OK} degraded after 1000`],
  ["authority", "key", "throws", NO_AUTHORITY, OK, `${OK} degraded`],
  ["authority", "key", "is overloaded", NO_AUTHORITY, OK, `${OK} degraded`],
  ["authority", "key", "says something else", NO_AUTHORITY, OK, `${OK} degraded`],
  ["authority", "token", "is slow", `${OK} after 400`, OK, `${OK} after 800`],
  ["authority", "token", "hangs", `${NO_AUTHORITY} after 1000`, OK, `${NO_AUTHORITY} after 1000`],
  ["authority", "token", "throws", NO_AUTHORITY, OK, NO_AUTHORITY],
  ["authority", "token", "is overloaded", NO_AUTHORITY, OK, NO_AUTHORITY],
  ["authority", "token", "says something else", NO_AUTHORITY, OK, NO_AUTHORITY],
  ["authority's ear", "token", "is slow", `${OK} after 400`, OK, `${OK} after 400`],
  ["authority's ear", "token", "hangs", `${NO_WORD} after 1000`, OK, `${NO_WORD} after 1000`],
  ["authority's ear", "token", "throws", NO_WORD, OK, NO_WORD],
  ["authority's ear", "token", "is overloaded", NO_WORD, OK, NO_WORD],
  ["directory", "token", "is slow", `${OK} after 800`, OK, OK],
  ["directory", "token", "hangs", `${NO_WORD} after 1000`, OK, OK],
  ["directory", "token", "throws", NO_WORD, OK, OK],
  ["directory", "token", "is overloaded", NO_WORD, OK, OK],
  ["directory", "key", "hangs", OK, OK, OK],
  ["introspection", "token", "is slow", `${OK} after 400`, OK, `${OK} after 400`],
  ["introspection", "token", "hangs", `${NO_WORD} after 2000`, OK, `${OK} stale after 2000`],
  ["introspection", "token", "throws", NO_WORD, OK, `${OK} stale`],
  ["introspection", "token", "answers 429", NO_WORD, OK, `${OK} stale`],
  ["introspection", "token", "says something else", NO_WORD, OK, `${OK} stale`],
  ["introspection", "key", "hangs", OK, OK, OK],
  ...(
    [
      ["is slow", `${OK} after 400`, OK, `${OK} after 400`],
      ["hangs", `${NO_WORD} after 2000`, OK, `${OK} stale after 2000`],
      ["throws", NO_WORD, OK, `${OK} stale`],
      ["answers 429", NO_WORD, OK, `${OK} stale`],
      ["says something else", NO_WORD, OK, `${OK} stale`],
    ] as const
  ).map((row) => ["introspection", "token of an authorization server's", ...row] as const),
  ["origin", "key", "is slow", `${OK} after 400`, `${OK} after 400`, `${OK} after 400`],
  ["origin", "key", "hangs", ...thrice("504 origin_timeout after 30000")],
  ["origin", "key", "throws", ...thrice("502 origin_unreachable")],
  ["origin", "key", "answers 429", ...thrice("429")],
  ["origin", "key", "says something else", ...thrice("502")],
  ["Analytics Engine", "key", "throws", OK, OK, OK],
  ["flood limiter", "unknown key", "is slow", ...thrice("401 key_unknown after 400", "401 key_unknown")],
  ["flood limiter", "unknown key", "hangs", ...thrice("401 key_unknown after 500", "401 key_unknown")],
  ["flood limiter", "unknown key", "throws", ...thrice("401 key_unknown")],
  ["flood limiter", "unknown key", "says something else", ...thrice("401 key_unknown")],
];

function thrice(cold: string, later = cold): [string, string, string] {
  return [cold, later, later];
}

describe.each(TABLE)(
  "where the %s, for a credential that is a %s, %s",
  (what, kind, fault, cold, warm, stale) => {
    it.each([
      ["cold", cold],
      ["warm", warm],
      ["stale", stale],
    ] as const)("%s: %s, and as ever when it is back", async (state, designed) => {
      const stage = new Stage(kind);
      const isolate = await stage.open(kind, state);
      const mend = BREAK[what]?.(stage, fault);
      const { authorityCalls } = stage.world;
      const [{ is, afterMs } = NO_ANSWER] = await stage.ask([isolate], kind);
      expect(afterMs === 0 ? is : `${is} after ${afterMs}`).toBe(designed);
      expect(stage.world.authorityCalls - authorityCalls, "calls to authorities").toBeLessThanOrEqual(3);
      mend?.();
      await expectRecovery(stage, isolate, kind);
    });
  },
);

const NO_ANSWER: Answer = { is: "nothing", afterMs: 0 };
/** Longest that anything is remembered which was said while something was broken. */
const RECOVERED_AFTER_MS = 10 * SECOND;

/** A hundred requests at once, of one isolate that went through it all and of nine new ones. */
async function expectRecovery(stage: Stage, isolate: Env, kind: Kind): Promise<void> {
  const { world } = stage;
  await world.pass(RECOVERED_AFTER_MS);
  await stage.ask([isolate], kind);
  const before = [world.authorityCalls, world.credentials.reads, world.originCalls] as const;
  const isolates = [isolate, ...Array.from({ length: 9 }, () => world.env())];
  const asked = await stage.ask(Array(10).fill(isolates).flat(), kind);
  expect([...new Set(asked.map(({ is }) => is))]).toEqual([kind === "unknown key" ? "401 key_unknown" : OK]);
  // Each isolate asks an authority two or three times and KV once, whatever the requests that wait for it.
  expect(world.authorityCalls - before[0], "calls to authorities").toBeLessThanOrEqual(30);
  expect(world.credentials.reads - before[1], "reads from KV").toBeLessThanOrEqual(10);
  // Beside the requests themselves, one introspection.
  expect(world.originCalls - before[2], "calls to the origin").toBeLessThanOrEqual(101);
}

it("where an introspection hangs, the last good answer is waited for, however long authorities take to tell it", async () => {
  const stage = new Stage("token");
  const isolate = await stage.open("token", "stale");
  const mend = BREAK["introspection"]?.(stage, "hangs");
  stage.world.before = () => new Promise((resolve) => setTimeout(resolve, 50));
  const answers = await stage.ask([isolate, isolate, stage.world.env()], "token");
  expect(answers.map(({ is }) => is)).toEqual(Array(3).fill(`${OK} stale`));
  for (const { afterMs } of answers) expect(afterMs).toBeLessThan(2_500);
  mend?.();
  stage.world.before = () => {};
  await expectRecovery(stage, isolate, "token");
});

it("what fails in the background is one line in the log, and the request that began it is served", async () => {
  const stage = new Stage("key");
  const isolate = await stage.open("key", "warm");
  vi.spyOn(LeaseDesk.prototype, "renew").mockRejectedValue(new Error("a bug of our own"));
  await stage.world.pass(4 * SECOND);
  expect((await stage.ask([isolate], "key"))[0]?.is).toBe(OK);
  const lines = vi.mocked(console.error).mock.calls.map(([line]) => JSON.parse(String(line)));
  expect(lines.filter(({ event }) => event === "background_failed")).toEqual([
    { event: "background_failed", error: expect.stringContaining("a bug of our own") },
  ]);
});

it("a key that is revoked while KV can't be written is refused all the same, and KV hears of it in the end", async () => {
  const stage = new Stage("key");
  const isolate = await stage.open("key", "warm");
  const { credentials } = stage.world;
  const put = credentials.put.bind(credentials);
  credentials.put = () => failure("KV PUT failed: 500");
  const revoked = await stage.world.authority(ACME).revokeKeyById("k", "tests");
  if (!revoked.ok) throw new Error(revoked.detail);
  await stage.world.pass(Date.parse(revoked.effectiveBy) - Date.now());
  const asked = await stage.ask([isolate, stage.world.env()], "key");
  expect(asked.map(({ is }) => is)).toEqual(["401 key_revoked", "401 key_revoked"]);
  credentials.put = put;
  await stage.world.pass(300 * SECOND);
  expect(JSON.parse(credentials.stored.get(digestOf(SECRETS.key)) ?? "{}")).toMatchObject({
    state: "revoked",
  });
});
