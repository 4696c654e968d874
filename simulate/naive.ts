/**
 * Two designs to compare with, as models: the same requests, the same network and the same KV. `every request` reads KV and asks
 * the tenant's object each time, and so is exact. `KV only` knows a key by KV, as each location has cached it, and counts in the
 * isolate's memory.
 */
import { CALL_MS, QUEUE_MS } from "./authorities.ts";
import type { Isolate } from "./isolates.ts";
import { KvModel } from "./kv.ts";
import type { Network } from "./network.ts";
import { ExactWindow } from "./oracles.ts";
import type { Key } from "./population.ts";
import type { Tally } from "./tally.ts";

const WINDOW_MS = 60_000;
const TIMEOUT_MS = 1_000;
/** Of a counter's row and its index. */
const ROWS = 2;
const REVOKED = "revoked";

export interface Naive {
  /** Whether the request is admitted. */
  request(key: Key, isolate: Isolate): boolean;
  revoke(key: Key): void;
}

export class EveryRequest implements Naive {
  readonly #network: Network;
  readonly #tallyOf: (key: Key) => Tally;
  readonly #kv: KvModel;
  readonly #windows = new Map<Key, ExactWindow>();
  readonly #revoked = new Set<Key>();
  readonly #busyUntilMs = new Map<string, number>();

  constructor(network: Network, tallyOf: (key: Key) => Tally, keyOf: (digest: string) => Key) {
    this.#network = network;
    this.#tallyOf = tallyOf;
    this.#kv = new KvModel(network, (digest) => tallyOf(keyOf(digest)).usage);
  }

  request(key: Key, { location }: Isolate): boolean {
    const tally = this.#tallyOf(key);
    const { nowMs } = this.#network.time;
    const home = key.tenant.homes[0]?.[0] ?? location;
    const read = this.#kv.read(location, key.digest);
    const { tag } = key.tenant;
    const waitMs = Math.max(0, (this.#busyUntilMs.get(tag) ?? 0) - nowMs);
    tally.usage.authorityCalls++;
    if (this.#network.isLost(location, home) || read.ms === Number.POSITIVE_INFINITY || waitMs > QUEUE_MS) {
      tally.latency.cold.add(TIMEOUT_MS);
      tally.refuse("authority_unavailable");
      return false;
    }
    this.#busyUntilMs.set(tag, nowMs + waitMs + CALL_MS);
    tally.usage.activeMs += CALL_MS;
    const ways = this.#network.wayMs(location, home) + this.#network.wayMs(home, location);
    tally.latency.cold.add(read.ms + ways + waitMs + CALL_MS);
    return this.#decide(key, tally, nowMs);
  }

  revoke(key: Key): void {
    this.#revoked.add(key);
  }

  #decide(key: Key, tally: Tally, nowMs: number): boolean {
    if (this.#revoked.has(key)) return false;
    let window = this.#windows.get(key);
    if (window === undefined) {
      window = new ExactWindow(WINDOW_MS);
      this.#windows.set(key, window);
    }
    if (window.countAt(nowMs) >= key.limit) {
      tally.refuse("rate_limited");
      return false;
    }
    window.add(nowMs);
    tally.usage.rowsWritten += ROWS;
    return true;
  }
}

interface Count {
  minute: number;
  count: number;
}

export class KvOnly implements Naive {
  readonly #network: Network;
  readonly #tallyOf: (key: Key) => Tally;
  readonly #kv: KvModel;
  readonly #counts = new WeakMap<Isolate, Map<Key, Count>>();

  constructor(network: Network, tallyOf: (key: Key) => Tally, keyOf: (digest: string) => Key) {
    this.#network = network;
    this.#tallyOf = tallyOf;
    this.#kv = new KvModel(network, (digest) => tallyOf(keyOf(digest)).usage);
  }

  request(key: Key, isolate: Isolate): boolean {
    const tally = this.#tallyOf(key);
    const { value, ms } = this.#kv.read(isolate.location, key.digest);
    if (ms === Number.POSITIVE_INFINITY) {
      tally.latency.cold.add(TIMEOUT_MS);
      tally.refuse("credentials_unavailable");
      return false;
    }
    tally.latency[ms > 1 ? "cold" : "warm"].add(ms);
    if (value === REVOKED) return false;
    const count = this.#countOf(key, isolate);
    if (count.count >= key.limit) {
      tally.refuse("rate_limited");
      return false;
    }
    count.count++;
    return true;
  }

  revoke(key: Key): void {
    void this.#kv.put(key.digest, REVOKED);
  }

  #countOf(key: Key, isolate: Isolate): Count {
    let counts = this.#counts.get(isolate);
    if (counts === undefined) {
      counts = new Map();
      this.#counts.set(isolate, counts);
    }
    const minute = Math.floor(this.#network.time.nowMs / WINDOW_MS);
    const known = counts.get(key);
    if (known !== undefined && known.minute === minute) return known;
    const fresh = { minute, count: 0 };
    counts.set(key, fresh);
    return fresh;
  }
}
