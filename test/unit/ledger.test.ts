/** The ledger over a real SQLite: what is committed there is what a new object counts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Ledger, type TokenAnswer } from "../../src/authority/ledger.ts";
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
