/** The ledger over a real SQLite: what is committed there is what a new object counts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CountedGrant, Ledger, type TokenAnswer } from "../../src/authority/ledger.ts";
import type { Policy } from "../../src/quota/policy.ts";
import { memoryStorage } from "../support/sqlite.ts";

const MARGIN_MS = 2_000;
const START_MS = 1_790_000_000_000;

const policy = (name: Policy["name"], limit: number, windowSeconds = 60): Policy => ({
  name,
  limit,
  windowSeconds,
});

interface Asked {
  readonly nonce: string;
  readonly partition: string;
  readonly limit: number;
  readonly grantedAtMs: number;
  lastUseMs: number;
  countsUntilMs: number;
  readonly usedAt: number;
}

type Step =
  | { kind: "ask"; partition: string; usableMs: number; settleMs: number; usedAt: number }
  | { kind: "askAgain" | "settle"; which: number }
  | { kind: "wait"; ms: number }
  | { kind: "limit"; limit: number }
  | { kind: "restart" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("ask" as const),
      partition: fc.constantFrom("k1", "k1", "k2"),
      usableMs: fc.nat(1_000),
      settleMs: fc.nat(30_000),
      usedAt: fc.constantFrom(0, 0.5, 1),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom("askAgain", "settle"), which: fc.nat(50) }) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("wait" as const),
      ms: fc.oneof(fc.nat(5), fc.nat(10_000), fc.nat(70_000), fc.constant(180_000)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("limit" as const), limit: fc.nat(5) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
);

/** A tenant's authority with its clients, as far as counting goes. */
class Simulation {
  readonly #sql = memoryStorage().sql;
  readonly grants: Asked[] = [];
  #ledger = new Ledger(this.#sql);
  #nowMs = START_MS;
  #limit: number;

  constructor(limit: number) {
    this.#limit = limit;
  }

  run(step: Step): void {
    const grant = "which" in step ? this.grants[step.which % Math.max(1, this.grants.length)] : undefined;
    switch (step.kind) {
      case "ask":
        this.#ask(step);
        return;
      case "askAgain":
        if (grant !== undefined && grant.countsUntilMs > this.#nowMs) this.#askAgain(grant);
        return;
      case "settle":
        if (grant !== undefined) this.#settle(grant);
        return;
      case "wait":
        this.#nowMs += step.ms;
        return;
      case "limit":
        this.#limit = step.limit;
        return;
      case "restart":
        this.#ledger = new Ledger(this.#sql);
    }
  }

  #take(nonce: string, partition: string, usableUntilMs: number, reachesOriginUntilMs: number): TokenAnswer {
    const settleWithinMs = reachesOriginUntilMs - usableUntilMs;
    const when = {
      wish: 1,
      scarceWish: 1,
      isSingle: true,
      usableUntilMs,
      severalUntilMs: usableUntilMs,
      settleWithinMs,
      inShadow: false,
    };
    return this.#ledger.take({ nonce, policy: policy("api", this.#limit), partition, ...when }, this.#nowMs);
  }

  #ask({ partition, usableMs, settleMs, usedAt }: Extract<Step, { kind: "ask" }>): void {
    const nonce = `n${this.grants.length}`;
    const lastUseMs = this.#nowMs + usableMs + settleMs;
    const counting = this.#counting(partition).length;
    const { granted, quota } = this.#take(nonce, partition, this.#nowMs + usableMs, lastUseMs);
    expect(granted).toBe(counting < this.#limit);
    expect(quota.remaining).toBe(Math.max(0, this.#limit - counting - 1));
    if (!granted) return;
    const countsUntilMs = lastUseMs + 60_000 + MARGIN_MS;
    const { nowMs: grantedAtMs, limit } = { nowMs: this.#nowMs, limit: this.#limit };
    this.grants.push({ nonce, partition, limit, grantedAtMs, lastUseMs, countsUntilMs, usedAt });
  }

  #counting(partition: string): Asked[] {
    return this.grants.filter((g) => g.partition === partition && g.countsUntilMs > this.#nowMs);
  }

  #askAgain({ nonce, partition }: Asked): void {
    const { granted, quota } = this.#take(nonce, partition, this.#nowMs + 1, this.#nowMs + 1);
    expect(granted).toBe(true);
    expect(quota.remaining).toBe(Math.max(0, this.#limit - this.#counting(partition).length));
  }

  #settle(grant: Asked): void {
    this.#ledger.settle(grant.nonce, this.#nowMs);
    grant.lastUseMs = Math.min(grant.lastUseMs, this.#nowMs);
    grant.countsUntilMs = Math.min(grant.countsUntilMs, this.#nowMs + 60_000 + MARGIN_MS);
  }
}

describe("the ledger", () => {
  it("admits no more than the limit in any window, restarts and repeated asks included, and no fewer", () => {
    const history = fc.record({
      limit: fc.integer({ min: 1, max: 4 }),
      steps: fc.array(step, { maxLength: 80, size: "max" }),
    });
    fc.assert(
      fc.property(history, ({ limit, steps }) => {
        const simulation = new Simulation(limit);
        for (const step of steps) simulation.run(step);
        const uses = simulation.grants.map(({ grantedAtMs, lastUseMs, usedAt, ...grant }) => {
          return { atMs: grantedAtMs + (lastUseMs + MARGIN_MS - grantedAtMs) * usedAt, ...grant };
        });
        for (const { atMs: fromMs, partition } of uses) {
          const inside = uses.filter(
            (use) => use.partition === partition && use.atMs >= fromMs && use.atMs < fromMs + 60_000,
          );
          expect(inside.length).toBeLessThanOrEqual(inside.at(-1)?.limit ?? 0);
        }
      }),
      { numRuns: 300 },
    );
  });

  const ask = (nonce: string, more: Partial<Parameters<Ledger["take"]>[0]> = {}) => ({
    nonce,
    policy: policy("posts", 2, 3_600),
    partition: "",
    usableUntilMs: START_MS + 1_000,
    severalUntilMs: START_MS + 30_000,
    wish: 1,
    scarceWish: 1,
    isSingle: true,
    settleWithinMs: 30_000,
    inShadow: false,
    ...more,
  });

  it("in shadow commits what it would have refused, once, counts it as nothing, and tells how much it was", () => {
    const storage = memoryStorage();
    const ledger = new Ledger(storage.sql);
    for (const nonce of ["a", "b"]) ledger.take(ask(nonce), START_MS);
    const late = { inShadow: true };
    for (const nonce of ["c", "c", "d"]) {
      const { granted, quota } = ledger.take(ask(nonce, late), START_MS + 1);
      expect({ granted, remaining: quota.remaining }).toEqual({ granted: false, remaining: 0 });
    }
    expect(ledger.passedInShadow("posts", "", START_MS + 1)).toBe(2);
    // As soon as the two no longer count there are two again, after a restart too.
    const laterMs = START_MS + 3_633_000;
    for (const each of [ledger, new Ledger(storage.sql)])
      expect(each.look(ask("x").policy, "", laterMs).quota.remaining).toBe(2);
    expect(ledger.passedInShadow("posts", "", laterMs)).toBe(0);
  });

  it("gives more than is wished for out of what can be spared only: a quarter of the limit is left to who has a use for it", () => {
    const ledger = new Ledger(memoryStorage().sql);
    const several = { policy: policy("api", 40_000), partition: "k1", isSingle: false, settleWithinMs: 0 };
    const [asks, limit] = [4_000, 40_000];
    let given = 0;
    for (let i = 0; i < asks; i++) given += ledger.take(ask(`n${i}`, several), START_MS).tokens;
    expect(given).toBeGreaterThan(limit / 2);
    expect(given).toBeLessThanOrEqual(0.75 * limit + asks);
  });

  it("whoever waits for `resetSeconds` after a refusal is admitted", () => {
    const ledger = new Ledger(memoryStorage().sql);
    ledger.take(ask("a"), START_MS);
    ledger.take(ask("b"), START_MS);
    const { granted, quota } = ledger.take(ask("c"), START_MS + 1);
    expect({ granted, remaining: quota.remaining }).toEqual({ granted: false, remaining: 0 });
    expect(quota.resetSeconds).toBe(3_600 + 31 + 2);
    expect(ledger.take(ask("d"), START_MS + 1 + (quota.resetSeconds - 1) * 1_000).granted).toBe(false);
    expect(ledger.take(ask("e"), START_MS + 1 + quota.resetSeconds * 1_000).granted).toBe(true);
  });

  it("a token that was settled counts for a window and the margin from then on, after a restart too", () => {
    const sql = memoryStorage().sql;
    const one = { policy: policy("posts", 1, 3_600) };
    const ledger = new Ledger(sql);
    ledger.take(ask("a", one), START_MS);
    ledger.settle("a", START_MS + 5_000);
    // A late settlement, sent twice, does not make it count longer.
    ledger.settle("a", START_MS + 60_000);
    const freeAtMs = START_MS + 5_000 + 3_600_000 + MARGIN_MS;
    for (const either of [ledger, new Ledger(sql)]) {
      expect(either.take(ask("b", one), freeAtMs - 1).granted).toBe(false);
    }
    expect(ledger.take(ask("c", one), freeAtMs).granted).toBe(true);
  });

  it("announces no more than the window to a caller who was admitted", () => {
    const { quota } = new Ledger(memoryStorage().sql).take(ask("a"), START_MS);
    expect(quota).toEqual({ policy: policy("posts", 2, 3_600), remaining: 1, resetSeconds: 3_600 });
  });

  it("refuses for as long as the origin's own limiter does, from memory of SQLite, and for that policy only", () => {
    const sql = memoryStorage().sql;
    new Ledger(sql).block("posts", START_MS + 10_000);
    const ledger = new Ledger(sql);
    ledger.block("posts", START_MS + 5_000);
    expect(ledger.take(ask("a"), START_MS)).toMatchObject({
      granted: false,
      quota: { remaining: 0, resetSeconds: 10 },
    });
    expect(ledger.take(ask("b", { policy: policy("api", 2) }), START_MS).granted).toBe(true);
    expect(ledger.take(ask("c"), START_MS + 9_999).granted).toBe(false);
    expect(ledger.take(ask("d"), START_MS + 10_000).granted).toBe(true);
  });

  it("a grant made before the origin's block is granted again on its nonce", () => {
    const ledger = new Ledger(memoryStorage().sql);
    ledger.take(ask("a"), START_MS);
    ledger.block("posts", START_MS + 10_000);
    expect(ledger.take(ask("a"), START_MS + 1).granted).toBe(true);
  });

  it("remembers the latest deadline it gave, over restarts: no earlier, and at most a second later", () => {
    const sql = memoryStorage().sql;
    expect(new Ledger(sql).latestDeadlineMs()).toBe(0);
    const ledger = new Ledger(sql);
    for (const untilMs of [START_MS + 4_001, START_MS + 4_900, START_MS + 1_000]) {
      ledger.extendDeadline(untilMs);
    }
    expect(ledger.latestDeadlineMs()).toBe(START_MS + 4_900);
    expect(new Ledger(sql).latestDeadlineMs()).toBe(START_MS + 5_000);
  });

  it("a limit of 0 refuses and names the window as the time to wait", () => {
    const { granted, quota } = new Ledger(memoryStorage().sql).take(
      ask("a", { policy: policy("posts", 0, 3_600) }),
      START_MS,
    );
    expect({ granted, ...quota }).toMatchObject({ granted: false, remaining: 0, resetSeconds: 3_600 });
  });
});

const SECOND = 1_000;
const at = (seconds: number) => START_MS + seconds * SECOND;

/** Of a key's policy: tokens are usable for a second, several for half a minute, and then count for a window. */
const ask = (nonce: string, limit: number, more: Partial<Parameters<Ledger["take"]>[0]> = {}) => ({
  nonce,
  policy: policy("api", limit),
  partition: "k1",
  usableUntilMs: at(1),
  severalUntilMs: at(30),
  wish: 1,
  scarceWish: more.wish ?? 1,
  isSingle: false,
  settleWithinMs: 0,
  inShadow: false,
  ...more,
});

/** So many that were used, and count for a minute yet. */
const countedGrant = (tokens: number, nonce = "used"): CountedGrant => {
  return {
    nonce,
    policy: "api",
    partition: "k1",
    tokens,
    usable_until_ms: START_MS,
    counts_until_ms: at(60),
  };
};

describe("several tokens", () => {
  const WATCHED_MS = 10_000;
  /** A ledger that was told ten seconds ago that so many were used. */
  function watched(limit: number, used: number, sql = memoryStorage().sql): Ledger {
    const ledger = new Ledger(sql);
    ledger.take(ask("first", limit, { wish: used }), START_MS - WATCHED_MS);
    ledger.done({ nonce: "first", used }, START_MS - WATCHED_MS);
    return ledger;
  }

  it("are an eighth of what is left at most, or as many as nobody misses, and those last for five minutes", () => {
    for (const [limit, wish, tokens, usableUntilMs] of [
      [601, 100, 75, at(30)],
      [600, 3, 3, at(30)],
      [15, 100, 1, at(1)],
      [10_809, 1, 8, at(300)],
      [10_809, 9, 9, at(30)],
      [1_000_000, 1, 64, at(300)],
    ] as const) {
      const taken = watched(limit, 1).take(ask("a", limit, { wish }), START_MS);
      expect(taken).toMatchObject({ granted: true, tokens, usableUntilMs });
    }
  });

  it("are fewer where less than a quarter of the limit is left, as the asker has it", () => {
    const limit = 4_000;
    for (const [given, tokens] of [
      [3_000, 10],
      [3_001, 3],
    ] as const) {
      const { sql } = memoryStorage();
      new Ledger(sql).takeOverGrants([countedGrant(given)], "k1");
      const taken = new Ledger(sql).take(ask("a", limit, { wish: 10, scarceWish: 3 }), START_MS);
      expect(taken).toMatchObject({ granted: true, tokens });
    }
  });

  it("are none there for whom nobody waits, which counts nothing and is no answer to the same ask later", () => {
    const ledger = new Ledger(memoryStorage().sql);
    ledger.takeOverGrants([countedGrant(90)], "k1");
    const ahead = ledger.take(ask("a", 100, { wish: 5, scarceWish: 0 }), START_MS);
    expect(ahead).toMatchObject({ granted: true, tokens: 0, quota: { remaining: 10 } });
    expect(ledger.outstanding("api", "k1", START_MS)).toBe(0);
    expect(ledger.take(ask("a", 100, { wish: 5, scarceWish: 1 }), START_MS)).toMatchObject({ tokens: 1 });
    ledger.takeOverGrants([countedGrant(9, "more")], "k1");
    expect(ledger.take(ask("b", 100, { scarceWish: 0 }), START_MS)).toMatchObject({ granted: false });
  });

  it("are told of twice and counted once, and never for more than there were", () => {
    const limit = 60_000;
    const tokensAfter = (...told: number[]) => {
      const ledger = new Ledger(memoryStorage().sql);
      ledger.take(ask("a", limit, { wish: 4_000 }), at(-10));
      for (const used of told) ledger.done({ nonce: "a", used }, at(-10));
      return ledger.take(ask("b", limit, { wish: 1 }), START_MS).tokens;
    };
    const once = tokensAfter(4_000);
    expect(once).toBe(21);
    expect([tokensAfter(4_000, 4_000), tokensAfter(9_000), tokensAfter(4_000, 0)]).toEqual([
      once,
      once,
      once,
    ]);
    expect(tokensAfter(-5)).toBe(tokensAfter(0));
  });

  it("of one key are what they were where grants of another are taken over, or none", () => {
    const ledger = watched(100_000, 1);
    for (const nonce of ["x", "y"]) ledger.take(ask(nonce, 100_000, { wish: 10_000 }), START_MS);
    ledger.takeOverGrants([], "k1");
    ledger.takeOverGrants([{ ...countedGrant(5, "z"), partition: "k2" }], "k2");
    // Old enough for what is no more used to be thrown away.
    expect(ledger.take(ask("a", 100_000, { wish: 2 }), at(60)).usableUntilMs).toBe(at(360));
  });

  it("unasked are for those who can hold several, and as one key is used, not another", () => {
    const limit = 60_000;
    const single = new Ledger(memoryStorage().sql).take(ask("a", limit, { isSingle: true }), START_MS);
    expect(single.tokens).toBe(1);
    const ledger = watched(limit, limit / 8);
    expect(ledger.take(ask("a", limit), START_MS).tokens).toBe(1);
    expect(ledger.take(ask("b", limit, { partition: "k2" }), START_MS).tokens).toBe(45);
  });

  it("last as long from the beginning where no more than an eighth of the limit has been given", () => {
    const limit = 100_000;
    for (const [given, usableUntilMs] of [
      [limit / 8, at(300)],
      [limit / 8 + 1, at(30)],
    ] as const) {
      const ledger = new Ledger(memoryStorage().sql);
      const some = Math.floor(given / 2);
      ledger.take(ask("a", limit, { wish: some }), START_MS);
      ledger.take(ask("b", limit, { wish: given - some }), START_MS);
      expect(ledger.take(ask("c", limit, { wish: 2 }), START_MS).usableUntilMs).toBe(usableUntilMs);
    }
  });

  it("of which more has been given last for no longer than others until it is known how fast the limit is used up, also after the object has slept", () => {
    const { sql } = memoryStorage();
    const ledger = watched(100_000, 1, sql);
    for (const nonce of ["x", "y"]) ledger.take(ask(nonce, 100_000, { wish: 10_000 }), START_MS - 1);
    const untilMs = (each: Ledger, nonce: string, nowMs: number) =>
      each.take(ask(nonce, 100_000, { wish: 2 }), nowMs).usableUntilMs;
    expect(untilMs(ledger, "a", START_MS - 1)).toBe(at(30));
    expect(untilMs(ledger, "b", START_MS)).toBe(at(300));
    expect(untilMs(new Ledger(sql), "c", START_MS)).toBe(at(30));
  });

  it("are no more than wished for where so many are used that a quarter will be left, however much is left now", () => {
    const limit = 60_000;
    for (const [usedInTenSeconds, tokens] of [
      [limit / 8, 2],
      [limit / 8 - 500, 3],
      [1_000, 39],
    ] as const) {
      const ledger = watched(limit, usedInTenSeconds);
      expect(ledger.look(policy("api", limit), "k1", START_MS).quota.remaining).toBe(
        limit - usedInTenSeconds,
      );
      expect(ledger.take(ask("a", limit, { wish: 2 }), START_MS).tokens).toBe(tokens);
    }
  });

  it("that were given up count no more, neither as used nor as passed in shadow, after a restart too", () => {
    const { sql } = memoryStorage();
    const ledger = new Ledger(sql);
    ledger.take(ask("a", 80, { wish: 10 }), START_MS);
    ledger.done({ nonce: "a", used: 0 }, at(1));
    for (const each of [ledger, new Ledger(sql)]) {
      expect(each.look(policy("api", 80), "k1", at(1)).quota.remaining).toBe(80);
      expect(each.outstanding("api", "k1", at(1))).toBe(0);
      expect(each.passedInShadow("api", "k1", at(1))).toBe(0);
    }
  });

  it("that were used count for a window from the account on, once, however often it is rendered", () => {
    const { sql } = memoryStorage();
    const ledger = new Ledger(sql);
    ledger.take(ask("a", 80, { wish: 10 }), START_MS);
    for (const seconds of [1, 20]) ledger.done({ nonce: "a", used: 4 }, at(seconds));
    const freeAtMs = at(1 + 60) + MARGIN_MS;
    for (const each of [ledger, new Ledger(sql)]) {
      expect(each.look(policy("api", 80), "k1", freeAtMs - 1).quota.remaining).toBe(76);
      expect(each.look(policy("api", 80), "k1", freeAtMs).quota.remaining).toBe(80);
    }
  });

  it("an account of what is not known, of posts, or of what passed in shadow changes nothing", () => {
    const ledger = new Ledger(memoryStorage().sql);
    const posts = { policy: policy("posts", 2, 3_600), partition: "" };
    ledger.take(ask("post", 2, posts), START_MS);
    ledger.take(ask("shadow", 0, { inShadow: true }), START_MS);
    for (const nonce of ["post", "shadow", "unknown"]) ledger.done({ nonce, used: 0 }, START_MS);
    expect(ledger.look(posts.policy, "", at(2)).quota.remaining).toBe(1);
    expect(ledger.passedInShadow("api", "k1", at(2))).toBe(1);
    // As long as it would have counted, which a window from the account on would be shorter than.
    expect(ledger.passedInShadow("api", "k1", at(63) - 1)).toBe(1);
  });

  it("a post that passed in shadow is still told of when it has been settled", () => {
    const ledger = new Ledger(memoryStorage().sql);
    const posts = { policy: policy("posts", 0, 3_600), partition: "" };
    ledger.take(ask("post", 0, { ...posts, inShadow: true }), START_MS);
    expect(ledger.settle("post", at(1))).toBe("posts");
    expect(ledger.passedInShadow("posts", "", at(2))).toBe(1);
  });
});

describe("what the ledger answers", () => {
  it("to an ask that was let in by the shadow is the same again, also when there are tokens meanwhile", () => {
    const ledger = new Ledger(memoryStorage().sql);
    ledger.take(ask("a", 0, { inShadow: true }), START_MS);
    expect(ledger.take(ask("a", 5, { inShadow: true }), at(1)).granted).toBe(false);
    expect(ledger.passedInShadow("api", "k1", at(1))).toBe(1);
  });

  it("where it refuses is nothing to use, and the time to wait", () => {
    const ledger = new Ledger(memoryStorage().sql);
    ledger.take(ask("a", 1), START_MS);
    const refused = {
      granted: false,
      tokens: 0,
      usableUntilMs: 0,
      quota: { policy: policy("api", 1), remaining: 0, resetSeconds: 63 },
    };
    expect(ledger.take(ask("b", 1), START_MS)).toEqual(refused);
    expect(ledger.look(policy("api", 1), "k1", START_MS)).toEqual(refused);
  });

  it("where it grants is when the next token comes back", () => {
    const ledger = new Ledger(memoryStorage().sql);
    ledger.take(ask("a", 20), START_MS);
    expect(ledger.look(policy("api", 20), "k1", at(30))).toMatchObject({
      granted: true,
      quota: { remaining: 19, resetSeconds: 33 },
    });
  });

  it("to who only looks is the origin's block as well, or the policy's own wait where that is longer", () => {
    const ledger = new Ledger(memoryStorage().sql);
    ledger.block("api", at(10));
    const look = (nowMs: number) => ledger.look(policy("api", 1), "k1", nowMs);
    expect(look(START_MS)).toMatchObject({ granted: false, quota: { remaining: 0, resetSeconds: 10 } });
    expect(look(at(10))).toMatchObject({ granted: true, quota: { remaining: 1, resetSeconds: 0 } });
    ledger.take(ask("a", 1), at(10));
    ledger.block("api", at(20));
    expect(look(at(11)).quota.resetSeconds).toBe(1 + 60 + 2 - 11);
  });
});

describe("what the ledger keeps", () => {
  /** SQL that was executed, by its first word and table. */
  function recorded() {
    const { sql } = memoryStorage();
    const texts: string[] = [];
    const exec = (text: string, ...values: never[]) => {
      texts.push(text);
      return sql.exec(text, ...values);
    };
    const count = (pattern: RegExp) => texts.splice(0).filter((text) => pattern.test(text)).length;
    return { sql: { exec } as unknown as SqlStorage, count };
  }
  const stored = (sql: SqlStorage) => sql.exec("SELECT nonce FROM grant_log").toArray().length;
  const READS = /^SELECT nonce, tokens, counts_until_ms AS/;

  it("of a limit in use is in memory: its grants are read once, and anew when none has counted any more", () => {
    const { sql, count } = recorded();
    const ledger = new Ledger(sql);
    const take = (nonce: string, seconds: number) =>
      ledger.take(ask(nonce, 20, { usableUntilMs: at(seconds + 1) }), at(seconds));
    for (const nonce of ["a", "b", "c"]) take(nonce, 0);
    expect(count(READS)).toBe(1);
    take("d", 60);
    expect(count(READS)).toBe(0);
    take("e", 60 + 63);
    expect(count(READS)).toBe(1);
  });

  it("is what still counts, and what has ceased to in the last minute", () => {
    const { sql } = memoryStorage();
    const ledger = new Ledger(sql);
    ledger.take(ask("a", 20), START_MS);
    ledger.take(ask("b", 20), at(59.999));
    // At 63 seconds the first has ceased to count.
    ledger.take(ask("c", 20, { usableUntilMs: at(121) }), at(60));
    ledger.take(ask("d", 20, { usableUntilMs: at(121) }), at(119.999));
    expect(stored(sql)).toBe(4);
    ledger.take(ask("e", 20, { usableUntilMs: at(121) }), at(120));
    expect(stored(sql)).toBe(3);
  });

  it("of deadlines is written once a second, not for each", () => {
    const { sql, count } = recorded();
    const ledger = new Ledger(sql);
    for (let ms = 1; ms <= 1_000; ms++) ledger.extendDeadline(START_MS + ms);
    expect(count(/^UPDATE latest_deadline/)).toBe(1);
    ledger.extendDeadline(START_MS + 1_001);
    expect(count(/^UPDATE latest_deadline/)).toBe(1);
  });

  it("is what the tables say, where a transaction was rolled back", () => {
    const storage = memoryStorage();
    const ledger = new Ledger(storage.sql);
    const work = () => {
      ledger.take(ask("a", 20), START_MS);
      ledger.extendDeadline(at(5));
      throw new Error("rolled back");
    };
    expect(() => storage.transactionSync(work)).toThrow("rolled back");
    ledger.forget();
    expect(ledger.look(policy("api", 20), "k1", START_MS).quota.remaining).toBe(20);
    expect(ledger.latestDeadlineMs()).toBe(0);
  });

  it("of another tenant counts here too: of the key it was of, and of the tenant", () => {
    const before = new Ledger(memoryStorage().sql);
    before.take(ask("a", 80, { wish: 10 }), START_MS);
    before.take(ask("post", 30, { policy: policy("posts", 30, 3_600), partition: "" }), START_MS);
    const ledger = new Ledger(memoryStorage().sql);
    ledger.take(ask("b", 80, { partition: "new" }), START_MS);
    ledger.takeOver(before.handOver(at(1)), "new");
    expect(ledger.look(policy("api", 80), "new", at(1)).quota.remaining).toBe(80 - 10 - 1);
    expect(ledger.look(policy("posts", 30, 3_600), "", at(1)).quota.remaining).toBe(29);
  });
});
