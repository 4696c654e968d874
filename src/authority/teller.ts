/** Tells the operators' directory what was done to a tenant, in order, until it has acknowledged it. */
import type { Env } from "../env.ts";
import { within } from "../timeout.ts";
import type { Audit } from "./audit.ts";
import { operatorsOf } from "./find-directory.ts";
import type { Registry } from "./registry.ts";

const AT_ONCE = 100;
const TIMEOUT_MS = 2_000;
const BACKOFF_MIN_MS = 1_000;
const BACKOFF_MAX_MS = 300_000;

export class Teller {
  readonly #env: Pick<Env, "DIRECTORY">;
  readonly #registry: Registry;
  readonly #audit: Audit;
  readonly #nowMs: () => number;
  #dueAtMs: number | null;
  #failures = 0;

  constructor(env: Pick<Env, "DIRECTORY">, registry: Registry, audit: Audit, nowMs: () => number) {
    this.#env = env;
    this.#registry = registry;
    this.#audit = audit;
    this.#nowMs = nowMs;
    this.#dueAtMs = audit.untold(1).length > 0 ? nowMs() : null;
  }

  /** When (ms) there is something to tell again; null where there is nothing. */
  dueAtMs(): number | null {
    return this.#dueAtMs;
  }

  /** There is something to tell, when the alarm comes. */
  wake(): void {
    this.#dueAtMs ??= this.#nowMs();
  }

  /** Never throws: what is not told now is told later. */
  async tell(): Promise<void> {
    const tenant = this.#registry.tenant();
    const entries = this.#audit.untold(AT_ONCE);
    const last = entries.at(-1);
    if (tenant === null || last === undefined) return;
    const { id, name, status, version } = tenant;
    try {
      await within(TIMEOUT_MS, operatorsOf(this.#env).tell({ id, name, status, version }, entries));
      this.#audit.told(last.id);
      this.#failures = 0;
      this.#dueAtMs = this.#audit.untold(1).length > 0 ? this.#nowMs() : null;
    } catch (error) {
      const delayMs = Math.min(BACKOFF_MIN_MS * 2 ** this.#failures++, BACKOFF_MAX_MS);
      this.#dueAtMs = this.#nowMs() + delayMs;
      console.error(
        JSON.stringify({ event: "tell_failed", tenant: id, retryMs: delayMs, error: String(error) }),
      );
    }
  }
}
