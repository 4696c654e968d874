/**
 * An isolate's asks to one authority: a few calls at a time, and what comes meanwhile goes together in the next. However
 * many keys are seen for the first time at once, after a deployment for example, their object gets few calls for it; one
 * that hangs gets no more, and one that says that it is overloaded none for a while.
 */
import { TimeoutError, within } from "../timeout.ts";
import type { LeaseAsk } from "./protocol.ts";
import { isOverloaded } from "./rpc-error.ts";

const CALLS_AT_ONCE = 4;
const ASKS_PER_CALL = 100;
const REST_MS = 1_000;

/** An answer for each ask, in their order; not looked at yet. */
export type Answers = readonly unknown[];
/** `deadlineMs`: from then on nobody waits for any of them. */
export type SendAsks = (asks: readonly LeaseAsk[], deadlineMs: number) => Promise<Answers>;

/** A call under way. One that is older than the time-out is nobody's any more: its request may have died with it. */
interface Call {
  readonly begunAtMs: number;
}

/** Asks that go together. Whoever came first sends them, in its own request: what another began would end with that one. */
interface Party {
  readonly asks: LeaseAsk[];
  readonly begunAtMs: number;
  readonly turn: PromiseWithResolvers<Call>;
  readonly answers: PromiseWithResolvers<Answers>;
}

export class AskLine {
  readonly #send: SendAsks;
  readonly #timeoutMs: number;
  readonly #nowMs: () => number;
  readonly #underWay = new Set<Call>();
  readonly #waiting: Party[] = [];
  #restsUntilMs = 0;

  constructor(send: SendAsks, timeoutMs: number, nowMs: () => number) {
    this.#send = send;
    this.#timeoutMs = timeoutMs;
    this.#nowMs = nowMs;
  }

  /** Rejects where its call does, and where its turn has not come within that time. */
  ask(ask: LeaseAsk, withinMs: number): Promise<unknown> {
    return this.#ask(ask, this.#nowMs() + withinMs);
  }

  async #ask(ask: LeaseAsk, deadlineMs: number): Promise<unknown> {
    if (this.#nowMs() < this.#restsUntilMs) throw new Error("the object was overloaded a moment ago");
    this.#prune();
    if (this.#underWay.size < CALLS_AT_ONCE) {
      return (await this.#call([ask], this.#begin(), deadlineMs))[0];
    }
    const last = this.#waiting.at(-1);
    if (last === undefined || last.asks.length === ASKS_PER_CALL)
      return (await this.#lead(ask, deadlineMs))[0];
    const place = last.asks.push(ask) - 1;
    try {
      return (await last.answers.promise)[place];
    } catch (error) {
      // Whoever came first has run out of time, and not who came later.
      if (!(error instanceof TimeoutError) || this.#nowMs() >= deadlineMs) throw error;
      return this.#ask(ask, deadlineMs);
    }
  }

  async #lead(ask: LeaseAsk, deadlineMs: number): Promise<Answers> {
    const party: Party = {
      asks: [ask],
      begunAtMs: this.#nowMs(),
      turn: Promise.withResolvers(),
      answers: Promise.withResolvers(),
    };
    this.#waiting.push(party);
    // Where nobody has joined, nobody listens.
    party.answers.promise.catch(() => {});
    try {
      const call = await within(Math.max(0, deadlineMs - this.#nowMs()), party.turn.promise);
      const answers = await this.#call(party.asks, call, deadlineMs);
      party.answers.resolve(answers);
      return answers;
    } catch (error) {
      const place = this.#waiting.indexOf(party);
      if (place !== -1) this.#waiting.splice(place, 1);
      party.answers.reject(error);
      throw error;
    }
  }

  #begin(): Call {
    const call = { begunAtMs: this.#nowMs() };
    this.#underWay.add(call);
    return call;
  }

  async #call(asks: readonly LeaseAsk[], call: Call, deadlineMs: number): Promise<Answers> {
    try {
      return await this.#send(asks, deadlineMs);
    } catch (error) {
      if (isOverloaded(error)) this.#rest(error);
      throw error;
    } finally {
      this.#underWay.delete(call);
      const next = this.#underWay.size < CALLS_AT_ONCE ? this.#waiting.shift() : undefined;
      next?.turn.resolve(this.#begin());
    }
  }

  #rest(error: unknown): void {
    this.#restsUntilMs = this.#nowMs() + REST_MS;
    for (const { turn } of this.#waiting.splice(0)) turn.reject(error);
  }

  #prune(): void {
    const isOver = ({ begunAtMs }: Call) => this.#nowMs() - begunAtMs >= this.#timeoutMs;
    for (const call of this.#underWay) if (isOver(call)) this.#underWay.delete(call);
    while (this.#waiting[0] !== undefined && isOver(this.#waiting[0])) this.#waiting.shift();
  }
}
