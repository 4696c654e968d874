/**
 * Many isolates and the stores between them, in Node and in one thread of time: the gateway's own code, composed as in
 * production, over authorities with a real SQLite, a KV that may lag behind, and an origin that does as it is told.
 */
import { vi } from "vitest";
import { DIRECTORY_MIGRATIONS, Directory } from "../../src/authority/directory.ts";
import { tagOf } from "../../src/authority/tag.ts";
import { TenantAuthority } from "../../src/authority/tenant-authority.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { SteadyClock } from "../../src/clock.ts";
import { readConfig } from "../../src/config.ts";
import type { Credential } from "../../src/credential/credential.ts";
import type { DenialReason, Result } from "../../src/denial.ts";
import { compose, type Deps } from "../../src/deps.ts";
import type { Env, RateLimiter } from "../../src/env.ts";
import { authenticate } from "../../src/principal/authenticate.ts";
import type { Principal } from "../../src/principal/principal.ts";
import type { PolicyName } from "../../src/quota/policy.ts";
import type { DecidedBy } from "../../src/telemetry/event.ts";
import { muteConsole } from "./mute-console.ts";
import { recordSecret, recordStore } from "./record.ts";
import { memoryStorage } from "./sqlite.ts";

/** Latest instant of any world: time only ever goes forward, from one test to the next, and ahead of the real one. */
let latestMs = Date.now() + 86_400_000;

export type Origin = (authorization: string, url: string) => Response | Promise<Response>;

export const says = {
  yes: () => Response.json({ connected: true }),
  noToken: () => Response.json({ msg: "Invalid OAuth token" }, { status: 401 }),
  noKey: () => Response.json({ msg: "Invalid API key" }, { status: 401 }),
  noSubscription: () => Response.json({ msg: "No subscription found" }, { status: 401 }),
  emptyRefusal: () => new Response(null, { status: 401 }),
  nothing: () => new Promise<never>(() => {}),
} as const satisfies Record<string, Origin>;

/** A KV in memory. `lagging`: what was written cannot be read. */
class FakeKv {
  readonly stored = new Map<string, string>();
  /** Of credentials, and of host names. */
  reads = 0;
  hostReads = 0;
  writes = 0;
  lagging = false;
  fails = false;

  async get(key: string): Promise<string | null> {
    if (key.startsWith("host:")) this.hostReads++;
    else this.reads++;
    if (this.fails) throw new Error("KV is down");
    return this.lagging ? null : (this.stored.get(key) ?? null);
  }

  async put(key: string, value: string): Promise<void> {
    this.writes++;
    this.stored.set(key, value);
  }
}

/** Of an object in Node. */
export function contextOf(storage: DurableObjectStorage): DurableObjectState {
  const context = { storage, blockConcurrencyWhile: (work: () => Promise<void>) => work() };
  return context as unknown as DurableObjectState;
}

export interface Asked {
  readonly result: Result<Principal>;
  readonly decidedBy: DecidedBy;
  /** What policies in shadow would have refused it for. */
  readonly shadows: readonly DenialReason[];
}

export class World {
  readonly credentials = new FakeKv();
  readonly introspection = new FakeKv();
  origin: Origin = says.yes;
  /** Calls to the origin, and to any authority. */
  originCalls = 0;
  authorityCalls = 0;
  /** Calls to any binding, in their order: what a request has awaited. */
  readonly steps: string[] = [];
  /** How long (ms) a call to an authority takes. */
  authorityMs = 0;
  testifyFails = false;
  /** What else happens before a call reaches its object, and before its answer is heard. */
  before: (method: string, tag: string) => Promise<void> | void = () => {};
  after: (method: string, tag: string) => Promise<void> | void = () => {};
  /** Whose answers are not what was answered. */
  garbles: (method: string) => boolean = () => false;
  readonly #vars: Readonly<Record<string, string>>;
  readonly #limiter: RateLimiter | undefined;
  readonly #authorities = new Map<
    string,
    { object: TenantAuthority; storage: ReturnType<typeof memoryStorage> }
  >();
  readonly #directoryStorage = memoryStorage(DIRECTORY_MIGRATIONS);
  readonly #directory: Directory;
  #nonce = 0;

  constructor(vars: Readonly<Record<string, string>> = {}, limiter?: RateLimiter) {
    this.#vars = vars;
    this.#limiter = limiter;
    latestMs += 1;
    vi.useFakeTimers({ now: latestMs, toFake: ["setTimeout", "clearTimeout", "Date"] });
    // The caches' clock.
    vi.spyOn(performance, "now").mockImplementation(() => Date.now());
    muteConsole("error");
    this.#directory = new Directory(contextOf(this.#directoryStorage), this.#env());
    recordStore(() => JSON.stringify([...this.credentials.stored, ...this.introspection.stored]));
  }

  /** What an isolate has to work with; `vars`: over the world's, as during a rollout. */
  env(vars: Readonly<Record<string, string>> = {}): Env {
    return { ...this.#env(), ...vars };
  }

  isolate(vars: Readonly<Record<string, string>> = {}, clock = new SteadyClock(() => Date.now())): Deps {
    const env = this.env(vars);
    const config = readConfig(env);
    if (!config.ok) throw new Error(JSON.stringify(config.problem));
    return compose(env, config.config, clock);
  }

  authority(tenantId: string): TenantAuthority {
    return this.#object(tagOf(tenantIdOf(tenantId))).object;
  }

  /** The object leaves memory; what it has stored stays. */
  evict(tenantId: string): void {
    this.evictNamed(tagOf(tenantIdOf(tenantId)));
  }

  /** `name`: as its binding knows it. */
  named(name: string): TenantAuthority {
    return this.#object(name).object;
  }

  evictNamed(name: string): void {
    const entry = this.#authorities.get(name);
    if (entry !== undefined) entry.object = this.#awake(entry.storage);
  }

  ownerOf(digest: string): string | null {
    return this.#directory.ownerOf(digest);
  }

  /** One request's way to its principal. */
  async ask(
    isolate: Deps,
    credential: Credential,
    {
      clientAddress = "192.0.2.1",
      policy = "api",
      host = "api.example.com",
    }: { clientAddress?: string; policy?: PolicyName; host?: string } = {},
  ): Promise<Asked> {
    let decidedBy: DecidedBy = "nobody";
    const shadows: DenialReason[] = [];
    const result = await authenticate(
      credential,
      {
        policy,
        nonce: `nonce-${this.#nonce++}`,
        settleWithinMs: 30_000,
        scope: "read",
        host,
        country: "",
        clientAddress,
        // Whatever a request leaves running runs on here by itself.
        waitUntil: () => {},
        onDecision: (by) => {
          decidedBy = by;
        },
        onShadow: (reason) => shadows.push(reason),
      },
      isolate,
    );
    if (result.ok) {
      const secrets = [credential.secret, result.value.originKey ?? ""];
      // What is shorter is a word that may stand anywhere.
      for (const secret of secrets) if (secret.length >= 32) recordSecret(secret);
    }
    return { result, decidedBy, shadows };
  }

  /** Lets time pass, with everything in it that is due: timers and alarms. */
  async pass(ms: number): Promise<void> {
    await vi.advanceTimersByTimeAsync(ms);
    latestMs = Date.now();
    const objects = [
      ...this.#authorities.values(),
      { object: this.#directory, storage: this.#directoryStorage },
    ];
    for (const { object, storage } of objects) {
      for (let rung = 0; rung < 10 && storage.alarmAtMs !== null && storage.alarmAtMs <= Date.now(); rung++) {
        storage.clearAlarm();
        // One that waits for time to pass goes on while it does.
        await Promise.race([object.alarm(), vi.advanceTimersByTimeAsync(0)]);
      }
    }
  }

  #env(): Env {
    return {
      CREDENTIALS: this.#watched("CREDENTIALS", this.credentials),
      INTROSPECTION: this.#watched("INTROSPECTION", this.introspection),
      TENANT_AUTHORITY: { getByName: (tag: string) => this.#stub(tag) },
      DIRECTORY: { getByName: () => this.#directoryStub() },
      ORIGIN: {
        fetch: async (url: string, init: { headers: Headers }) => {
          this.originCalls++;
          return this.origin(init.headers.get("Authorization") ?? "", url);
        },
      },
      ...(this.#limiter && { FLOOD: this.#limiter }),
      ORIGIN_URL: "https://postiz.example.com/api",
      ...this.#vars,
    } as unknown as Env;
  }

  #object(tag: string) {
    let entry = this.#authorities.get(tag);
    if (entry === undefined) {
      const storage = memoryStorage();
      entry = { object: this.#awake(storage), storage };
      this.#authorities.set(tag, entry);
    }
    return entry;
  }

  #directoryStub(): object {
    const get =
      (_: object, name: string | symbol) =>
      async (...args: unknown[]) => {
        this.steps.push(`DIRECTORY.${String(name)}`);
        await this.before(`directory.${String(name)}`, "");
        const method = Reflect.get(this.#directory, name) as (...args: unknown[]) => unknown;
        const answer = await method.apply(this.#directory, args);
        await this.after(`directory.${String(name)}`, "");
        return answer;
      };
    return new Proxy({}, { get });
  }

  #watched<Binding extends object>(binding: string, target: Binding): Binding {
    return new Proxy(target, {
      get: (_, name) => {
        const method = Reflect.get(target, name) as unknown;
        if (typeof method !== "function") return method;
        return (...args: unknown[]) => {
          this.steps.push(`${binding}.${String(name)}`);
          return Reflect.apply(method, target, args) as unknown;
        };
      },
    });
  }

  #awake(storage: ReturnType<typeof memoryStorage>): TenantAuthority {
    return new TenantAuthority(contextOf(storage), this.#env());
  }

  /**
   * Values are copied on their way, as they are between an isolate and an object. Calls reach an object as it is when they
   * arrive, and their answers those who wait: `before` and `after` let others in between.
   */
  #stub(tag: string) {
    const call = async (name: string, args: unknown[]): Promise<unknown> => {
      this.authorityCalls++;
      this.steps.push(`TENANT_AUTHORITY.${name}`);
      if (name === "testify" && this.testifyFails) throw new Error("the object was reset");
      if (this.authorityMs > 0) await new Promise((resolve) => setTimeout(resolve, this.authorityMs));
      await this.before(name, tag);
      const { object } = this.#object(tag);
      const method = Reflect.get(object, name) as (...args: unknown[]) => unknown;
      const answer = structuredClone(await method.apply(object, structuredClone(args)));
      await this.after(name, tag);
      return this.garbles(name) ? { v: 99 } : answer;
    };
    return new Proxy(
      {},
      { get: (_, name) => (name === "then" ? undefined : (...args: unknown[]) => call(String(name), args)) },
    );
  }
}
