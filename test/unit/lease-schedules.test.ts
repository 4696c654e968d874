/** Leases in any order of things: versions side by side, and schedules that nobody has thought of. */
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { SteadyClock } from "../../src/clock.ts";
import { digestOf } from "../../src/credential/credential.ts";
import type { Deps } from "../../src/deps.ts";
import { ACME, acme, ask, branchOfKey, KEY, keyOf, makeBusy, SECOND, WINDOW_MS } from "../support/leases.ts";
import type { World } from "../support/world.ts";

afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

describe("versions side by side", () => {
  it("an isolate of the version before is granted one request, checked, void after AUTHORITY_TIMEOUT_MS", async () => {
    const world = await acme();
    const old = {
      v: 1,
      tenantId: ACME,
      digest: digestOf(KEY.secret),
      policy: "api",
      settleWithinMs: 0,
    } as const;
    const grant = await world.authority(ACME).lease({ ...old, nonce: "old" });
    expect(grant).toMatchObject({ verdict: "granted", tokens: 1, usableForMs: SECOND });
    expect(grant).not.toHaveProperty("lease");
  });

  it("an authority of the version before is asked for every request", async () => {
    const world = await acme();
    const authority = world.authority(ACME);
    const lease = authority.lease.bind(authority);
    // As it answered: it knew nothing of wishes.
    authority.lease = ({ wish: _, done: __, ...asked }) => lease(asked);
    const isolate = world.isolate();
    for (let i = 1; i <= 4; i++) {
      expect((await ask(world, isolate)).is).toBe("granted");
      expect(world.authorityCalls).toBe(i);
    }
  });
});

type Step =
  | { readonly kind: "requests"; readonly isolate: number; readonly key: number; readonly count: number }
  | { readonly kind: "old request"; readonly key: number }
  | { readonly kind: "wait"; readonly ms: number }
  | { readonly kind: "clock"; readonly isolate: number; readonly ms: number }
  | { readonly kind: "new isolate"; readonly isolate: number }
  | {
      readonly kind: "network";
      /** Between isolates and objects, or between branches and their tenant's own object. */
      readonly of: "leases" | "trust";
      readonly delayMs: number;
      readonly lost: "nothing" | "asks" | "replies";
    }
  | { readonly kind: "busy" }
  | {
      readonly kind: "evict branch" | "evict" | "revoke" | "disable" | "enable" | "stale KV";
      readonly key: number;
    };

const ISOLATES = 3;
const KEYS = 2;
const isolate = fc.nat(ISOLATES - 1);
const key = fc.nat(KEYS - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("requests" as const),
      isolate,
      key,
      count: fc.integer({ min: 1, max: 30 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("old request" as const), key }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("wait" as const),
      ms: fc.oneof(fc.nat(2_000), fc.nat(8_000), fc.nat(70_000)),
    }),
  },
  // Set back by as much as it likes, while the isolate is awake; asleep, by no more than the margin.
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("clock" as const),
      isolate,
      ms: fc.integer({ min: -1_900, max: 20_000 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("new isolate" as const), isolate }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant("network" as const),
      of: fc.constantFrom("leases", "trust"),
      delayMs: fc.constantFrom(0, 0, 300, 900, 1_500),
      lost: fc.constantFrom("nothing", "nothing", "asks", "replies"),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("evict branch", "evict", "revoke", "disable", "enable", "stale KV"),
      key,
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("busy" as const) }) },
);

/** Plays a schedule and holds everything that is let in against what was promised. */
class Schedule {
  readonly #world: World;
  readonly #limit: number;
  readonly #offsetsMs = Array.from({ length: ISOLATES }, () => 0);
  readonly #isolates: Deps[];
  readonly #stale: ReadonlyMap<string, string>;
  /** Instants at which each key was let in by what the authority granted. */
  readonly #admittedMs = Array.from({ length: KEYS }, (): number[] => []);
  readonly #effectiveByMs = Array.from({ length: KEYS }, () => Number.POSITIVE_INFINITY);
  readonly #degradedUntilMs = Array.from({ length: KEYS }, () => Number.POSITIVE_INFINITY);
  readonly #setBack = new Set<number>();
  readonly #networks: { [of in "leases" | "trust"]?: Extract<Step, { kind: "network" }> } = {};
  #old = 0;

  constructor(world: World, limit: number) {
    this.#world = world;
    this.#limit = limit;
    this.#stale = new Map(world.credentials.stored);
    this.#isolates = this.#offsetsMs.map((_, i) => this.#isolate(i));
    world.before = (method) => this.#travel(method, "asks");
    world.after = (method) => this.#travel(method, "replies");
  }

  async play(step: Step): Promise<void> {
    const world = this.#world;
    switch (step.kind) {
      case "requests": {
        const isolate = this.#isolates[step.isolate];
        if (isolate === undefined) return;
        const asked = Array.from({ length: step.count }, () => this.#request(isolate, step.key));
        await world.pass(4_000);
        await Promise.all(asked);
        return;
      }
      case "old request":
        return this.#oldRequest(step.key);
      case "wait":
        return world.pass(step.ms);
      case "clock":
        if (step.ms < 0 && this.#setBack.has(step.isolate)) return;
        if (step.ms < 0) this.#setBack.add(step.isolate);
        this.#offsetsMs[step.isolate] = (this.#offsetsMs[step.isolate] ?? 0) + step.ms;
        return;
      case "new isolate":
        this.#isolates[step.isolate] = this.#isolate(step.isolate);
        return;
      case "network":
        this.#networks[step.of] = step;
        return;
      case "busy":
        return makeBusy(world);
      case "evict branch":
        return world.evictNamed(branchOfKey(step.key));
      case "evict":
        return world.evict(ACME);
      case "stale KV":
        for (const [name, record] of this.#stale) world.credentials.stored.set(name, record);
        return;
      default:
        return this.#change(step.kind, step.key);
    }
  }

  /** Half of the way. */
  async #travel(method: string, what: "asks" | "replies"): Promise<void> {
    const of = method === "entrust" ? "trust" : method.startsWith("lease") ? "leases" : null;
    const network = of === null ? undefined : this.#networks[of];
    if (network === undefined) return;
    if (network.lost === what) throw new Error("lost on its way");
    if (network.delayMs > 0) await new Promise((resolve) => setTimeout(resolve, network.delayMs / 2));
  }

  async #change(kind: "revoke" | "disable" | "enable", key: number): Promise<void> {
    const authority = this.#world.authority(ACME);
    const changed =
      kind === "revoke"
        ? await authority.revokeKeyById(`k${key}`, "tests")
        : await authority.enableKey(`k${key}`, kind === "enable", "tests");
    if (!changed.ok) return;
    const isEnabled = kind === "enable";
    this.#effectiveByMs[key] = isEnabled ? Number.POSITIVE_INFINITY : Date.parse(changed.effectiveBy);
    const degradedUntil = changed.degradedUntil ?? changed.effectiveBy;
    this.#degradedUntilMs[key] = isEnabled ? Number.POSITIVE_INFINITY : Date.parse(degradedUntil);
  }

  #isolate(i: number): Deps {
    return this.#world.isolate({}, new SteadyClock(() => Date.now() + (this.#offsetsMs[i] ?? 0)));
  }

  async #request(isolate: Deps, key: number): Promise<void> {
    const { is, degraded } = await ask(this.#world, isolate, keyOf(key));
    if (is === "granted") this.#admit(key, degraded);
  }

  /** As the version before asked, and admitted. */
  async #oldRequest(key: number): Promise<void> {
    const askedAtMs = Date.now();
    const asked = { v: 1, tenantId: ACME, digest: digestOf(keyOf(key).secret), policy: "api" } as const;
    // Its answer may have to come from a branch.
    const asking = Promise.resolve(
      this.#world.authority(ACME).lease({ ...asked, nonce: `old-${this.#old++}`, settleWithinMs: 0 }),
    ).then(
      (grant) => {
        if (grant.verdict === "granted" && Date.now() - askedAtMs < grant.usableForMs)
          this.#admit(key, false);
      },
      // An isolate takes any error for no grant.
      () => {},
    );
    await this.#world.pass(4_000);
    await asking;
  }

  #admit(key: number, degraded: boolean): void {
    const nowMs = Date.now();
    const untilMs = (degraded ? this.#degradedUntilMs : this.#effectiveByMs)[key] ?? 0;
    if (nowMs >= untilMs) throw new Error(`key ${key} was let in ${nowMs - untilMs} ms after its end`);
    // Nobody counts where the authority can't be asked.
    if (degraded) return;
    const admitted = this.#admittedMs[key] ?? [];
    const inTheWindow = admitted.filter((atMs) => nowMs - atMs < WINDOW_MS).length;
    if (inTheWindow >= this.#limit) throw new Error(`${inTheWindow + 1} of ${this.#limit} in one window`);
    admitted.push(nowMs);
  }
}

it("in any schedule no limit is exceeded and nothing is let in after effectiveBy", async () => {
  const limit = fc.constantFrom(1, 3, 20, 200);
  await fc.assert(
    fc.asyncProperty(
      limit,
      fc.boolean(),
      fc.array(step, { minLength: 1, maxLength: 40 }),
      async (apiPerMinute, isBusy, steps) => {
        const world = await acme({}, apiPerMinute, KEYS);
        if (isBusy) await makeBusy(world);
        const schedule = new Schedule(world, apiPerMinute);
        for (const each of steps) await schedule.play(each);
        vi.useRealTimers();
      },
    ),
    { numRuns: Number(process.env["RUNS"] ?? 60) },
  );
}, 300_000);
