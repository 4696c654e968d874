/**
 * The tenants' authorities and their branches: the gateway's own class over SQLite in memory, one call at a time, each where its tenant's clients
 * are. What is modelled is how long a call takes, and how an object leaves memory. Arguments and answers are handed over as
 * they are: all of them are read only.
 */
import { isBranch, tenantTagOf } from "../src/authority/branch-name.ts";
import type { Tag } from "../src/authority/tag.ts";
import { TenantAuthority } from "../src/authority/tenant-authority.ts";
import type { Env } from "../src/env.ts";
import type { Network } from "./network.ts";
import { countingStorage } from "./storage.ts";
import type { Usage } from "./tally.ts";
import type { Timer } from "./virtual-time.ts";

/** Of one call, with its write, and of each further ask in it: measured in Node, 0.12 to 0.2 ms of a busy machine. */
export const CALL_MS = 2;
const FURTHER_ASK_MS = 0.2;
/**
 * Until what was written is confirmed: no answer leaves earlier, and the next call need not wait for it. Of a deployed object
 * 10 to 13 ms were measured: https://lumenize.com/blog/what-i-got-wrong-about-do-throughput.
 */
export const CONFIRM_MS = 10;
/** Of an object that sleeps, until it can be called: an estimate, nobody has published it. */
export const WAKE_MS = 50;
/** Whoever would have to wait longer is told that the object is overloaded. */
export const QUEUE_MS = 5_000;
/** An object that nobody calls leaves memory. */
export const IDLE_MS = 10_000;

type Method = (...args: unknown[]) => unknown;

/** What an operator calls directly. */
export type Administered = Pick<TenantAuthority, "import" | "revokeKeyById">;

class Seat {
  object: TenantAuthority | null = null;
  storage: DurableObjectStorage | null = null;
  alarm: Timer | null = null;
  busyUntilMs = 0;
  calledAtMs = 0;
  /** When everything that was written so far is confirmed. */
  confirmedAtMs = 0;
  callMs = CALL_MS;
  /** Grows when the object is reset: calls under way are lost with it. */
  life = 0;
  isDown = false;
  calls = 0;
  readonly location: number;
  readonly usage: () => Usage;

  constructor(location: number, usage: () => Usage) {
    this.location = location;
    this.usage = usage;
  }
}

export class Authorities {
  readonly #network: Network;
  readonly #envOf: (location: number) => Env;
  readonly #seats = new Map<string, Seat>();

  /** `envOf`: of the objects there. */
  constructor(network: Network, envOf: (location: number) => Env) {
    this.#network = network;
    this.#envOf = envOf;
  }

  found(tag: string, location: number, usage: () => Usage): void {
    this.#seats.set(tag, new Seat(location, usage));
  }

  /** The binding, as a Worker in that location has it. `before`: speaks the protocol as it was before leases. */
  from(location: number, before: boolean): Env["TENANT_AUTHORITY"] {
    const stub = (tag: string) => {
      const get = (_: object, name: string | symbol) => {
        if (name === "then") return undefined;
        if (before && LATER_METHODS.has(String(name))) return unknownMethod;
        return (...args: unknown[]) => {
          return this.#call(location, tag, String(name), before ? args.map(withoutLease) : args);
        };
      };
      return new Proxy({}, { get });
    };
    return { getByName: stub } as unknown as Env["TENANT_AUTHORITY"];
  }

  /** Without a way and without waiting. */
  at(tag: string): Administered {
    const seat = this.#seat(tag);
    return this.#awake(seat);
  }

  /** Of the tenant's own object first, and of each of its branches. */
  callsOf(tag: string): number[] {
    return this.#allOf(tag).map(({ calls }) => calls);
  }

  /** How long (ms) a call that arrives now would wait at the busiest of them. */
  queueMs(tag: string): number {
    const untilMs = Math.max(...this.#allOf(tag).map(({ busyUntilMs }) => busyUntilMs));
    return Math.max(0, untilMs - this.#network.time.nowMs);
  }

  slowDown(tag: string, callMs: number): void {
    for (const seat of this.#allOf(tag)) seat.callMs = callMs;
  }

  /** The object is reset, and can't be reached for a while. What it has stored stays. */
  restart(tag: string, downMs: number): void {
    const seat = this.#seat(tag);
    seat.object = null;
    seat.life++;
    seat.isDown = true;
    this.#network.time.after(downMs, () => {
      seat.isDown = false;
    });
  }

  #call(from: number, tag: string, name: string, args: unknown[]): Promise<unknown> {
    const seat = this.#seat(tag);
    return new Promise((resolve, reject) => {
      this.#network.send(from, seat.location, () => {
        const reply = (settle: () => void) => this.#network.send(seat.location, from, settle);
        const fail = (error: object) => reply(() => reject(error));
        const { nowMs } = this.#network.time;
        if (seat.isDown) return fail(Object.assign(new Error("reset"), { retryable: true }));
        this.#wake(seat);
        const waitMs = Math.max(0, seat.busyUntilMs - nowMs);
        if (waitMs > QUEUE_MS) return fail(Object.assign(new Error("overloaded"), { overloaded: true }));
        const { life } = seat;
        const workMs = seat.callMs + FURTHER_ASK_MS * (asksIn(name, args) - 1);
        seat.busyUntilMs = nowMs + waitMs + workMs;
        const perform = async () => {
          if (seat.life !== life) return fail(Object.assign(new Error("reset"), { retryable: true }));
          try {
            const answer = await this.#perform(seat, name, args);
            const confirmMs = Math.max(0, seat.confirmedAtMs - this.#network.time.nowMs);
            seat.usage().activeMs += workMs + confirmMs;
            this.#network.time.after(workMs + confirmMs, () => {
              this.#network.time.stir();
              reply(() => resolve(answer));
            });
          } catch (error) {
            fail(error as object);
          }
        };
        if (waitMs === 0) return void perform();
        this.#network.time.after(waitMs, () => {
          this.#network.time.stir();
          void perform();
        });
      });
    });
  }

  #perform(seat: Seat, name: string, args: unknown[]): unknown {
    const usage = seat.usage();
    usage.authorityCalls++;
    seat.calls++;
    const object = this.#awake(seat);
    return (Reflect.get(object, name) as Method).apply(object, args);
  }

  /** Whoever sleeps is busy waking up. */
  #wake(seat: Seat): void {
    const { nowMs } = this.#network.time;
    if (seat.object !== null && nowMs - seat.calledAtMs <= IDLE_MS) return;
    this.#awake(seat);
    seat.busyUntilMs = Math.max(seat.busyUntilMs, nowMs) + WAKE_MS;
    seat.usage().activeMs += WAKE_MS;
  }

  #awake(seat: Seat): TenantAuthority {
    const { time } = this.#network;
    const written = () => {
      seat.confirmedAtMs = time.nowMs + CONFIRM_MS;
    };
    seat.storage ??= countingStorage(seat.usage, (atMs) => this.#arm(seat, atMs), written);
    if (time.nowMs - seat.calledAtMs > IDLE_MS) seat.object = null;
    seat.calledAtMs = time.nowMs;
    if (seat.object === null) {
      const context = { storage: seat.storage, blockConcurrencyWhile: (work: () => Promise<void>) => work() };
      const env = this.#envOf(seat.location);
      seat.object = new TenantAuthority(context as unknown as DurableObjectState, env);
    }
    return seat.object;
  }

  /** One alarm at a time, the latest wish. */
  #arm(seat: Seat, atMs: number): void {
    if (seat.alarm !== null) seat.alarm.work = null;
    const { time } = this.#network;
    seat.alarm = time.after(atMs - time.nowMs, () => {
      time.stir();
      seat.alarm = null;
      const usage = seat.usage();
      usage.authorityCalls++;
      usage.activeMs += CALL_MS;
      this.#wake(seat);
      void this.#awake(seat).alarm();
    });
  }

  /** A branch is where its tenant's own object is: most of those who ask are near both. */
  #seat(name: string): Seat {
    const known = this.#seats.get(name);
    if (known !== undefined) return known;
    if (!isBranch(name as Tag)) throw new Error(`nobody's authority was asked: ${name}`);
    const { location, usage, callMs } = this.#seat(tenantTagOf(name as `${Tag}.`));
    const seat = new Seat(location, usage);
    seat.callMs = callMs;
    this.#seats.set(name, seat);
    return seat;
  }

  #allOf(tag: string): Seat[] {
    const branches = [...this.#seats].filter(([name]) => name.startsWith(`${tag}.`));
    return [this.#seat(tag), ...branches.map(([, seat]) => seat)];
  }
}

/** What the version before did not ask for. */
const LATER_METHODS = new Set(["leaseAll", "leaseAtBranch", "leaseAllAtBranch"]);

const asksIn = (name: string, args: readonly unknown[]) =>
  name.startsWith("leaseAll") ? (args.at(-1) as unknown[]).length : 1;

function unknownMethod(): never {
  throw new TypeError("The RPC receiver does not implement the method.");
}

/** As an isolate of the version before leases asks: for one request. */
function withoutLease(argument: unknown): unknown {
  if (typeof argument !== "object" || argument === null || !("wish" in argument)) return argument;
  const { wish: _, done: __, canBranch: ___, ...asked } = argument as Record<string, unknown>;
  return asked;
}
