/** The introspection cache: many isolates, one authority, an origin that says what it likes. */
import { afterEach, describe, expect, it, vi } from "vitest";
import { tenantIdOf, unlinkedIdOf } from "../../src/authority/tenant-id.ts";
import { type Credential, digestOf } from "../../src/credential/credential.ts";
import type { Deps } from "../../src/deps.ts";
import { type Asked, type Origin, says, World } from "../support/world.ts";
import { passed, reasonOf } from "./result.ts";

const TOKEN: Credential = { kind: "oauth_token", secret: `pos_${"Tk1".repeat(13)}A` };
const KEY: Credential = { kind: "api_key", secret: "a".repeat(64) };
const SECOND = 1_000;
/** Without leases: each request is decided by the authority, on what it knows then. */
const EACH_REQUEST = { LEASE_TTL: "0" };
const TTL_MS = 60 * SECOND;
const STALE_MS = 600 * SECOND;

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** What became of a request, in one word. */
function outcomeOf({ result }: Asked): string {
  if (!result.ok) return result.denial.reason;
  const { verdict, stale } = result.value.grant;
  return stale === true ? "stale" : verdict;
}

/** Asks while time passes, for what has to wait. */
async function askWithin(world: World, isolate: Deps, ms: number, credential = TOKEN): Promise<string> {
  const asked = world.ask(isolate, credential);
  await world.pass(ms);
  return outcomeOf(await asked);
}

/** A token that is known to be active, since now. */
async function knownToken(world: World): Promise<Deps> {
  const isolate = world.isolate();
  expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("granted");
  await world.pass(0);
  return isolate;
}

describe("only an exact answer is one", () => {
  const hugeBody: Origin = () => new Response(`{"connected":true}${" ".repeat(100_000)}`);
  const body =
    (text: string, status = 200): Origin =>
    () =>
      new Response(text, { status });

  it.each<[string, Origin]>([
    ["an empty 401, as of a database that is down", says.emptyRefusal],
    ["403", body("{}", 403)],
    ["500", body('{"msg":"Invalid OAuth token"}', 500)],
    ["HTML", body("<html><title>Postiz</title></html>")],
    ["HTML with 401", body("<html>", 401)],
    [
      "a redirect",
      () => new Response(null, { status: 302, headers: { Location: "https://elsewhere.example" } }),
    ],
    ["a huge body", hugeBody],
    ['"true"', body('{"connected":"true"}')],
    ["1", body('{"connected":1}')],
    ["null", body('{"connected":null}')],
    ["null for an object", body("null")],
    ["JSON that breaks off", body('{"connected":tr')],
    ["204", () => new Response(null, { status: 204 })],
    ["201 with the right body", body('{"connected":true}', 201)],
    ["another refusal", body('{"msg":"No API Key found"}', 401)],
    ["a refusal with more in it", body('{"msg":"Invalid OAuth token","x":1}', 401)],
    ["a failing connection", () => Promise.reject(new Error("Network connection lost"))],
  ])("%s is unknown: 503 and never 401, nothing cached", async (_, origin) => {
    const world = new World({ LEARN_FROM_ORIGIN: "true" });
    const isolate = world.isolate();
    world.origin = origin;
    for (const credential of [TOKEN, KEY]) {
      expect(outcomeOf(await world.ask(isolate, credential))).toBe("introspection_unavailable");
    }
    expect([world.authorityCalls, world.credentials.writes, world.introspection.writes]).toEqual([0, 0, 0]);
    world.origin = says.yes;
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("granted");
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("granted");
  });

  it("a server that hangs costs the client no more than INTROSPECTION_TIMEOUT_MS", async () => {
    const world = new World({ INTROSPECTION_TIMEOUT_MS: "1500" });
    world.origin = says.nothing;
    const before = Date.now();
    let endedAt = 0;
    const asked = world.ask(world.isolate(), TOKEN).then((found) => {
      endedAt = Date.now();
      return found;
    });
    await world.pass(10 * SECOND);
    expect(outcomeOf(await asked)).toBe("introspection_unavailable");
    expect(endedAt - before).toBe(1_500);
  });

  it("a server that hangs costs the client of a known token no more than that, and the next nothing", async () => {
    const world = new World();
    const isolate = await knownToken(world);
    await world.pass(TTL_MS);
    world.origin = says.nothing;
    const before = Date.now();
    const asked = world.ask(isolate, TOKEN).then((found) => [outcomeOf(found), Date.now() - before]);
    await world.pass(10 * SECOND);
    expect(await asked).toEqual(["stale", 2_000]);
  });
});

describe("the life of an answer", () => {
  it("is INTROSPECTION_TTL from when it was asked for, not from when it came", async () => {
    const world = new World();
    const isolate = world.isolate();
    world.origin = () => new Promise((resolve) => setTimeout(() => resolve(says.yes()), 1_500));
    expect(await askWithin(world, isolate, 1_500)).toBe("granted");
    world.origin = says.noToken;
    await world.pass(TTL_MS - 1_500 - 1 - 0.1 * TTL_MS);
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("granted");
    await world.pass(0.1 * TTL_MS + 1);
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("token_inactive");
  });

  it("is never extended by a hit, however many there are", async () => {
    const world = new World(EACH_REQUEST);
    const isolate = await knownToken(world);
    world.origin = says.emptyRefusal;
    const seen: string[] = [];
    for (let second = 0; second < 70; second += 1) {
      await world.pass(SECOND);
      seen.push(outcomeOf(await world.ask(isolate, TOKEN)));
    }
    // A second is kept back for grants on their way.
    expect(seen.indexOf("stale")).toBe(58);
    expect(new Set(seen.slice(0, 58))).toEqual(new Set(["granted"]));
  });

  it("ends with it the grant that rests on it", async () => {
    const world = new World({ ...EACH_REQUEST, INTROSPECTION_TTL: "2" });
    const isolate = await knownToken(world);
    await world.pass(1_400);
    const { grant } = passed((await world.ask(isolate, TOKEN)).result);
    expect(grant.usableForMs).toBe(600);
  });

  it("ends no request that is on its way while it ends", async () => {
    const world = new World();
    const isolate = await knownToken(world);
    world.authorityMs = 300;
    const seen: string[] = [];
    for (let i = 0; i < 40; i++) {
      seen.push(await askWithin(world, isolate, 5 * SECOND));
    }
    expect(new Set(seen)).toEqual(new Set(["granted"]));
  });

  it("a busy token never waits: one isolate gets a new answer before the old one ends", async () => {
    const world = new World();
    const isolate = await knownToken(world);
    const isolates = [isolate, ...Array.from({ length: 19 }, () => world.isolate())];
    const callsBefore = world.originCalls;
    const seen = new Set<string>();
    const decided = new Set<string>();
    for (let tick = 0; tick < 600; tick++) {
      await world.pass(SECOND);
      for (const each of isolates.slice(tick % 4, (tick % 4) + 5)) {
        const asked = await world.ask(each, TOKEN);
        seen.add(outcomeOf(asked));
        decided.add(asked.decidedBy);
      }
    }
    // 20 isolates, ten minutes, a TTL of a minute: about one call a TTL between them.
    expect(world.originCalls - callsBefore).toBeGreaterThanOrEqual(10);
    expect(world.originCalls - callsBefore).toBeLessThanOrEqual(12);
    expect([seen, decided]).toEqual([new Set(["granted"]), new Set(["lease", "authority"])]);
  });

  it("20 isolates that come at once when an answer has ended make one call", async () => {
    const world = new World();
    const isolate = await knownToken(world);
    const isolates = [isolate, ...Array.from({ length: 19 }, () => world.isolate())];
    await world.pass(2 * TTL_MS);
    const callsBefore = world.originCalls;
    world.origin = () => new Promise((resolve) => setTimeout(() => resolve(says.yes()), 250));
    const asked = Promise.all(isolates.map((each) => world.ask(each, TOKEN)));
    await world.pass(SECOND);
    expect(new Set((await asked).map(outcomeOf))).toEqual(new Set(["granted"]));
    expect(world.originCalls - callsBefore).toBe(1);
  });

  it("50 concurrent misses in one isolate make one call", async () => {
    const world = new World();
    const isolate = world.isolate();
    world.origin = () => new Promise((resolve) => setTimeout(() => resolve(says.yes()), 250));
    const asked = Promise.all(Array.from({ length: 50 }, () => world.ask(isolate, TOKEN)));
    await world.pass(SECOND);
    expect(new Set((await asked).map(outcomeOf))).toEqual(new Set(["granted"]));
    expect(world.originCalls).toBe(1);
  });

  it("KV is written when an answer changes or is over 300 s old, not with every answer", async () => {
    const world = new World();
    const isolate = await knownToken(world);
    expect([world.introspection.writes, world.credentials.writes]).toEqual([1, 1]);
    for (let second = 0; second < 600; second++) {
      await world.pass(SECOND);
      await world.ask(isolate, TOKEN);
    }
    expect(world.originCalls).toBeGreaterThan(10);
    expect([world.introspection.writes, world.credentials.writes]).toEqual([2, 1]);
    world.origin = says.noToken;
    await world.pass(TTL_MS);
    await world.ask(isolate, TOKEN);
    await world.pass(0);
    expect(world.introspection.writes).toBe(3);
    const [record] = [...world.introspection.stored.values()];
    expect(JSON.parse(record ?? "")).toMatchObject({ active: false });
  });
});

describe("the last good answer, where nobody can be asked", () => {
  it("serves until INTROSPECTION_STALE_IF_ERROR after it was obtained, marked stale; then 503", async () => {
    const world = new World();
    const isolate = await knownToken(world);
    world.origin = says.emptyRefusal;
    await world.pass(TTL_MS);
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("stale");
    await world.pass(STALE_MS - TTL_MS - 1);
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("stale");
    await world.pass(1);
    const late = await world.ask(isolate, TOKEN);
    expect(late.result).toMatchObject({
      denial: { reason: "introspection_unavailable", retryAfterSeconds: 5, aboutToken: true },
    });
  });

  it("does not ask a server that gave no answer again with every request", async () => {
    const world = new World();
    const isolate = await knownToken(world);
    world.origin = says.emptyRefusal;
    await world.pass(TTL_MS);
    const callsBefore = world.originCalls;
    for (let i = 0; i < 100; i++) {
      await world.ask(isolate, TOKEN);
      await world.pass(100);
    }
    expect(world.originCalls - callsBefore).toBeLessThanOrEqual(3);
  });

  it("never serves a token that is known to be inactive", async () => {
    const world = new World();
    const isolate = await knownToken(world);
    await world.pass(TTL_MS);
    world.origin = says.noToken;
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("token_inactive");
    world.origin = says.emptyRefusal;
    for (const ms of [0, 20 * SECOND, 100 * SECOND]) {
      await world.pass(ms);
      expect(outcomeOf(await world.ask(world.isolate(), TOKEN))).toBe("token_inactive");
    }
  });

  it("costs an isolate that CREDENTIALS has not reached no more than one introspection", async () => {
    const world = new World();
    await knownToken(world);
    await world.pass(TTL_MS);
    world.credentials.lagging = true;
    world.origin = says.nothing;
    const before = Date.now();
    const asked = world.ask(world.isolate(), TOKEN).then((found) => [outcomeOf(found), Date.now() - before]);
    await world.pass(10 * SECOND);
    expect(await asked).toEqual(["stale", 2_000]);
  });

  it("whoever waits for another's introspection waits no longer than for one's own", async () => {
    const world = new World();
    const isolate = await knownToken(world);
    await world.pass(TTL_MS);
    world.origin = says.nothing;
    const first = world.ask(isolate, TOKEN);
    await world.pass(1_900);
    const before = Date.now();
    const second = world.ask(world.isolate(), TOKEN).then((found) => [outcomeOf(found), Date.now() - before]);
    await world.pass(10 * SECOND);
    expect(outcomeOf(await first)).toBe("stale");
    expect(await second).toEqual(["stale", 100]);
  });

  it("is found through KV by an isolate that CREDENTIALS has not reached", async () => {
    const world = new World();
    await knownToken(world);
    world.credentials.lagging = true;
    world.origin = says.emptyRefusal;
    expect(outcomeOf(await world.ask(world.isolate(), TOKEN))).toBe("granted");
    await world.pass(TTL_MS);
    expect(outcomeOf(await world.ask(world.isolate(), TOKEN))).toBe("stale");
  });

  it("has no life after 0 seconds where stale answers are not wanted", async () => {
    const world = new World({ INTROSPECTION_STALE_IF_ERROR: "0" });
    const isolate = await knownToken(world);
    world.origin = says.emptyRefusal;
    await world.pass(TTL_MS);
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("introspection_unavailable");
  });
});

describe("no after yes", () => {
  it("an older yes that is still on its way can't undo a newer no", async () => {
    const world = new World();
    await knownToken(world);
    await world.pass(2 * TTL_MS);
    let answerSlowly: (response: Response) => void = () => {};
    world.origin = () =>
      new Promise((resolve) => {
        answerSlowly = resolve;
      });
    const [slow, quick] = [world.isolate(), world.isolate()];
    const asked = world.ask(slow, TOKEN);
    await world.pass(100);
    // The first has not been answered yet when another tells of a no.
    const tenantId = unlinkedIdOf(digestOf(TOKEN.secret));
    const authority = world.authority(tenantId);
    const testimony = { v: 1, tenantId, digest: digestOf(TOKEN.secret), kind: "oauth_token" } as const;
    const no = {
      active: false,
      subscribed: null,
      expiresAtMs: null,
      ageMs: 0,
      askedAtMs: Date.now(),
      generation: 1,
    };
    await authority.testify({ ...testimony, ...no });
    world.origin = says.noToken;
    answerSlowly(says.yes());
    await world.pass(100);
    expect(outcomeOf(await asked)).toBe("token_inactive");
    expect(outcomeOf(await world.ask(quick, TOKEN))).toBe("token_inactive");
  });

  it.each([
    ["a yes after a no after a no", [false, false], true, "token_inactive"],
    ["a no after a yes after a yes", [true, true], false, "granted"],
    ["a no after the first yes", [], false, "granted"],
  ] as const)(
    "of two answers to questions asked at the same time, the later to be heard loses: %s",
    async (_, heard, late, outcome) => {
      const world = new World(EACH_REQUEST);
      const isolate = await knownToken(world);
      const digest = digestOf(TOKEN.secret);
      const tenantId = unlinkedIdOf(digest);
      const authority = world.authority(tenantId);
      const tell = (active: boolean, generation: number) =>
        authority.testify({
          ...{ v: 1, tenantId, digest, kind: "oauth_token", subscribed: null, expiresAtMs: null },
          ...{ active, ageMs: 0, askedAtMs: Date.now(), generation },
        });
      const asked = heard.length === 0 ? 0 : 1;
      for (const [i, active] of heard.entries())
        expect(await tell(active, asked + i)).toMatchObject({ counts: true });
      expect(await tell(late, asked)).toMatchObject({ counts: false });
      expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe(outcome);
    },
  );

  it("a testimony that was long on its way is as old as it is", async () => {
    const world = new World();
    const isolate = await knownToken(world);
    const digest = digestOf(TOKEN.secret);
    const tenantId = unlinkedIdOf(digest);
    const askedAtMs = Date.now();
    await world.pass(TTL_MS);
    // Sent a minute ago by an isolate that had just been answered.
    const told = { subscribed: null, expiresAtMs: null, active: true, ageMs: 0, askedAtMs, generation: 1 };
    await world.authority(tenantId).testify({ v: 1, tenantId, digest, kind: "oauth_token", ...told });
    world.origin = says.noToken;
    await world.pass(2_000);
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("token_inactive");
  });

  it("a yes of before the no, told a second time, changes nothing", async () => {
    const world = new World(EACH_REQUEST);
    const isolate = await knownToken(world);
    const digest = digestOf(TOKEN.secret);
    const tenantId = unlinkedIdOf(digest);
    const told = {
      v: 1,
      tenantId,
      digest,
      kind: "oauth_token",
      subscribed: null,
      expiresAtMs: null,
    } as const;
    const authority = world.authority(tenantId);
    await authority.testify({ ...told, active: false, ageMs: 0, askedAtMs: Date.now(), generation: 1 });
    await authority.testify({ ...told, active: true, ageMs: 0, askedAtMs: Date.now(), generation: 1 });
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("token_inactive");
  });

  it("a token that comes back is asked about again, ever later, and let in with a fresh yes", async () => {
    const world = new World();
    const isolate = await knownToken(world);
    await world.pass(TTL_MS);
    world.origin = says.noToken;
    await world.ask(isolate, TOKEN);
    const callsBefore = world.originCalls;
    for (let second = 0; second < 300; second++) {
      await world.pass(SECOND);
      expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("token_inactive");
    }
    // After 10, 20, 40, 80 and 160 seconds.
    expect(world.originCalls - callsBefore).toBe(4);
    world.origin = says.yes;
    await world.pass(300 * SECOND);
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("granted");
  });

  it("a no that reaches an isolate which KV has not, reaches the authority: nobody lives on the old yes", async () => {
    const world = new World(EACH_REQUEST);
    const isolate = await knownToken(world);
    world.credentials.lagging = true;
    world.origin = says.noToken;
    expect(outcomeOf(await world.ask(world.isolate(), TOKEN))).toBe("token_inactive");
    world.origin = says.emptyRefusal;
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("token_inactive");
    await world.pass(TTL_MS);
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("token_inactive");
  });

  it("a revoked token stays revoked, whatever the origin says", async () => {
    const world = new World(EACH_REQUEST);
    const isolate = await knownToken(world);
    await world.authority(unlinkedIdOf(digestOf(TOKEN.secret))).revokeKey(digestOf(TOKEN.secret));
    await world.pass(0);
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("key_revoked");
    world.credentials.lagging = true;
    expect(outcomeOf(await world.ask(world.isolate(), TOKEN))).toBe("key_revoked");
  });
});

describe("unknown credentials are cheap", () => {
  const random = (i: number): Credential => ({
    kind: "oauth_token",
    secret: `pos_${digestOf(`guess ${i}`).slice(0, 40)}`,
  });
  /** The platform's: 30 a minute. */
  const limiter = () => {
    const counts = new Map<string, number>();
    return {
      limit: async ({ key }: { key: string }) => {
        const minute = `${key} ${Math.floor(Date.now() / 60_000)}`;
        const count = (counts.get(minute) ?? 0) + 1;
        counts.set(minute, count);
        return { success: count <= 30 };
      },
    };
  };

  it("10,000 guesses one after the other from one address make 62 reads of KV, 31 calls to the origin and none to authorities", async () => {
    const world = new World({}, limiter());
    world.origin = says.noToken;
    const isolate = world.isolate();
    const outcomes: Record<string, number> = {};
    for (let i = 0; i < 10_000; i++) {
      const outcome = outcomeOf(await world.ask(isolate, random(i)));
      outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    }
    expect(outcomes).toEqual({ token_inactive: 30, flood: 9_970 });
    const reads = world.credentials.reads + world.introspection.reads;
    expect([reads, world.originCalls, world.authorityCalls]).toEqual([62, 31, 0]);
  });

  it("10,000 over 64 connections at a time make at most 200 reads of KV, 40 calls to the origin and none to authorities", async () => {
    const world = new World({}, limiter());
    world.origin = () => new Promise((resolve) => setTimeout(() => resolve(says.noToken()), 20));
    const isolate = world.isolate();
    let next = 0;
    const connection = async () => {
      while (next < 10_000) await world.ask(isolate, random(next++));
    };
    const all = Promise.all(Array.from({ length: 64 }, connection));
    await world.pass(9 * SECOND);
    await all;
    expect(world.credentials.reads + world.introspection.reads).toBeLessThanOrEqual(200);
    expect(world.originCalls).toBeLessThanOrEqual(40);
    expect(world.authorityCalls).toBe(0);
  });

  it("10,000 at once make no more than 8 calls to the origin at a time", async () => {
    const world = new World({}, limiter());
    let [open, most] = [0, 0];
    world.origin = async () => {
      most = Math.max(most, ++open);
      await new Promise((resolve) => setTimeout(resolve, 50));
      open--;
      return says.noToken();
    };
    const isolate = world.isolate();
    const asked = Promise.all(Array.from({ length: 10_000 }, (_, i) => world.ask(isolate, random(i))));
    await world.pass(5 * SECOND);
    expect(new Set((await asked).map(outcomeOf))).toEqual(new Set(["token_inactive", "flood"]));
    expect([most, world.authorityCalls]).toEqual([8, 0]);
    expect(world.originCalls).toBeLessThanOrEqual(40);
  });

  it("50 tokens at once that are good all get in, eight at a time", async () => {
    const world = new World({}, limiter());
    world.origin = () => new Promise((resolve) => setTimeout(() => resolve(says.yes()), 50));
    const isolate = world.isolate();
    const asked = Promise.all(Array.from({ length: 50 }, (_, i) => world.ask(isolate, random(i))));
    await world.pass(2 * SECOND);
    expect(new Set((await asked).map(outcomeOf))).toEqual(new Set(["granted"]));
  });

  it("guesses take no place from a token that is live somewhere", async () => {
    const world = new World();
    await knownToken(world);
    world.credentials.lagging = true;
    const isolate = world.isolate();
    world.origin = says.nothing;
    const guesses = Array.from({ length: 8 }, (_, i) => world.ask(isolate, random(i)));
    await world.pass(0);
    expect(outcomeOf(await world.ask(isolate, TOKEN))).toBe("granted");
    await world.pass(5 * SECOND);
    expect(new Set((await Promise.all(guesses)).map(outcomeOf))).toEqual(
      new Set(["introspection_unavailable"]),
    );
  });

  it("the same guess is asked about once in 10 seconds", async () => {
    const world = new World({}, limiter());
    world.origin = says.noToken;
    const isolate = world.isolate();
    for (let second = 0; second < 30; second++) {
      await world.ask(isolate, random(0));
      await world.pass(SECOND);
    }
    expect(world.originCalls).toBe(3);
  });

  it("a remembered no is told first, also to a network that is flooding", async () => {
    const world = new World({}, limiter());
    world.origin = says.noToken;
    const isolate = world.isolate();
    for (let i = 0; i < 40; i++) await world.ask(isolate, random(i));
    expect(outcomeOf(await world.ask(isolate, random(5)))).toBe("token_inactive");
    expect(outcomeOf(await world.ask(isolate, random(1_000)))).toBe("flood");
  });

  it("an IPv6 /64 is one network, another is not", async () => {
    const world = new World({}, limiter());
    world.origin = says.noToken;
    const isolate = world.isolate();
    for (let i = 0; i < 40; i++)
      await world.ask(isolate, random(i), { clientAddress: `2001:db8:1:2::${i.toString(16)}` });
    const from = async (clientAddress: string, i: number) =>
      outcomeOf(await world.ask(isolate, random(i), { clientAddress }));
    expect(await from("2001:db8:1:2:ffff::1", 100)).toBe("flood");
    expect(await from("2001:db8:1:3::1", 101)).toBe("token_inactive");
  });
});

describe("learning API keys", () => {
  const learning = () => new World({ ...EACH_REQUEST, LEARN_FROM_ORIGIN: "true", SUBSCRIPTIONS: "required" });

  it("is off unless asked for: an unknown key never reaches the origin", async () => {
    const world = new World();
    expect(outcomeOf(await world.ask(world.isolate(), KEY))).toBe("key_unknown");
    expect(world.originCalls).toBe(0);
  });

  it("the first use of a key asks once; the rest is local, everywhere and for good", async () => {
    const world = learning();
    const isolate = world.isolate();
    expect(await world.ask(isolate, KEY)).toMatchObject({ decidedBy: "introspection", result: { ok: true } });
    await world.pass(0);
    for (let day = 0; day < 30; day++) {
      await world.pass(86_400 * SECOND);
      expect(outcomeOf(await world.ask(isolate, KEY))).toBe("granted");
      expect(await world.ask(world.isolate(), KEY)).toMatchObject({
        decidedBy: "authority",
        result: { ok: true },
      });
    }
    expect(world.originCalls).toBe(1);
  });

  it("what the origin refuses is unknown, and remembered for 10 seconds", async () => {
    const world = learning();
    world.origin = says.noKey;
    const isolate = world.isolate();
    expect(await world.ask(isolate, KEY)).toMatchObject({ decidedBy: "introspection" });
    const again = await world.ask(isolate, KEY);
    expect([outcomeOf(again), again.decidedBy]).toEqual(["key_unknown", "memory"]);
    await world.pass(10 * SECOND + 1);
    world.origin = says.yes;
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("granted");
  });

  it("a revoked key is not learnt again, also where KV has not heard of it", async () => {
    const world = learning();
    const isolate = world.isolate();
    await world.ask(isolate, KEY);
    const digest = digestOf(KEY.secret);
    await world.authority(unlinkedIdOf(digest)).revokeKey(digest);
    world.credentials.lagging = true;
    expect(outcomeOf(await world.ask(world.isolate(), KEY))).toBe("key_revoked");
  });

  it("a subscription is unknown until the origin speaks, and its word is asked for again after a minute", async () => {
    const world = learning();
    const isolate = world.isolate();
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("granted");
    const tenantId = unlinkedIdOf(digestOf(KEY.secret));
    const claim = passed((await world.ask(isolate, KEY)).result);
    expect(claim.tenantId).toBe(tenantId);
    world.origin = says.noSubscription;
    isolate.leases.forget(KEY);
    await isolate.inquiries.reportNoSubscription(KEY, claim, claim.grant.generation ?? 0);
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("subscription_inactive");
    world.origin = says.yes;
    await world.pass(59 * SECOND);
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("subscription_inactive");
    await world.pass(SECOND);
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("granted");
  });

  it("a key whose organization has no subscription is learnt, and refused for that", async () => {
    const world = learning();
    world.origin = says.noSubscription;
    expect(outcomeOf(await world.ask(world.isolate(), KEY))).toBe("subscription_inactive");
  });
});

describe("a credential has one owner", () => {
  const digest = digestOf(KEY.secret);
  async function operatorHasIt(world: World, state: "active" | "revoked"): Promise<void> {
    const authority = world.authority("acme");
    await authority.putTenant({ id: tenantIdOf("acme"), name: "Acme" });
    await authority.putKey({ digest, keyId: "k" });
    if (state === "revoked") await authority.revokeKey(digest);
  }

  it("what an operator has revoked is not learnt by another tenant, however far KV is behind", async () => {
    const world = new World({ ...EACH_REQUEST, LEARN_FROM_ORIGIN: "true" });
    await operatorHasIt(world, "revoked");
    world.credentials.lagging = true;
    expect(outcomeOf(await world.ask(world.isolate(), KEY))).toBe("key_revoked");
    await world.pass(120 * SECOND);
    world.credentials.lagging = false;
    const [record] = [...world.credentials.stored.values()];
    expect(JSON.parse(record ?? "")).toMatchObject({ tenantId: "acme", state: "revoked" });
  });

  it("what an operator has put in is that tenant's from the first use on, however far KV is behind", async () => {
    const world = new World({ LEARN_FROM_ORIGIN: "true" });
    await operatorHasIt(world, "active");
    world.credentials.lagging = true;
    expect(passed((await world.ask(world.isolate(), KEY)).result)).toMatchObject({
      tenantId: "acme",
      keyId: "k",
    });
  });

  it("what was learnt can't be put in under another tenant, and the operator is told whose it is", async () => {
    const world = new World({ LEARN_FROM_ORIGIN: "true" });
    await world.ask(world.isolate(), KEY);
    await expect(operatorHasIt(world, "active")).rejects.toThrow(
      `belongs to tenant "${unlinkedIdOf(digest)}"`,
    );
  });

  it("a yes that its authority has not heard is no yes, and no 401 either", async () => {
    const world = new World({ LEARN_FROM_ORIGIN: "true" });
    world.testifyFails = true;
    const isolate = world.isolate();
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("introspection_unavailable");
    world.testifyFails = false;
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("granted");
  });

  it("an authority that hears nothing is not asked, and the origin not either, over and over", async () => {
    const world = new World();
    const isolate = world.isolate();
    await world.ask(isolate, TOKEN);
    await world.pass(TTL_MS);
    world.testifyFails = true;
    const [originCalls, authorityCalls] = [world.originCalls, world.authorityCalls];
    expect(await askWithin(world, isolate, 3 * SECOND, TOKEN)).toBe("introspection_unavailable");
    expect(world.originCalls - originCalls).toBe(1);
    expect(world.authorityCalls - authorityCalls).toBeLessThanOrEqual(25);
  });

  it("the operator's word about a subscription counts more than the origin's", async () => {
    const world = new World({ SUBSCRIPTIONS: "required" });
    await operatorHasIt(world, "active");
    const subscription = { status: "active", currentPeriodEndMs: null } as const;
    await world.authority("acme").putTenant({ id: tenantIdOf("acme"), name: "Acme", subscription });
    await world.pass(0);
    const isolate = world.isolate();
    const claim = passed((await world.ask(isolate, KEY)).result);
    await isolate.inquiries.reportNoSubscription(KEY, claim, claim.grant.generation ?? 0);
    // Of the authority: the lease in hand is of before.
    isolate.leases.forget(KEY);
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("granted");
  });
});

describe("the origin's own refusal of what the gateway let in", () => {
  async function refused(world: World, isolate: Deps): Promise<void> {
    const claim = passed((await world.ask(isolate, KEY)).result);
    await isolate.inquiries.confirm(KEY, claim, claim.grant.generation ?? 0, () => {});
  }
  async function learnt(world: World): Promise<Deps> {
    const isolate = world.isolate();
    await world.ask(isolate, KEY);
    await world.pass(0);
    return isolate;
  }

  it("is confirmed by one probe, and the key is out from the next request on, everywhere", async () => {
    const world = new World({ ...EACH_REQUEST, LEARN_FROM_ORIGIN: "true" });
    const isolate = await learnt(world);
    const callsBefore = world.originCalls;
    world.origin = says.noKey;
    await refused(world, isolate);
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("key_unknown");
    expect(outcomeOf(await world.ask(world.isolate(), KEY))).toBe("key_unknown");
    expect(world.originCalls - callsBefore).toBe(1);
  });

  it("that the probe does not confirm changes nothing, and is not asked about again for 10 seconds", async () => {
    const world = new World({ LEARN_FROM_ORIGIN: "true" });
    const isolate = await learnt(world);
    const callsBefore = world.originCalls;
    for (let i = 0; i < 20; i++) await refused(world, isolate);
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("granted");
    expect(world.originCalls - callsBefore).toBe(1);
  });

  it("the key is back after the origin says yes again", async () => {
    const world = new World({ ...EACH_REQUEST, LEARN_FROM_ORIGIN: "true" });
    const isolate = await learnt(world);
    world.origin = says.noKey;
    await refused(world, isolate);
    world.origin = says.yes;
    await world.pass(10 * SECOND - 1);
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("key_unknown");
    await world.pass(1);
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("granted");
  });

  it.each<[string, Origin, number]>([
    ["a wrong origin that refuses every key", says.noKey, 80],
    ["the empty 401 of a database that is down", says.emptyRefusal, 0],
  ])("a minute of %s locks nobody out afterwards", async (_, origin, atMostSeconds) => {
    const world = new World({ LEARN_FROM_ORIGIN: "true" });
    const isolate = await learnt(world);
    world.origin = origin;
    for (let second = 0; second < 60; second++) {
      const { result } = await world.ask(isolate, KEY);
      if (result.ok) {
        const { value: claim } = result;
        await isolate.inquiries.confirm(KEY, claim, claim.grant.generation ?? 0, () => {});
      }
      await world.pass(SECOND);
    }
    world.origin = says.yes;
    let waitedSeconds = 0;
    while (reasonOf((await world.ask(isolate, KEY)).result) !== "passed") {
      await world.pass(SECOND);
      waitedSeconds++;
    }
    expect(waitedSeconds).toBeLessThanOrEqual(atMostSeconds);
  });

  it("five minutes of a wrong origin lock nobody out for longer than five more", async () => {
    const world = new World({ LEARN_FROM_ORIGIN: "true" });
    const isolate = await learnt(world);
    world.origin = says.noKey;
    await refused(world, isolate);
    for (let second = 0; second < 300; second++) {
      await world.ask(isolate, KEY);
      await world.pass(SECOND);
    }
    world.origin = says.yes;
    await world.pass(300 * SECOND);
    expect(outcomeOf(await world.ask(isolate, KEY))).toBe("granted");
  });
});

describe("with the flood shield in shadow", () => {
  it("guesses are looked up, not refused for their number, and each says so", async () => {
    const nobody = { limit: async () => ({ success: false }) };
    const world = new World({ SHADOW_POLICIES: "flood" }, nobody);
    const isolate = world.isolate();
    const guess = (i: number): Credential => ({ kind: "api_key", secret: digestOf(`guess ${i}`) });
    for (let i = 0; i < 3; i++) {
      const { result, shadows } = await world.ask(isolate, guess(i));
      expect(reasonOf(result)).toBe("key_unknown");
      expect(shadows).toContain("flood");
    }
    const enforced = new World({}, nobody);
    const shielded = enforced.isolate();
    await enforced.ask(shielded, guess(0));
    const { result, shadows } = await enforced.ask(shielded, guess(1));
    expect([reasonOf(result), shadows]).toEqual(["flood", []]);
  });
});
