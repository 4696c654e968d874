/**
 * The platform's rate-limiting binding for bare workerd, which has none. Fixed windows aligned to the clock,
 * counted in memory: exact here and forgotten at a restart, where the platform's own counts per location and
 * approximately. Nothing may rely on more than a shield.
 */
import { WorkerEntrypoint } from "cloudflare:workers";

/** As in wrangler.toml, handed over as the binding's props. */
interface Settings {
  readonly namespaceId: string;
  readonly limit: number;
  /** Seconds. */
  readonly period: number;
}

interface Window {
  readonly number: number;
  readonly counts: Map<string, number>;
}

/** Keys come from strangers: past this many in one window the limiter forgets it rather than grow. */
const MAX_KEYS = 100_000;
const windows = new Map<string, Window>();

export default class RateLimiter extends WorkerEntrypoint<unknown, Settings> {
  limit({ key }: { key: string }): { success: boolean } {
    const { namespaceId, limit, period } = this.ctx.props;
    const { counts } = windowAt(namespaceId, Math.floor(Date.now() / (period * 1000)));
    const count = counts.get(key) ?? 0;
    if (count >= limit) return { success: false };
    if (counts.size >= MAX_KEYS) counts.clear();
    counts.set(key, count + 1);
    return { success: true };
  }
}

function windowAt(namespaceId: string, number: number): Window {
  const current = windows.get(namespaceId);
  if (current?.number === number) return current;
  const next = { number, counts: new Map<string, number>() };
  windows.set(namespaceId, next);
  return next;
}
