/**
 * The gateway's own code in every isolate and every authority, under one virtual time; the network, KV, the origin and the
 * clients are models. Each design sees the same requests; oracles watch what is admitted.
 */

import type { Result } from "../src/denial.ts";
import { entitle } from "../src/entitlement/entitle.ts";
import type { Env } from "../src/env.ts";
import { authenticate } from "../src/principal/authenticate.ts";
import type { Principal } from "../src/principal/principal.ts";
import { decideRate } from "../src/quota/decide-rate.ts";
import type { PolicyName } from "../src/quota/policy.ts";
import type { DecidedBy } from "../src/telemetry/event.ts";
import { Authorities } from "./authorities.ts";
import type { Geography } from "./geography.ts";
import { type Isolate, Isolates } from "./isolates.ts";
import { KvModel } from "./kv.ts";
import { EveryRequest, KvOnly, type Naive } from "./naive.ts";
import { Network } from "./network.ts";
import { ExactWindow, LimitOracle, RevocationOracle } from "./oracles.ts";
import { OriginModel } from "./origin.ts";
import type { Key, Tenant } from "./population.ts";
import { Random } from "./random.ts";
import { newTallies, type Tallies, Tally, Usage, type Way } from "./tally.ts";
import type { VirtualTime } from "./virtual-time.ts";

const API_WINDOW_MS = 60_000;
const POSTS_WINDOW_MS = 3_600_000;
const SETTLE_WITHIN_MS = 30_000;
const HOST = "api.example.com";
/** Of the platform's limiter, a minute. */
const FLOOD_LIMIT = 30;

export interface Setting {
  readonly seed: string;
  readonly geography: Geography;
  readonly strata: number;
  readonly tenants: readonly Tenant[];
  readonly onRequest?: () => void;
}

interface Sent {
  readonly key: Key;
  readonly isolate: Isolate;
  readonly policy: PolicyName;
  readonly sentAtMs: number;
  readonly nonce: string;
  readonly tally: Tally;
  decidedBy: DecidedBy;
}

export class World {
  readonly time: VirtualTime;
  readonly network: Network;
  readonly authorities: Authorities;
  readonly isolates: Isolates;
  readonly origin: OriginModel;
  readonly setting: Setting;
  readonly revocations: Readonly<Record<"leases" | "KV only", RevocationOracle>> = {
    leases: new RevocationOracle(),
    "KV only": new RevocationOracle(),
  };
  /** Credentials that nobody made. */
  strangers = new Tally();
  /** How often the origin was asked about a token. */
  probes = new Map<Key, number>();
  /** What reading the host's name takes, which belongs to no tenant. */
  readonly hosts = new Usage();
  comparesDesigns = false;
  tallies: Tallies;
  readonly #keys = new Map<string, Key>();
  readonly #limits: Readonly<Record<"leases" | "KV only", Map<Key, LimitOracle>>> = {
    leases: new Map(),
    "KV only": new Map(),
  };
  readonly #posts = new Map<Tenant, ExactWindow>();
  readonly #naive: Readonly<Record<"every request" | "KV only", Naive>>;
  readonly #traffic: Random;
  readonly #kv: Readonly<Record<"credentials" | "introspection", KvModel>>;
  /** By location, then by client network. */
  readonly #floods: Map<string, { minute: number; count: number }>[] = [];
  #nonce = 0;
  #isOver = false;

  constructor(time: VirtualTime, setting: Setting) {
    const { seed, geography, tenants, strata } = setting;
    this.time = time;
    this.setting = setting;
    this.tallies = newTallies(strata);
    this.#traffic = new Random(`${seed} traffic`);
    this.network = new Network(time, geography, new Random(`${seed} network`));
    for (const tenant of tenants) for (const key of tenant.keys) this.#keys.set(key.digest, key);
    const usageOf = (name: string) => this.#usageOf(name);
    this.#kv = {
      credentials: new KvModel(this.network, usageOf),
      introspection: new KvModel(this.network, usageOf),
    };
    const known = new Set([...this.#keys.values()].map(({ credential }) => credential.secret));
    const bySecret = new Map([...this.#keys.values()].map((key) => [key.credential.secret, key]));
    const probed = (secret: string) => {
      const key = bySecret.get(secret);
      if (key === undefined) this.strangers.probes++;
      else this.probes.set(key, (this.probes.get(key) ?? 0) + 1);
    };
    this.origin = new OriginModel(this.network, new Random(`${seed} origin`), 0, known, probed);
    const envOf = (location: number, before: boolean) => this.#envOf(location, before);
    this.authorities = new Authorities(this.network, (location) => envOf(location, false));
    for (const tenant of tenants) {
      const home = tenant.homes[0]?.[0] ?? 0;
      this.authorities.found(tenant.tag, home, () => this.#tallyOf("leases", tenant.keys[0]).usage);
    }
    this.isolates = new Isolates(time, geography, new Random(`${seed} isolates`), envOf);
    const keyOf = (digest: string) => this.#keys.get(digest) as Key;
    this.#naive = {
      "every request": new EveryRequest(this.network, (key) => this.#tallyOf("every request", key), keyOf),
      "KV only": new KvOnly(this.network, (key) => this.#tallyOf("KV only", key), keyOf),
    };
  }

  /** Puts the tenants in, and waits until KV knows their credentials. */
  async prepare(): Promise<void> {
    for (const { id, tag, keys, postsPerHour, isToken } of this.setting.tenants) {
      const lines = keys.map(({ digest, keyId, limit }) => {
        const type = isToken ? ("token" as const) : ("api_key" as const);
        return { type, tenantId: id, digest, keyId, name: "", expiresAtMs: null, apiPerMinute: limit };
      });
      const tenant = { type: "tenant", tenantId: id, name: "", postsPerHour } as const;
      void this.authorities.at(tag).import(id, [tenant, ...lines], "simulation");
      this.time.stir();
      await this.time.runUntil(this.time.nowMs + 1);
    }
    await this.time.runUntil(this.time.nowMs + 2_000);
  }

  begin(): void {
    for (const tenant of this.setting.tenants) this.#arrive(tenant);
  }

  end(): void {
    this.#isOver = true;
  }

  /** From now on counts anew. Returns what was counted so far. */
  turn(): Tallies {
    const tallies = this.tallies;
    this.tallies = newTallies(this.setting.strata);
    this.probes = new Map();
    return tallies;
  }

  /** Somebody tries a credential that nobody made. */
  strange(location: number, clientAddress: string, nth: number): void {
    const isolate = this.isolates.pick(location);
    const digits = String(nth).padStart(40, "0");
    const isToken = nth % 2 === 0;
    const kind = isToken ? "oauth_token" : "api_key";
    const credential = { kind, secret: isToken ? `pos_${digits}` : digits } as const;
    const conclude = ({ ok, ...rest }: Result<Principal>) => {
      this.strangers.requests++;
      if (ok) this.strangers.admitted++;
      else this.strangers.refuse((rest as { denial: { reason: string } }).denial.reason);
    };
    const result = authenticate(credential, this.#demand("api", `s${nth}`, clientAddress), isolate.deps);
    if (!(result instanceof Promise)) {
      conclude(result);
      return;
    }
    this.time.stir();
    void result.then(conclude);
  }

  /** An operator revokes a key, from far away. */
  revoke(key: Key): void {
    const { tenant, keyId, digest } = key;
    this.time.stir();
    const operator = this.setting.geography.somewhere(this.#traffic);
    void this.authorities
      .at(tenant.tag)
      .revokeKeyById(keyId, "simulation")
      .then((revoked) => {
        if (!revoked.ok) throw new Error(revoked.detail);
        const answeredAtMs = this.time.nowMs + this.network.wayMs(tenant.homes[0]?.[0] ?? 0, operator);
        const effectiveByMs = Date.parse(revoked.effectiveBy);
        const degradedUntilMs = Date.parse(revoked.degradedUntil ?? revoked.effectiveBy);
        this.revocations.leases.revoked(digest, { answeredAtMs, effectiveByMs, degradedUntilMs });
        const never = { effectiveByMs: answeredAtMs, degradedUntilMs: answeredAtMs };
        this.revocations["KV only"].revoked(digest, { answeredAtMs, ...never });
        for (const naive of Object.values(this.#naive)) naive.revoke(key);
      });
  }

  #arrive(tenant: Tenant): void {
    this.time.after(this.#traffic.exponential(1_000 / tenant.perSecond), () => {
      if (this.#isOver) return;
      this.#request(tenant);
      this.#arrive(tenant);
    });
  }

  #request(tenant: Tenant): void {
    const key = tenant.keys[this.#traffic.below(tenant.keys.length)];
    if (key === undefined) return;
    const policy = this.#traffic.next() < tenant.postsShare ? "posts" : "api";
    const isolate = this.isolates.pick(this.#whereabouts(tenant));
    this.setting.onRequest?.();
    const tally = this.#tallyOf("leases", key);
    tally.requests++;
    const sentAtMs = this.time.nowMs;
    const isLet = policy === "api" && this.#limitOf("leases", key).comes(sentAtMs);
    if (isLet) tally.limited[key.demand].ideal++;
    const sent: Sent = {
      key,
      isolate,
      policy,
      sentAtMs,
      nonce: `r${this.#nonce++}`,
      tally,
      decidedBy: "nobody",
    };
    const demand = this.#demand(policy, sent.nonce, "192.0.2.1");
    demand.onDecision = (by) => {
      sent.decidedBy = by;
    };
    if (this.comparesDesigns && policy === "api") this.#compare(key, isolate, isLet);
    const result = authenticate(key.credential, demand, isolate.deps);
    if (!(result instanceof Promise)) {
      this.#conclude(sent, result);
      return;
    }
    isolate.seen.add(key.digest);
    this.time.stir();
    void result.then((concluded) => this.#conclude(sent, concluded));
  }

  #conclude(
    { key, isolate, policy, sentAtMs, nonce, tally, decidedBy }: Sent,
    result: Result<Principal>,
  ): void {
    const { deps } = isolate;
    const { nowMs } = this.time;
    const grant = result.ok ? result.value.grant : null;
    const degraded = result.ok && result.value.degraded;
    const way: Way = degraded || grant?.stale === true ? "stale" : decidedBy === "lease" ? "warm" : "cold";
    tally.latency[way].add(nowMs - sentAtMs);
    const entitled = result.ok ? entitle(result.value, "read", deps.config, deps.nowMs()) : result;
    const decided = entitled.ok ? decideRate(entitled.value) : entitled;
    if (!decided.ok) {
      tally.refuse(decided.denial.reason);
      return;
    }
    tally.admitted++;
    this.revocations.leases.admitted(key.digest, nowMs, degraded);
    if (policy === "posts") {
      this.#post(key.tenant, isolate, nonce, tally);
      return;
    }
    tally.limited[key.demand].admitted++;
    const found = this.#limitOf("leases", key).admitted(nowMs, degraded);
    if (found === "over") tally.over++;
    if (found === "over degraded") tally.overDegraded++;
  }

  /** The origin reads it on its way, and its answer is settled. */
  #post(tenant: Tenant, { deps, location }: Isolate, nonce: string, tally: Tally): void {
    let window = this.#posts.get(tenant);
    if (window === undefined) {
      window = new ExactWindow(POSTS_WINDOW_MS);
      this.#posts.set(tenant, window);
    }
    if (window.countAt(this.time.nowMs) >= tenant.postsPerHour) tally.over++;
    window.add(this.time.nowMs);
    this.time.after(this.origin.answerMs(location), () => {
      this.time.stir();
      void deps.authority.settle(tenant.tag, { nonce });
    });
  }

  #compare(key: Key, isolate: Isolate, isLet: boolean): void {
    const { nowMs } = this.time;
    for (const design of ["every request", "KV only"] as const) {
      const tally = this.#tallyOf(design, key);
      tally.requests++;
      if (isLet) tally.limited[key.demand].ideal++;
      if (!this.#naive[design].request(key, isolate)) continue;
      tally.admitted++;
      tally.limited[key.demand].admitted++;
      if (design === "every request") continue;
      this.revocations[design].admitted(key.digest, nowMs, false);
      if (this.#limitOf(design, key).admitted(nowMs) === "over") tally.over++;
    }
  }

  #demand(policy: PolicyName, nonce: string, clientAddress: string) {
    return {
      policy,
      nonce,
      settleWithinMs: SETTLE_WITHIN_MS,
      scope: "read" as const,
      host: HOST,
      country: "",
      clientAddress,
      waitUntil: (work: Promise<unknown>) => {
        this.time.stir();
        work.catch(() => {});
      },
      onDecision: (_: DecidedBy) => {},
      onShadow: () => {},
    };
  }

  #whereabouts({ homes }: Tenant): number {
    let at = this.#traffic.next();
    for (const [location, share] of homes) {
      if (at < share) return location;
      at -= share;
    }
    return this.setting.geography.somewhere(this.#traffic);
  }

  #limitOf(design: "leases" | "KV only", key: Key): LimitOracle {
    let oracle = this.#limits[design].get(key);
    if (oracle === undefined) {
      oracle = new LimitOracle(key.limit, API_WINDOW_MS);
      this.#limits[design].set(key, oracle);
    }
    return oracle;
  }

  #tallyOf(design: keyof Tallies, key: Key | undefined): Tally {
    return this.tallies[design][key?.tenant.stratum ?? 0] ?? this.strangers;
  }

  /** `name`: of what is in KV. */
  #usageOf(name: string): Usage {
    if (name.startsWith("host:")) return this.hosts;
    const key = this.#keys.get(name);
    return key === undefined ? this.strangers.usage : this.#tallyOf("leases", key).usage;
  }

  #envOf(location: number, before: boolean): Env {
    const counts = this.#floods[location] ?? new Map<string, { minute: number; count: number }>();
    this.#floods[location] = counts;
    const limit = async ({ key }: { key: string }) => {
      const minute = Math.floor(this.time.nowMs / 60_000);
      const known = counts.get(key);
      const count = known?.minute === minute ? known.count + 1 : 1;
      counts.set(key, { minute, count });
      return { success: count <= FLOOD_LIMIT };
    };
    return {
      CREDENTIALS: this.#kv.credentials.at(location),
      INTROSPECTION: this.#kv.introspection.at(location),
      TENANT_AUTHORITY: this.authorities.from(location, before),
      // Never asked by a request.
      DIRECTORY: {
        getByName: () => ({
          claim: async (_: string, tenantId: string) => tenantId,
          confirm: async () => true,
          pass: async () => {},
          tell: async () => {},
        }),
      },
      ORIGIN: this.origin.from(location),
      FLOOD: { limit },
      ORIGIN_URL: "https://postiz.example.com/api",
    } as unknown as Env;
  }
}
