/**
 * Policy `flood`: keeps guessed credentials from becoming traffic at KV. Only a look-up that found nothing is
 * counted, by the platform's limiter, per client network; its "no" is remembered here, so that a flood costs
 * nothing further. The limiter is per location and approximate: a shield, not a counter.
 */
import ipaddr from "ipaddr.js";
import { LRUCache } from "lru-cache";
import { deny, pass, type Result } from "../denial.ts";
import type { RateLimiter } from "../env.ts";
import { within } from "../timeout.ts";

const LIMITER_TIMEOUT_MS = 500;
/** Shorter than the limiter's period of 60 s: the limiter is asked again while the flood lasts. */
const REMEMBER_MS = 10_000;

export class FloodShield {
  readonly #limiter: RateLimiter | undefined;
  /** Resolution 0: the cache must not wait for a timer, which dies with the request that set it. */
  readonly #refused = new LRUCache<string, true>({ max: 10_000, ttl: REMEMBER_MS, ttlResolution: 0 });

  constructor(limiter: RateLimiter | undefined) {
    this.#limiter = limiter;
  }

  /** Whether the client's network may ask about a credential that this isolate does not know. */
  check(clientAddress: string | null): Result<void> {
    if (this.#refused.size === 0 || !this.#refused.has(networkOf(clientAddress))) return pass(undefined);
    return refusal();
  }

  /** Counts a failed look-up. An unreachable limiter lets pass: the shield protects the stores, not the data. */
  async countFailure(clientAddress: string | null): Promise<Result<void>> {
    if (this.#limiter === undefined) return pass(undefined);
    const network = networkOf(clientAddress);
    try {
      const { success } = await within(LIMITER_TIMEOUT_MS, this.#limiter.limit({ key: network }));
      if (success) return pass(undefined);
    } catch (error) {
      console.error(JSON.stringify({ event: "flood_limiter_failed", error: String(error) }));
      return pass(undefined);
    }
    this.#refused.set(network, true);
    return refusal();
  }
}

function refusal(): Result<never> {
  const seconds = REMEMBER_MS / 1_000;
  return deny("flood", "Too many unknown credentials came from this network", { retryAfterSeconds: seconds });
}

/** The address itself for IPv4, its /64 for IPv6, where one subscriber holds at least that much. */
export function networkOf(clientAddress: string | null): string {
  if (clientAddress === null || !ipaddr.isValid(clientAddress)) return "unknown";
  const address = ipaddr.process(clientAddress);
  if (address.kind() === "ipv4") return address.toString();
  const prefix = address.toByteArray().slice(0, 8);
  return `${ipaddr.fromByteArray([...prefix, 0, 0, 0, 0, 0, 0, 0, 0]).toString()}/64`;
}
