import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RollingWindow, type Spent } from "../../src/quota/window.ts";

const WINDOW_MS = 60_000;
const MARGIN_MS = 2_000;
const LONGEST_GRANT_MS = 31_000;

type Step =
  | { readonly kind: "ask"; readonly usableMs: number; readonly usedAt: number }
  | { readonly kind: "settle"; readonly which: number }
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "limit"; readonly limit: number }
  | { readonly kind: "restart" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("ask" as const),
      usableMs: fc.integer({ min: 0, max: LONGEST_GRANT_MS }),
      usedAt: fc.constantFrom(0, 0.3, 0.9, 1),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("settle" as const), which: fc.nat(100) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant("wait" as const),
      ms: fc.oneof(fc.nat(5), fc.nat(10_000), fc.nat(3 * WINDOW_MS), fc.constant(WINDOW_MS)),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("limit" as const), limit: fc.nat(6) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
);

interface Granted {
  readonly nonce: string;
  readonly grantedAtMs: number;
  readonly underLimit: number;
  /** Last instant, by the authority's clock, at which the token can be used. */
  lastUseMs: number;
  countsUntilMs: number;
  /** Where between the grant and the last possible instant it is used: 0 to 1. */
  readonly usedAt: number;
}

/** Drives the window as `authority/ledger.ts` does, and keeps by hand what the ledger keeps in SQLite. */
class Authority {
  nowMs = 1_700_000_000_000;
  limit: number;
  readonly grants: Granted[] = [];
  window = new RollingWindow();

  constructor(limit: number) {
    this.limit = limit;
  }

  /** Grants that still count, told without the window. */
  counting(): Granted[] {
    return this.grants.filter(({ countsUntilMs }) => countsUntilMs > this.nowMs);
  }

  stored(): Spent[] {
    return this.counting().map(({ nonce, countsUntilMs }) => ({ nonce, tokens: 1, countsUntilMs }));
  }

  take(step: Step): void {
    switch (step.kind) {
      case "ask":
        if (this.window.at(this.nowMs, this.limit).available > 0) this.#grant(step);
        return;
      case "settle": {
        const grant = this.grants[step.which % Math.max(1, this.grants.length)];
        if (grant !== undefined) this.#settle(grant);
        return;
      }
      case "wait":
        this.nowMs += step.ms;
        return;
      case "limit":
        this.limit = step.limit;
        return;
      case "restart":
        this.window = new RollingWindow(this.stored());
    }
  }

  #grant({ usableMs, usedAt }: Extract<Step, { kind: "ask" }>): void {
    const nonce = `n${this.grants.length}`;
    const lastUseMs = this.nowMs + usableMs;
    const countsUntilMs = lastUseMs + WINDOW_MS + MARGIN_MS;
    this.window.spend({ nonce, tokens: 1, countsUntilMs });
    const { nowMs: grantedAtMs, limit: underLimit } = this;
    this.grants.push({ nonce, grantedAtMs, underLimit, lastUseMs, countsUntilMs, usedAt });
  }

  #settle(grant: Granted): void {
    const countsUntilMs = this.nowMs + WINDOW_MS + MARGIN_MS;
    this.window.settle(grant.nonce, countsUntilMs);
    grant.countsUntilMs = Math.min(grant.countsUntilMs, countsUntilMs);
    grant.lastUseMs = Math.min(grant.lastUseMs, this.nowMs);
  }

  /** Instants of use; the isolate's clock may be behind the authority's by the margin. */
  uses(): { readonly atMs: number; readonly grant: Granted }[] {
    return this.grants.map((grant) => {
      const latestMs = grant.lastUseMs + MARGIN_MS;
      const atMs = Math.round(grant.grantedAtMs + (latestMs - grant.grantedAtMs) * grant.usedAt);
      return { atMs, grant };
    });
  }
}

const history = fc.record({
  limit: fc.integer({ min: 1, max: 5 }),
  steps: fc.array(step, { minLength: 5, maxLength: 120, size: "max" }),
});
const RUNS = { numRuns: 500 };

function replay({ limit, steps }: { limit: number; steps: Step[] }): Authority {
  const authority = new Authority(limit);
  for (const step of steps) authority.take(step);
  return authority;
}

/** Checks `invariant` after every step of a history. */
function throughout(invariant: (authority: Authority) => void): void {
  fc.assert(
    fc.property(history, ({ limit, steps }) => {
      const authority = new Authority(limit);
      for (const step of steps) {
        authority.take(step);
        invariant(authority);
      }
    }),
    RUNS,
  );
}

describe("a rolling window", () => {
  it("sees no more than `limit` uses in any interval of its length, whenever the tokens are used", () => {
    fc.assert(
      fc.property(history, (story) => {
        const uses = replay(story).uses();
        for (const { atMs: fromMs } of uses) {
          const inside = uses.filter(({ atMs }) => atMs >= fromMs && atMs < fromMs + WINDOW_MS);
          // The limit that was in force when the youngest of these tokens was granted; grants are in order.
          const youngest = inside.at(-1);
          expect(inside.length).toBeLessThanOrEqual(youngest?.grant.underLimit ?? 0);
        }
      }),
      { numRuns: 3_000 },
    );
  });

  it("serves a limit to its last token: it refuses only while that many still count", () => {
    throughout((authority) => {
      const { window, nowMs, limit } = authority;
      expect(window.at(nowMs, limit).available).toBe(Math.max(0, limit - authority.counting().length));
    });
  });

  it("is left by asks that it refuses exactly as it was", () => {
    fc.assert(
      fc.property(history, fc.integer({ min: 1, max: 20 }), ({ limit, steps }, refusedAsks) => {
        const authority = new Authority(limit);
        const hammered = new Authority(limit);
        for (const step of steps) {
          authority.take(step);
          hammered.take(step);
          for (let asks = 0; asks < refusedAsks; asks++) hammered.window.at(hammered.nowMs, 0);
          const { nowMs } = authority;
          expect(hammered.window.at(nowMs, 9)).toEqual(new RollingWindow(authority.stored()).at(nowMs, 9));
        }
        expect(hammered.grants).toEqual(authority.grants);
      }),
      RUNS,
    );
  });

  it("admits whoever waits for `retryAfterMs`, and nobody who waits a millisecond less", () => {
    throughout((authority) => {
      const { nowMs, limit } = authority;
      const { available, retryAfterMs } = authority.window.at(nowMs, limit);
      if (available > 0 || limit === 0) return expect(retryAfterMs).toBe(limit === 0 ? Infinity : 0);
      expect(retryAfterMs).toBeGreaterThan(0);
      const whenWaited = (waitMs: number) => new RollingWindow(authority.stored()).at(nowMs + waitMs, limit);
      expect(whenWaited(retryAfterMs - 1).available).toBe(0);
      expect(whenWaited(retryAfterMs).available).toBeGreaterThan(0);
      expect(whenWaited(retryAfterMs).retryAfterMs).toBe(0);
    });
  });

  it("tells by `resetMs` when the next token comes back, and 0 when none is out", () => {
    throughout((authority) => {
      const { nowMs } = authority;
      const { resetMs } = authority.window.at(nowMs, authority.limit);
      const ends = authority.counting().map(({ countsUntilMs }) => countsUntilMs - nowMs);
      expect(resetMs).toBe(ends.length === 0 ? 0 : Math.min(...ends));
    });
  });

  it("answers the same after it was rebuilt from its entries, in whatever order they are stored", () => {
    throughout((authority) => {
      const { nowMs, limit } = authority;
      const asItIs = authority.window.at(nowMs, limit);
      expect(new RollingWindow(authority.stored()).at(nowMs, limit)).toEqual(asItIs);
      expect(new RollingWindow(authority.stored().reverse()).at(nowMs, limit)).toEqual(asItIs);
    });
  });
});

describe("by example", () => {
  const spent = (nonce: string, countsUntilMs: number, tokens = 1): Spent => ({
    nonce,
    tokens,
    countsUntilMs,
  });

  it("a token counts up to the instant at which it ends, and no longer", () => {
    const window = new RollingWindow([spent("a", 1_000)]);
    expect(window.at(999, 1)).toEqual({ available: 0, resetMs: 1, retryAfterMs: 1 });
    expect(window.at(1_000, 1)).toEqual({ available: 1, resetMs: 0, retryAfterMs: 0 });
  });

  it("a grant of several tokens counts as many, and comes back as a whole", () => {
    const window = new RollingWindow([spent("a", 1_000, 3), spent("b", 2_000, 2)]);
    expect(window.at(0, 5)).toEqual({ available: 0, resetMs: 1_000, retryAfterMs: 1_000 });
    expect(window.at(0, 2)).toEqual({ available: 0, resetMs: 1_000, retryAfterMs: 2_000 });
    expect(window.at(1_000, 5)).toEqual({ available: 3, resetMs: 1_000, retryAfterMs: 0 });
  });

  it("a settlement gives a token back earlier, never later", () => {
    const window = new RollingWindow([spent("a", 5_000), spent("b", 5_000)]);
    window.settle("a", 2_000);
    expect(window.at(0, 2).retryAfterMs).toBe(2_000);
    window.settle("a", 9_000);
    expect(window.at(0, 2).retryAfterMs).toBe(2_000);
  });

  it("a settlement of a grant that nobody knows, or that counts no more, changes nothing", () => {
    const window = new RollingWindow([spent("a", 1_000), spent("b", 3_000)]);
    window.settle("z", 1);
    expect(window.at(1_500, 2)).toEqual({ available: 1, resetMs: 1_500, retryAfterMs: 0 });
    window.settle("a", 1);
    expect(window.at(1_500, 2)).toEqual({ available: 1, resetMs: 1_500, retryAfterMs: 0 });
  });

  it("a grant of which nothing was used leaves nothing behind, not even an instant to wait for", () => {
    const window = new RollingWindow([spent("a", 5_000, 3)]);
    window.settle("a", 2_000, 0);
    expect(window.at(0, 3)).toEqual({ available: 3, resetMs: 0, retryAfterMs: 0 });
    expect(window.isEmpty(0)).toBe(true);
  });

  it("is empty from the instant on at which its last token counts no more, and not before", () => {
    const window = new RollingWindow([spent("a", 1_000), spent("b", 2_000)]);
    expect([window.isEmpty(1_999), window.isEmpty(2_000)]).toEqual([false, true]);
    expect(new RollingWindow().isEmpty(0)).toBe(true);
  });

  it("a limit of 0 grants nothing, ever", () => {
    expect(new RollingWindow().at(0, 0)).toEqual({ available: 0, resetMs: 0, retryAfterMs: Infinity });
  });

  it("a lowered limit holds at once, a raised one too", () => {
    const window = new RollingWindow([spent("a", 1_000), spent("b", 2_000), spent("c", 3_000)]);
    expect(window.at(0, 1)).toMatchObject({ available: 0, retryAfterMs: 3_000 });
    expect(window.at(0, 4)).toMatchObject({ available: 1, retryAfterMs: 0 });
  });
});
