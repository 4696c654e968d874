/** What an isolate makes of its environment, once: a valid configuration with all that hangs on it, or a problem. */
import { readConfig, VARIABLES } from "./config.ts";
import type { ConfigProblem } from "./config-values.ts";
import type { Denial } from "./denial.ts";
import { compose, type Deps } from "./deps.ts";
import type { Env } from "./env.ts";
import type { Target } from "./route/canonical.ts";
import { type EventSink, eventSink } from "./telemetry/sink.ts";

export interface Isolate {
  readonly events: EventSink;
  readonly state:
    | { readonly ok: true; readonly deps: Deps }
    | { readonly ok: false; readonly problem: ConfigProblem };
}

const isolates = new WeakMap<Env, Isolate>();

export function isolateOf(env: Env): Isolate {
  let isolate = isolates.get(env);
  if (isolate === undefined) {
    isolate = assemble(env);
    isolates.set(env, isolate);
  }
  return isolate;
}

function assemble(env: Env): Isolate {
  const result = readConfig(env);
  if (!result.ok) {
    console.error(JSON.stringify({ event: "config_invalid", ...result.problem }));
    return { events: eventSink(env, false), state: result };
  }
  const { config, unknown } = result;
  if (unknown.length > 0) {
    console.warn(JSON.stringify({ event: "config_unknown", variables: unknown, allowed: VARIABLES }));
  }
  return {
    events: eventSink(env, config.logEveryRequest),
    state: { ok: true, deps: compose(env, config) },
  };
}

/**
 * What the gateway may work with for a request to `target`; or why it is none: a variable that can't be used (which
 * is said to anyone, so without its value), or an origin that is the gateway itself.
 */
export function depsFor({ state }: Isolate, target: Target): Deps | Denial {
  if (!state.ok) {
    const { variable } = state.problem;
    const detail = `${variable} can't be used; the gateway's log says what was found and what is allowed`;
    return { reason: "config_invalid", detail };
  }
  if (!state.deps.isOwnHost(target)) return state.deps;
  return { reason: "config_invalid", detail: "ORIGIN_URL is the gateway itself" };
}
