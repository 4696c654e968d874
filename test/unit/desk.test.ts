/** The desk where an isolate gets its decisions: who asks the authority, who waits for whom, and what is left of it. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { claimFor } from "../../src/authority/claim.ts";
import type { AuthorityClient } from "../../src/authority/client.ts";
import type { Grant, LeaseAsk } from "../../src/authority/protocol.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { SteadyClock } from "../../src/clock.ts";
import type { Credential } from "../../src/credential/credential.ts";
import type { Question } from "../../src/lease/credential-lease.ts";
import { type Decided, type Holding, LeaseDesk } from "../../src/lease/desk.ts";
import { grantOf } from "./grants.ts";

const TIMEOUT_MS = 1_000;
const RULE = {
  subscriptionsRequired: false,
  subscriptionGraceDays: 0,
  authorityTimeoutMs: TIMEOUT_MS,
  degradesWithoutAuthority: true,
};
const CLAIM = claimFor(tenantIdOf("acme"), "d");
const KEY: Credential = { kind: "api_key", secret: "key" };
const OTHER: Credential = { kind: "api_key", secret: "other" };
const API: Question = { policy: "api", scope: "read", clientAddress: null, entrance: null };
const POSTS: Question = { ...API, policy: "posts" };
const never = () => new Promise<never>(() => {});

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** A desk whose authority gives these answers, in turn, each after so long; the last one for ever. */
class Desk {
  readonly asks: Omit<LeaseAsk, "v">[] = [];
  rttMs = 50;
  offsetMs = 0;
  answers: (() => Grant | null | Promise<Grant | null>)[];
  readonly desk: LeaseDesk;

  constructor(...answers: Desk["answers"]) {
    this.answers = answers;
    const lease = async (_: string, ask: Omit<LeaseAsk, "v">) => {
      this.asks.push(ask);
      const answer = this.answers.length > 1 ? this.answers.shift() : this.answers[0];
      await new Promise((resolve) => setTimeout(resolve, this.rttMs));
      return answer?.() ?? null;
    };
    const clock = new SteadyClock(() => Date.now() + this.offsetMs);
    this.desk = new LeaseDesk({ lease } as unknown as AuthorityClient, RULE, clock);
  }

  #nonce = 0;

  get occasion() {
    return { nonce: `n${this.#nonce++}`, settleWithinMs: 0, country: "" };
  }

  ask(question = API, credential = KEY, holding: Holding = CLAIM): Promise<Decided | null> {
    return this.desk.ask(credential, holding, question, this.occasion);
  }

  askAtOnce(times: number): Promise<(Decided | null)[]> {
    return Promise.all(Array.from({ length: times }, () => this.ask()));
  }

  /** What a request is told without waiting. */
  answer(credential = KEY): Grant | null {
    const lease = this.desk.recall(credential);
    return lease === undefined ? null : this.desk.answer(lease, API);
  }
}

/** Until when (ms from now) it takes. */
async function timed<T>(work: Promise<T>, forMs = 60_000): Promise<{ value: T; tookMs: number }> {
  const startMs = Date.now();
  const timing = work.then((value) => ({ value, tookMs: Date.now() - startMs }));
  await vi.advanceTimersByTimeAsync(forMs);
  return timing;
}

describe("of requests that come at once", () => {
  it("one asks; the others wait for its answer, and are let in on its tokens", async () => {
    const desk = new Desk(() => grantOf({ tokens: 8 }));
    const { value, tookMs } = await timed(desk.askAtOnce(8), 50);
    expect(tookMs).toBe(50);
    for (const decided of value)
      expect(decided).toMatchObject({ grant: { verdict: "granted" }, degraded: false });
    expect(desk.asks).toHaveLength(1);
    expect(desk.answer()).toBeNull();
  });

  it("one after the other asks where each gets a single token", async () => {
    const desk = new Desk(() => grantOf({ tokens: 1 }));
    const { value, tookMs } = await timed(desk.askAtOnce(3));
    expect(value.map((decided) => decided?.grant.verdict)).toEqual(["granted", "granted", "granted"]);
    expect([desk.asks.length, tookMs]).toEqual([3, 150]);
  });

  it.each([
    ["was for one request only", () => ({ ...grantOf({ tokens: 1 }), lease: undefined }) as unknown as Grant],
    ["was a refusal of one request", () => grantOf({ verdict: "scope_insufficient", quota: null })],
    ["let in what is in shadow", () => grantOf({ tokens: 1, wouldHaveBeen: "rate_limited" })],
  ])("the others ask side by side where the answer %s", async (_, answer) => {
    const desk = new Desk(answer);
    const { tookMs } = await timed(desk.askAtOnce(5));
    expect([desk.asks.length, tookMs]).toEqual([5, 100]);
  });

  it("the others learn from the one that somebody is to introspect, and that it is not them", async () => {
    const required = { verdict: "introspection_required", quota: null, appointed: true } as const;
    const desk = new Desk(() => grantOf(required, { terms: null }));
    const { value, tookMs } = await timed(desk.askAtOnce(3));
    expect(value.map((decided) => decided?.grant.appointed)).toEqual([true, false, false]);
    expect([desk.asks.length, tookMs]).toEqual([1, 50]);
  });

  it("those for posts wait for nobody, and nobody for them", async () => {
    const desk = new Desk(() => grantOf({ tokens: 1 }));
    const { tookMs } = await timed(Promise.all([desk.ask(API), desk.ask(POSTS), desk.ask(POSTS)]));
    expect([desk.asks.length, tookMs]).toEqual([3, 50]);
    const other = new Desk(() => grantOf({ tokens: 1 }));
    expect((await timed(Promise.all([other.ask(POSTS), other.ask(API)]))).tookMs).toBe(50);
  });

  it("none asks again where the one was not answered: they go on without the authority, if they may", async () => {
    const desk = new Desk(() => null);
    expect((await timed(desk.askAtOnce(3))).value).toEqual([null, null, null]);
    expect(desk.asks).toHaveLength(1);

    const known = new Desk(
      () => grantOf({ tokens: 1 }),
      () => null,
    );
    await timed(known.ask(), 5_050);
    const { value } = await timed(known.askAtOnce(3), 50);
    for (const decided of value)
      expect(decided).toMatchObject({ grant: { verdict: "granted" }, degraded: true });
    expect(known.asks).toHaveLength(2);
  });

  it("none waits for longer than an ask may take", async () => {
    const desk = new Desk(never);
    void desk.ask();
    const { value, tookMs } = await timed(desk.ask(), TIMEOUT_MS);
    expect([value, tookMs, desk.asks.length]).toEqual([null, TIMEOUT_MS, 1]);
  });

  it("none waits for an ask that has gone: its request has ended, and nobody was told", async () => {
    const desk = new Desk(never, () => grantOf());
    void desk.ask();
    await vi.advanceTimersByTimeAsync(2 * TIMEOUT_MS);
    void desk.ask();
    expect(desk.asks).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    void desk.ask();
    expect(desk.asks).toHaveLength(2);
  });

  it("those that come later wait for the newest ask, also when an older one is answered after all", async () => {
    let answerOld = (_: Grant | null) => {};
    const old = new Promise<Grant | null>((resolve) => {
      answerOld = resolve;
    });
    const desk = new Desk(() => old, never);
    void desk.ask();
    await vi.advanceTimersByTimeAsync(2 * TIMEOUT_MS + 1);
    void desk.ask();
    answerOld(null);
    await vi.advanceTimersByTimeAsync(1);
    void desk.ask();
    expect(desk.asks).toHaveLength(2);
  });
});

describe("an answer", () => {
  it("to who asks tells it alone to introspect anew", async () => {
    const desk = new Desk(() => grantOf({ refresh: true }));
    const { value } = await timed(desk.askAtOnce(3), 50);
    expect(value.map((decided) => decided?.grant.refresh)).toEqual([true, undefined, undefined]);
    expect(value[0]?.grant.verdict).toBe("granted");
  });

  it("that comes when its lease is over lets nobody in", async () => {
    const desk = new Desk(() => grantOf({ refresh: true }, { forMs: 50 }));
    const cold = await timed(desk.ask(), 50);
    expect(cold.value).toBeNull();
  });

  it("in the background uses none of its tokens up", async () => {
    const desk = new Desk(
      () => grantOf({ tokens: 1 }),
      () => grantOf({ tokens: 4 }),
    );
    await timed(desk.ask(), 50);
    const lease = desk.desk.recall(KEY);
    if (lease === undefined) throw new Error("nothing was learnt");
    await timed(desk.desk.renew(KEY, lease, API, desk.occasion), 50);
    // Where little is left, what would be given ahead is somebody else's.
    expect(desk.asks.map(({ ahead }) => ahead)).toEqual([undefined, true]);
    for (let i = 0; i < 4; i++) expect(desk.answer()?.verdict).toBe("granted");
    expect(desk.answer()).toBeNull();
  });

  it("says that tokens in hand will do, and asks again where they do not", async () => {
    const desk = new Desk(
      () => grantOf({ tokens: 4 }, { forMs: 100 }),
      () => grantOf({ tokens: 0 }),
    );
    await timed(desk.ask(), 200);
    expect((await timed(desk.ask(), 50)).value?.grant.verdict).toBe("granted");
    expect(desk.asks.map(({ ahead }) => ahead)).toEqual([undefined, true]);
  });

  it("about a credential of which nobody knows whose it is is for one request only, unless it says that", async () => {
    const nobodys = { ...CLAIM, tenantId: null };
    const desk = new Desk(() => grantOf());
    expect((await timed(desk.ask(API, KEY, nobodys), 50)).value?.grant.verdict).toBe("granted");
    expect(desk.desk.recall(KEY)).toBeUndefined();
    desk.answers = [() => grantOf({ tenantId: CLAIM.tenantId })];
    await timed(desk.ask(API, KEY, nobodys), 50);
    expect(desk.desk.recall(KEY)?.claim.tenantId).toBe(CLAIM.tenantId);
  });

  it("is forgotten when it is to be", async () => {
    const desk = new Desk(() => grantOf());
    await timed(desk.ask(), 50);
    desk.desk.forget(KEY);
    expect(desk.answer()).toBeNull();
  });

  it("is none where the clock was set back while it was on its way: nobody knows how old it is", async () => {
    const desk = new Desk(() => grantOf({}, { forMs: 5_000 }));
    const asking = desk.ask();
    await vi.advanceTimersByTimeAsync(10);
    desk.offsetMs = -30_000;
    expect((await timed(asking, 50)).value).toBeNull();
    expect(desk.answer()).toBeNull();
  });

  it("to any key makes none of before count again, once the clock was set back", async () => {
    const desk = new Desk(() => grantOf());
    await timed(Promise.all([desk.ask(), desk.ask(API, OTHER)]), 50);
    desk.offsetMs = -30_000;
    await timed(desk.ask(), 50);
    expect([desk.answer()?.verdict, desk.answer(OTHER)]).toEqual(["granted", null]);
  });
});
