/** Who sends: many kinds of clients, each in a loop of its own, each with a chance of its own. */
import { setTimeout as delay } from "node:timers/promises";
import { exchange, type Target } from "./exchange.ts";
import { type Manner, type Secret, type Sent, standing } from "./ledger.ts";
import type { Population } from "./population.ts";
import type { Random } from "./random.ts";

const UNREACHED_PAUSE_MS = 200;
/** What fits into no buffer on the way. */
const LARGE_ANSWER = 1_500_000;

interface Ask {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  readonly manner?: Manner;
  readonly secret: Secret | null;
  /** Where it is not the secret's own value. */
  readonly authorization?: string | null;
  readonly refusedFor?: readonly string[];
  readonly bodyBytes?: number;
}

interface Kind {
  readonly name: string;
  readonly loops: number;
  /** Between two requests of a loop, on average. */
  readonly pauseMs: number;
  /** Of this machine: those who guess are not to be taken for the others. */
  readonly address: string;
  readonly next: (random: Random, population: Population) => Ask;
}

/** Spellings of two paths. */
const READS = ["/public/v1/integrations", "/api//public/V1/Integrations/", "/public/v1/posts"];
const UPLOAD = "/public/v1/upload";

const KINDS: readonly Kind[] = [
  {
    name: "reads",
    loops: 8,
    pauseMs: 100,
    address: "127.0.0.2",
    next: (random, population) => {
      const path = `${random.pick(READS)}?size=${random.between(0, 3_000)}`;
      return { method: "GET", path, secret: anyGood(random, population) };
    },
  },
  {
    name: "new posts",
    loops: 2,
    pauseMs: 150,
    address: "127.0.0.3",
    next: (random, population) => {
      const secret = anyGood(random, population);
      return { method: "POST", path: "/public/v1/posts", secret, bodyBytes: random.between(50, 4_000) };
    },
  },
  {
    name: "uploads",
    loops: 2,
    pauseMs: 300,
    address: "127.0.0.4",
    next: (random, population) => {
      const bodyBytes = random.between(1_000, 1_000_000);
      return { method: "POST", path: UPLOAD, secret: anyGood(random, population), bodyBytes };
    },
  },
  {
    name: "slow uploads",
    loops: 4,
    pauseMs: 200,
    address: "127.0.0.5",
    next: (random, population) => {
      const bodyBytes = random.between(20_000, 400_000);
      const secret = anyGood(random, population);
      return { method: "POST", path: UPLOAD, manner: "slow body", secret, bodyBytes };
    },
  },
  {
    name: "slow readers",
    loops: 3,
    pauseMs: 300,
    address: "127.0.0.6",
    next: (random, population) => {
      const path = `/public/v1/posts?size=${LARGE_ANSWER}`;
      return { method: "GET", path, manner: "slow read", secret: anyGood(random, population) };
    },
  },
  {
    name: "clients that vanish",
    loops: 4,
    pauseMs: 250,
    address: "127.0.0.7",
    next: (random, population) => {
      const manner = random.pick(["leaves before", "leaves in body", "leaves in answer"] as const);
      const secret = anyGood(random, population);
      if (manner === "leaves in body") {
        const bodyBytes = random.between(20_000, 400_000);
        return { method: "POST", path: random.pick([UPLOAD, "/public/v1/posts"]), manner, secret, bodyBytes };
      }
      return { method: "GET", path: `/public/v1/posts?size=${LARGE_ANSWER}`, manner, secret };
    },
  },
  {
    name: "strangers",
    loops: 2,
    pauseMs: 300,
    address: "127.0.0.66",
    next: (random) => {
      const read = { method: "GET", path: "/public/v1/integrations", secret: null } as const;
      const [authorization, ...refusedFor] = random.pick([
        [
          random
            .between(0, 2 ** 30)
            .toString(16)
            .padStart(64, "0"),
          "key_unknown",
          "flood",
        ],
        [null, "credential_missing"],
        ["two words of nothing", "credential_malformed"],
        ["pos_short", "credential_malformed"],
      ] as const);
      return { ...read, authorization, refusedFor };
    },
  },
  {
    name: "forgers",
    loops: 1,
    pauseMs: 400,
    address: "127.0.0.67",
    next: (random, { forged }) => {
      const read = { method: "GET", path: "/public/v1/integrations", secret: null } as const;
      return { ...read, authorization: random.pick(forged), refusedFor: ["key_unknown", "flood"] };
    },
  },
  {
    name: "holders of what has ended",
    loops: 3,
    pauseMs: 120,
    address: "127.0.0.8",
    next: (random, population) => {
      const secret = anyEnding(random, population) ?? anyGood(random, population);
      return { method: "GET", path: random.pick(READS), secret };
    },
  },
  {
    name: "those who go beyond",
    loops: 1,
    pauseMs: 250,
    address: "127.0.0.9",
    next: (random, { readOnly, elsewhere }) =>
      random.chance(0.5)
        ? {
            method: "POST",
            path: "/public/v1/posts",
            secret: readOnly,
            refusedFor: ["scope_insufficient"],
            bodyBytes: 100,
          }
        : { method: "GET", path: READS[0] ?? "", secret: elsewhere, refusedFor: ["network_not_allowed"] },
  },
  ...[0, 1, 2, 3].map(
    (i): Kind => ({
      name: "tenants near their limits",
      loops: 2,
      pauseMs: i === 3 ? 200 : 400,
      address: "127.0.0.10",
      next: (random, { narrow }) => {
        const secret = narrow[i]?.secret ?? null;
        return random.chance(0.25)
          ? { method: "POST", path: "/public/v1/posts", secret, bodyBytes: 60 }
          : { method: "GET", path: READS[0] ?? "", secret };
      },
    }),
  ),
];

/** Resolves when the last of them has ended what it had begun. */
export async function sendAll(
  port: number,
  population: Population,
  random: Random,
  sent: Sent[],
  signal: AbortSignal,
): Promise<void> {
  const loops = KINDS.flatMap((kind) => Array.from({ length: kind.loops }, () => kind));
  await Promise.all(
    loops.map(async (kind, i) => {
      const own = random.fork(i);
      while (!signal.aborted) {
        await delay(own.pause(kind.pauseMs));
        const entry = await sendOne(port, kind, kind.next(own, population), own, sent);
        if (entry.end === "unreached") await delay(UNREACHED_PAUSE_MS);
      }
    }),
  );
}

/** Each secret once: of a token that was never asked about nobody can say, in trouble, whether it is active. */
export async function warmUp(
  port: number,
  { tenants }: Population,
  random: Random,
  sent: Sent[],
): Promise<void> {
  const kind = { name: "first of all", address: "127.0.0.11" };
  for (const secret of tenants.flatMap(({ secrets }) => secrets)) {
    await sendOne(port, kind, { method: "GET", path: "/public/v1/integrations", secret }, random, sent);
  }
}

async function sendOne(
  port: number,
  kind: Pick<Kind, "name" | "address">,
  ask: Ask,
  random: Random,
  sent: Sent[],
): Promise<Sent> {
  const entry = entryFor(kind, ask, sent.length + 1);
  sent.push(entry);
  const { authorization = ask.secret?.value ?? null } = ask;
  const target: Target = { port, address: kind.address, authorization };
  await exchange(entry, target, random);
  return entry;
}

function entryFor(kind: Pick<Kind, "name">, ask: Ask, id: number): Sent {
  const { method, path, secret, manner = "plain", bodyBytes = 0, refusedFor = null } = ask;
  return {
    id,
    kind: kind.name,
    manner,
    method,
    path,
    policy: method === "POST" && path === "/public/v1/posts" ? "posts" : "api",
    secret,
    refusedFor,
    bodyBytes,
    sentAtMs: Date.now(),
    doneAtMs: 0,
    end: "under way",
    status: 0,
    requestId: "",
    reason: "",
    intact: false,
  };
}

function anyGood(random: Random, { tenants }: Population): Secret {
  const now = Date.now();
  const { secrets } = random.pick(tenants);
  return random.pick(secrets.filter((secret) => standing(secret, now, now) === "good"));
}

/** That is about to end, or has ended not long ago. */
function anyEnding(random: Random, { tenants }: Population): Secret | null {
  const now = Date.now();
  const ending = random
    .pick(tenants)
    .secrets.slice(-20)
    .filter((secret) => standing(secret, now, now) !== "good");
  return ending.length === 0 ? null : random.pick(ending);
}
