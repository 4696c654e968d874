/**
 * Two designs to compare with, as models: the same requests, the same network and the same KV. `every request` reads KV and asks
 * the tenant's object each time, and so is exact. `KV only` knows a key by KV, as each location has cached it, and counts in the
 * isolate's memory.
 */
import { CALL_MS, CONFIRM_MS, IDLE_MS, QUEUE_MS, WAKE_MS } from "./authorities.ts";
import type { Isolate } from "./isolates.ts";
import { KvModel } from "./kv.ts";
import type { Network } from "./network.ts";
import { ExactWindow } from "./oracles.ts";
import type { Key } from "./population.ts";
import type { Tally } from "./tally.ts";

const WINDOW_MS = 60_000;
/** Whoever asks gives up then, as the gateway does. What they asked for is done all the same, as its object knows nothing of it. */
const TIMEOUT_MS = 1_000;
/** Of a counter's row and its index. */
const ROWS = 2;
const REVOKED = "revoked";

export interface Naive {
  /** Whether the request is admitted. */
  request(key: Key, isolate: Isolate): boolean;
  revoke(key: Key): void;
}

type Verdict = "admitted" | "rate_limited" | "key_revoked";

export class EveryRequest implements Naive {
  readonly #network: Network;
  readonly #tallyOf: (key: Key) => Tally;
  readonly #kv: KvModel;
  readonly #windows = new Map<Key, ExactWindow>();
  readonly #revoked = new Set<Key>();
  readonly #seats = new Map<string, { busyUntilMs: number; calledAtMs: number }>();

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
    tally.usage.authorityCalls++;
    const unavailable = (ms: number) => {
      tally.latency.cold.add(ms);
      tally.refuse("authority_unavailable");
      return false;
    };
    if (read.ms === Number.POSITIVE_INFINITY) return unavailable(TIMEOUT_MS);
    if (this.#network.isLost(location, home)) return unavailable(read.ms + TIMEOUT_MS);
    const ways = this.#network.wayMs(location, home) + this.#network.wayMs(home, location);
    const waitMs = this.#waitMs(key.tenant.tag, nowMs, tally);
    if (waitMs === null) return unavailable(read.ms + ways);
    const [verdict, confirmMs] = this.#decide(key, tally, nowMs);
    tally.usage.activeMs += CALL_MS + confirmMs;
    const askedMs = ways + waitMs + CALL_MS + confirmMs;
    if (askedMs > TIMEOUT_MS) return unavailable(read.ms + TIMEOUT_MS);
    tally.latency.cold.add(read.ms + askedMs);
    if (verdict === "rate_limited") tally.refuse(verdict);
    return verdict === "admitted";
  }

  revoke(key: Key): void {
    this.#revoked.add(key);
  }

  /** Until it is one's turn; null where too many wait already. */
  #waitMs(tag: string, nowMs: number, { usage }: Tally): number | null {
    const seat = this.#seats.get(tag) ?? { busyUntilMs: 0, calledAtMs: Number.NEGATIVE_INFINITY };
    this.#seats.set(tag, seat);
    if (nowMs - seat.calledAtMs > IDLE_MS) {
      seat.busyUntilMs = Math.max(seat.busyUntilMs, nowMs) + WAKE_MS;
      usage.activeMs += WAKE_MS;
    }
    seat.calledAtMs = nowMs;
    const waitMs = Math.max(0, seat.busyUntilMs - nowMs);
    if (waitMs > QUEUE_MS) return null;
    seat.busyUntilMs = nowMs + waitMs + CALL_MS;
    return waitMs;
  }

  /** And until what it has written is confirmed. */
  #decide(key: Key, tally: Tally, nowMs: number): [verdict: Verdict, confirmMs: number] {
    if (this.#revoked.has(key)) return ["key_revoked", 0];
    let window = this.#windows.get(key);
    if (window === undefined) {
      window = new ExactWindow(WINDOW_MS);
      this.#windows.set(key, window);
    }
    if (window.countAt(nowMs) >= key.limit) return ["rate_limited", 0];
    window.add(nowMs);
    tally.usage.rowsWritten += ROWS;
    return ["admitted", CONFIRM_MS];
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
