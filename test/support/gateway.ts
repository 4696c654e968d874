/**
 * The built gateway in real workerd with real KV and Durable Objects, reached over a socket of its own: requests
 * arrive as sent, not tidied up by the emulator's entry Worker.
 */
import { join } from "node:path";
import { convertV4MiniflareOptions, Log, LogLevel, Miniflare, type V4WorkerOptions } from "miniflare";
import { unstable_readConfig } from "wrangler";
import { freePort } from "../../local/ports.ts";
import { branchOf } from "../../src/authority/branch-name.ts";
import { tagOf } from "../../src/authority/tag.ts";
import type { TenantAuthority } from "../../src/authority/tenant-authority.ts";
import type { TenantId } from "../../src/authority/tenant-id.ts";
import { digestOf } from "../../src/credential/credential.ts";
import { toDataPoint } from "../../src/telemetry/analytics.ts";
import type { GatewayEvent } from "../../src/telemetry/event.ts";
import { type Received, type Sent, send } from "./http.ts";
import { until } from "./poll.ts";
import { record, recordSecret } from "./record.ts";

const root = join(import.meta.dirname, "../..");
const WRANGLER = unstable_readConfig({ config: join(root, "wrangler.toml") });
const COMPATIBILITY_DATE = WRANGLER.compatibility_date ?? "";

export interface GatewayOptions {
  readonly vars?: Readonly<Record<string, string>>;
  /** Puts one of the broken stores of `faults.ts` behind a binding. */
  readonly faultyKv?: boolean;
  readonly faultyAuthority?: boolean;
  /** Limit of the flood shield a minute; without it there is no shield. */
  readonly floodLimit?: number;
  /** Forwards through the service binding ORIGIN to the stand-in. */
  readonly originBinding?: boolean;
}

export interface TestGateway {
  readonly url: string;
  /** The stand-in origin, directly. */
  readonly originUrl: string;
  readonly miniflare: Miniflare;
  send(sent: Sent): Promise<Received>;
  /** A tenant's authority, for what an operator does. */
  authority(tenantId: string): AuthorityCalls;
  /** What the store or the authority of `faults.ts` is to do wrong. */
  setFault(target: "kv" | "authority", mode: string): Promise<void>;
  evict(tenantId: string): Promise<void>;
  /** As if the tenant's object had been busy; it leaves memory, too. */
  openBranches(tenantId: string): Promise<void>;
  /** The object that counts a key's requests. */
  evictBranch(tenantId: string, keyId: string): Promise<void>;
  kv(): Promise<KVNamespace>;
  /** A tenant with one active key, readable in KV. Returns the key. */
  tenant(id: string, options?: TenantOptions): Promise<string>;
  /** The event about the request that was answered with this id, once it is written; exactly one. */
  eventOf(received: { headers: Headers }): Promise<GatewayEvent>;
  readonly events: readonly GatewayEvent[];
  readonly logs: readonly string[];
  stop(): Promise<void>;
}

interface TenantOptions {
  readonly status?: "active" | "trialing" | "past_due" | "canceled" | "none" | "unknown";
  readonly currentPeriodEndMs?: number;
  readonly limits?: { postsPerHour?: number; apiPerMinute?: number };
  readonly expiresAtMs?: number;
}

export async function startGateway(options: GatewayOptions = {}): Promise<TestGateway> {
  const [port, originPort] = [await freePort(), await freePort()];
  const originUrl = `http://127.0.0.1:${originPort}`;
  const logs: string[] = [];
  const events: GatewayEvent[] = [];
  /** Ids of the answers that came: when the gateway stops, each must have had exactly one event. */
  const answered = new Set<string>();
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      log: new Log(LogLevel.ERROR),
      cf: false,
      unsafeInspectDurableObjects: true,
      handleStructuredLogs: ({ message }) => {
        logs.push(message);
        record("log", message);
        const parsed = parseEvent(message);
        if (parsed === null) return;
        events.push(parsed);
        record("point", JSON.stringify(toDataPoint(parsed)));
      },
      workers: [
        gatewayWorker(options, port, originUrl),
        originWorker(originPort),
        faultsWorker(options.faultyAuthority ?? false),
      ],
    }),
  );
  await miniflare.ready;
  const url = `http://127.0.0.1:${port}`;
  const authority = (tenantId: string) => remote<AuthorityCalls>(miniflare, tagOf(tenantId as TenantId));
  const evict = (name: string) =>
    miniflare.unsafeEvictDurableObject("postiz-gateway", "TenantAuthority", { name });
  const openBranches = async (name: string) => {
    const sql = await miniflare.unsafeGetDurableObjectStorage("postiz-gateway", "TenantAuthority", { name });
    await sql.exec("INSERT INTO branched (at_ms) VALUES (?)", Date.now());
    await evict(name);
  };
  const kv = async () =>
    (await miniflare.getKVNamespace("CREDENTIALS", "postiz-gateway")) as unknown as KVNamespace;

  return {
    url,
    originUrl,
    miniflare,
    events,
    logs,
    authority,
    kv,
    setFault: (target, mode) =>
      remote<{ setMode(mode: string): Promise<void> }>(
        miniflare,
        target === "kv" ? "kv" : tagOf("faulty" as TenantId),
      ).setMode(mode),
    send: async (sent) => {
      const received = await send(url, sent);
      const id = received.headers.get("X-Request-Id");
      if (id !== null) answered.add(id);
      return received;
    },
    evict: (tenantId) => evict(tagOf(tenantId as TenantId)),
    openBranches: (tenantId) => openBranches(tagOf(tenantId as TenantId)),
    evictBranch: (tenantId, keyId) => evict(branchOf(tagOf(tenantId as TenantId), keyId)),
    tenant: (id, tenantOptions = {}) => seedTenant(id, tenantOptions, authority(id), kv),
    eventOf: ({ headers }) => oneEvent(events, headers.get("X-Request-Id") ?? "none"),
    stop: async () => {
      for (const id of answered) await oneEvent(events, id);
      if (!options.faultyKv) {
        const store = await kv();
        for (const { name } of (await store.list()).keys) record("kv", `${name} ${await store.get(name)}`);
      }
      await miniflare.dispose();
    },
  };
}

async function seedTenant(
  id: string,
  options: TenantOptions,
  authority: AuthorityCalls,
  kv: TestGateway["kv"],
): Promise<string> {
  const key = digestOf(`key of ${id}`);
  recordSecret(key);
  const { status = "active", currentPeriodEndMs = null, limits, expiresAtMs } = options;
  await authority.putTenant({
    id: id as TenantId,
    name: id,
    subscription: { status, currentPeriodEndMs },
    ...(limits && { limits }),
  });
  await authority.putKey({
    digest: digestOf(key),
    keyId: "main",
    ...(expiresAtMs !== undefined && { expiresAtMs }),
  });
  const store = await kv();
  await until(`the projection of ${id}`, async () => (await store.get(digestOf(key))) !== null);
  return key;
}

async function oneEvent(events: readonly GatewayEvent[], requestId: string): Promise<GatewayEvent> {
  const event = await until(`the event of ${requestId}`, () => events.find((e) => e.requestId === requestId));
  const count = events.filter((e) => e.requestId === requestId).length;
  if (count !== 1) throw new Error(`${count} events for one request`);
  return event;
}

function gatewayWorker(options: GatewayOptions, port: number, originUrl: string): V4WorkerOptions {
  const { faultyKv = false, faultyAuthority = false, originBinding = false, floodLimit, vars } = options;
  return {
    name: "postiz-gateway",
    modules: true,
    rootPath: root,
    modulesRoot: "dist",
    scriptPath: "dist/index.js",
    compatibilityDate: COMPATIBILITY_DATE,
    compatibilityFlags: WRANGLER.compatibility_flags,
    unsafeDirectSockets: [{ host: "127.0.0.1", port }],
    bindings: { ORIGIN_URL: originUrl, LOG_REQUESTS: "all", ...vars },
    kvNamespaces: { INTROSPECTION: "introspection", ...(!faultyKv && { CREDENTIALS: "credentials" }) },
    durableObjects: {
      DIRECTORY: { className: "Directory", useSQLite: true },
      TENANT_AUTHORITY: faultyAuthority
        ? { className: "FaultyAuthority", scriptName: "faults", useSQLite: true }
        : { className: "TenantAuthority", useSQLite: true },
    },
    serviceBindings: {
      ...(faultyKv && { CREDENTIALS: { name: "faults", entrypoint: "FaultyKv" } }),
      ...(originBinding && { ORIGIN: "origin" }),
    },
    ratelimits:
      floodLimit === undefined
        ? {}
        : { FLOOD: { namespace_id: "1", simple: { limit: floodLimit, period: 60 } } },
  };
}

function originWorker(port: number): V4WorkerOptions {
  return {
    name: "origin",
    modules: true,
    rootPath: root,
    modulesRoot: "dist/test",
    scriptPath: "dist/test/origin.js",
    compatibilityDate: COMPATIBILITY_DATE,
    unsafeDirectSockets: [{ host: "127.0.0.1", port }],
    bindings: { ACCEPTED_CREDENTIALS: "*" },
  };
}

const faultsWorker = (faultyAuthority: boolean): V4WorkerOptions => ({
  name: "faults",
  modules: true,
  rootPath: root,
  modulesRoot: "dist/test",
  scriptPath: "dist/test/faults.js",
  compatibilityDate: COMPATIBILITY_DATE,
  durableObjects: {
    FAULTY_AUTHORITY: { className: "FaultyAuthority", useSQLite: true },
    TENANT_AUTHORITY: faultyAuthority
      ? { className: "FaultyAuthority", useSQLite: true }
      : { className: "TenantAuthority", scriptName: "postiz-gateway", useSQLite: true },
  },
  serviceBindings: { FAULTY_KV: { name: "faults", entrypoint: "FaultyKv" } },
});

/** The methods of an authority as they are called from Node. */
type AuthorityCalls = {
  [Method in "lease" | "leaseAll" | "settle" | "testify" | "putTenant" | "putKey" | "revokeKey"]: (
    ...args: Parameters<TenantAuthority[Method]>
  ) => Promise<Awaited<ReturnType<TenantAuthority[Method]>>>;
};

/** An object whose methods are called inside the runtime, through the driver Worker of `faults.ts`. */
function remote<T extends object>(miniflare: Miniflare, target: string): T {
  return new Proxy({} as T, {
    get:
      (_, method) =>
      async (...args: unknown[]) => {
        const driver = await miniflare.getWorker("faults");
        const body = JSON.stringify({ target, method, args });
        const response = await driver.fetch("http://driver/", { method: "POST", body });
        const { value, error } = (await response.json()) as { value?: unknown; error?: string };
        if (error !== undefined) throw new Error(error);
        return value;
      },
  });
}

function parseEvent(message: string): GatewayEvent | null {
  if (!message.startsWith('{"v":')) return null;
  return JSON.parse(message) as GatewayEvent;
}
