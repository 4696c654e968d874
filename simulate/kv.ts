/**
 * A model of Workers KV: a few central stores, which agree at once, and in each location what was read there, found or not,
 * for a minute. So what is written is seen elsewhere up to a minute later.
 */
import type { Network } from "./network.ts";
import type { Usage } from "./tally.ts";

const CACHED_MS = 60_000;
const CACHE_HIT_MS = 1;
/** Of a central store, beside the way. */
const STORE_MS = 8;
const STORES = 6;

interface Cached {
  readonly value: string | null;
  readonly untilMs: number;
}

export class KvModel {
  readonly #network: Network;
  readonly #usageOf: (key: string) => Usage;
  readonly #stored = new Map<string, string>();
  readonly #cached = new Map<number, Map<string, Cached>>();
  /** In the largest locations. */
  readonly #stores: readonly number[];

  constructor(network: Network, usageOf: (key: string) => Usage) {
    this.#network = network;
    this.#usageOf = usageOf;
    this.#stores = network.geography.locations.slice(0, STORES).map(({ index }) => index);
  }

  /** As a Worker in that location sees it. */
  at(location: number): KVNamespace {
    const namespace = {
      get: (key: string) => this.#get(location, key),
      put: (key: string, value: string) => this.put(key, value),
    };
    return namespace as unknown as KVNamespace;
  }

  async put(key: string, value: string): Promise<void> {
    this.#usageOf(key).kvWrites++;
    this.#stored.set(key, value);
  }

  /** Reads at once; `ms`: how long it takes, infinite where no store can be reached. */
  read(location: number, key: string): { readonly value: string | null; readonly ms: number } {
    this.#usageOf(key).kvReads++;
    const { nowMs } = this.#network.time;
    let cache = this.#cached.get(location);
    if (cache === undefined) {
      cache = new Map();
      this.#cached.set(location, cache);
    }
    const known = cache.get(key);
    if (known !== undefined && nowMs < known.untilMs) return { value: known.value, ms: CACHE_HIT_MS };
    const store = this.#nearest(location);
    if (this.#network.isLost(location, store)) return { value: null, ms: Number.POSITIVE_INFINITY };
    const value = this.#stored.get(key) ?? null;
    const ms = this.#network.wayMs(location, store) + this.#network.wayMs(store, location) + STORE_MS;
    cache.set(key, { value, untilMs: nowMs + CACHED_MS });
    return { value, ms };
  }

  /** What a flood has left behind in the locations' caches. */
  forget(isForgotten: (key: string) => boolean): void {
    for (const cache of this.#cached.values())
      for (const key of cache.keys()) if (isForgotten(key)) cache.delete(key);
  }

  async #get(location: number, key: string): Promise<string | null> {
    const { value, ms } = this.read(location, key);
    if (ms === Number.POSITIVE_INFINITY) return new Promise<never>(() => {});
    await this.#network.time.sleep(ms);
    return value;
  }

  #nearest(location: number): number {
    const { geography } = this.#network;
    let nearest = this.#stores[0] ?? 0;
    for (const store of this.#stores) {
      if (geography.oneWayMs(location, store) < geography.oneWayMs(location, nearest)) nearest = store;
    }
    return nearest;
  }
}
