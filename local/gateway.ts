/**
 * The gateway as services of one workerd: the deployable bundle, with what the platform would put behind its
 * bindings. Names, classes, limits and dates come from wrangler.toml alone.
 */

import { join } from "node:path";
import type { Unstable_Config as WranglerConfig } from "wrangler";
import { bundleGateway, bundleWorkers } from "./bundle.ts";
import type { Binding, Module, WorkerService } from "./capnp.ts";
import { ROOT } from "./project.ts";

/** What a Worker is made of, and when it was compatible. */
export interface Build {
  readonly wrangler: WranglerConfig;
  readonly gateway: readonly Module[];
  readonly workers: Readonly<Record<string, readonly Module[]>>;
}

const HELPERS = {
  kv: "local/kv.ts",
  rateLimiter: "local/rate-limiter.ts",
  events: "local/events.ts",
  hold: "local/hold.ts",
};
/** Below the folder of the storage: service and class. */
export const EVENT_LOG_FOLDER = "events-EventLog";

/** Everything that takes time and can fail: `extra` are further Workers to bundle, name → source. */
export async function buildAll(
  stateDir: string,
  extra: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<Build> {
  const [gateway, workers, wrangler] = await Promise.all([
    bundleGateway(stateDir, signal),
    bundleWorkers(stateDir, { ...HELPERS, ...extra }),
    readWranglerConfig(),
  ]);
  return { wrangler, gateway, workers };
}

async function readWranglerConfig(): Promise<WranglerConfig> {
  // Loading wrangler takes a second: meanwhile the gateway is being built.
  const { unstable_readConfig: readConfig } = await import("wrangler");
  return readConfig({ config: join(ROOT, "wrangler.toml") });
}

/** `vars` win over those in wrangler.toml. In place of Analytics Engine, events are kept in SQLite. */
export function gatewayServices(build: Build, vars: Readonly<Record<string, string>>): WorkerService[] {
  const { wrangler } = build;
  const durableObjects = wrangler.durable_objects.bindings;
  const platform: Binding[] = [
    ...wrangler.kv_namespaces.map(({ binding }) => kvBinding(binding)),
    ...durableObjects.map(({ name, class_name: className }) => durableObjectBinding(name, className)),
    ...wrangler.ratelimits.map(({ name, namespace_id: namespaceId, simple }): Binding => {
      return { name, value: { kind: "service", service: "rateLimiter", props: { namespaceId, ...simple } } };
    }),
    { name: "EVENT_STORE", value: { kind: "service", service: "events" } },
  ];
  const gateway: WorkerService = {
    name: "gateway",
    about: "The gateway, as wrangler would deploy it.",
    modules: build.gateway,
    compatibilityDate: wrangler.compatibility_date ?? "",
    compatibilityFlags: wrangler.compatibility_flags,
    bindings: [...platform, ...varBindings({ ...wrangler.vars, ...vars })],
    durableObjects: durableObjects.map(({ class_name: className }) => className),
  };
  return [gateway, ...helperServices(build)];
}

function helperServices(build: Build): WorkerService[] {
  const kv = workerService(build, "kv", "Workers KV: the binding's protocol over SQLite.");
  const store: Binding = {
    name: "STORE",
    value: { kind: "durableObjectNamespace", service: "kv", className: "KvStore" },
  };
  const events = workerService(build, "events", "Keeps the gateway's events.");
  const log: Binding = {
    name: "LOG",
    value: { kind: "durableObjectNamespace", service: "events", className: "EventLog" },
  };
  const hold = workerService(build, "hold", "Holds the process until the last events are kept.");
  const telemetry: Binding = {
    name: "TELEMETRY",
    value: { kind: "service", service: "gateway", entrypoint: "Telemetry" },
  };
  return [
    { ...kv, bindings: [store], durableObjects: ["KvStore"] },
    { ...events, bindings: [log], durableObjects: ["EventLog"] },
    workerService(build, "rateLimiter", "The platform's rate limiter, in memory."),
    { ...hold, bindings: [telemetry] },
  ];
}

/** One of the small Workers, without bindings yet. */
export function workerService(build: Build, name: string, about: string): WorkerService {
  const modules = build.workers[name] ?? [];
  const compatibilityDate = build.wrangler.compatibility_date ?? "";
  return {
    name,
    about,
    modules,
    compatibilityDate,
    compatibilityFlags: [],
    bindings: [],
    durableObjects: [],
  };
}

export function kvBinding(name: string): Binding {
  return { name, value: { kind: "kvNamespace", service: "kv", props: { namespace: name } } };
}

export function durableObjectBinding(name: string, className: string): Binding {
  return { name, value: { kind: "durableObjectNamespace", service: "gateway", className } };
}

export function varBindings(vars: Readonly<Record<string, unknown>>): Binding[] {
  return Object.entries(vars).map(([name, value]): Binding => {
    if (typeof value === "string") return { name, value: { kind: "text", text: value } };
    return { name, value: { kind: "json", text: JSON.stringify(value) } };
  });
}
