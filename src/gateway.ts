/** What an isolate makes of its environment, once: a valid configuration with all that hangs on it, or a problem. */
import { type ConfigProblem, readConfig } from "./config.ts";
import { compose, type Deps } from "./deps.ts";
import type { Env } from "./env.ts";
import { type EventSink, eventSink } from "./telemetry/sink.ts";

export interface Gateway {
  readonly record: EventSink;
  readonly state:
    | { readonly ok: true; readonly deps: Deps }
    | { readonly ok: false; readonly problem: ConfigProblem };
}

const gateways = new WeakMap<Env, Gateway>();

export function gatewayOf(env: Env): Gateway {
  let gateway = gateways.get(env);
  if (gateway === undefined) {
    gateway = assemble(env);
    gateways.set(env, gateway);
  }
  return gateway;
}

function assemble(env: Env): Gateway {
  const result = readConfig(env);
  if (!result.ok) {
    console.error(JSON.stringify({ event: "config_invalid", ...result.problem }));
    return { record: eventSink(env.EVENTS, false), state: result };
  }
  const { config } = result;
  return {
    record: eventSink(env.EVENTS, config.logEveryRequest),
    state: { ok: true, deps: compose(env, config) },
  };
}

/** For anyone to read, so without the value. */
export const problemText = ({ variable }: ConfigProblem): string =>
  `${variable} can't be used; the gateway's log says what was found and what is allowed`;
