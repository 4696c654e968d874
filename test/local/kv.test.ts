import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleWorkers } from "../../local/bundle.ts";
import type { WorkerService } from "../../local/capnp.ts";
import { startWorkerd, type Workerd } from "../../local/workerd.ts";
import type { KvCall } from "./kv-worker.ts";

/** The real binding in real workerd, in front of our store. */
let workerd: Workerd;
let stateDir: string;

async function start(): Promise<Workerd> {
  const { kv } = await bundleWorkers(stateDir, { kv: "test/local/kv-worker.ts" });
  const service: WorkerService = {
    name: "kv",
    about: "The store, and the Worker that the test calls.",
    modules: kv,
    compatibilityDate: "2026-10-23",
    compatibilityFlags: [],
    bindings: [
      {
        name: "KV",
        value: { kind: "kvNamespace", service: "kv", entrypoint: "SkewedKv", props: { namespace: "TEST" } },
      },
      { name: "STORE", value: { kind: "durableObjectNamespace", service: "kv", className: "KvStore" } },
    ],
    durableObjects: ["KvStore"],
  };
  const config = {
    about: "Test of KV.",
    workers: [service],
    sockets: [{ name: "http", about: "For the test.", address: "127.0.0.1:0", service: "kv" }],
    storagePath: join(stateDir, "storage"),
  };
  return startWorkerd({ stateDir, fileName: "workerd.capnp", config });
}

beforeAll(async () => {
  stateDir = await mkdtemp(join(tmpdir(), "postiz-gateway-kv-"));
  workerd = await start();
});

afterAll(async () => {
  await workerd.stop();
  await rm(stateDir, { recursive: true, force: true });
});

async function call(method: KvCall["method"], args: readonly unknown[], skewSeconds = 0): Promise<unknown> {
  const body = JSON.stringify({ method, args, skewSeconds } satisfies KvCall);
  const response = await fetch(`http://127.0.0.1:${workerd.ports.get("http")}/`, { method: "POST", body });
  const { result, thrown } = (await response.json()) as { result: unknown; thrown?: string };
  if (thrown !== undefined) throw new Error(thrown);
  return result;
}

describe("values", () => {
  it("come back as they were put, as text and as JSON", async () => {
    await call("put", ["text", "Grüße\u0000🎉"]);
    await call("put", ["json", '{"v":1}']);
    expect(await call("get", ["text"])).toBe("Grüße\u0000🎉");
    expect(await call("get", ["json", "json"])).toEqual({ v: 1 });
    expect(await call("get", ["json", { type: "json", cacheTtl: 60 }])).toEqual({ v: 1 });
  });

  it("are replaced by a later put, with the metadata", async () => {
    await call("put", ["replaced", "1", { metadata: { old: true } }]);
    await call("put", ["replaced", "2"]);
    expect(await call("getWithMetadata", ["replaced"])).toMatchObject({ value: "2", metadata: null });
  });

  it("carry metadata, whatever its letters", async () => {
    await call("put", ["meta", "v", { metadata: { name: "Zoë 🎉" } }]);
    const expected = { value: "v", metadata: { name: "Zoë 🎉" } };
    expect(await call("getWithMetadata", ["meta"])).toMatchObject(expected);
    expect(await call("list", [{ prefix: "meta" }])).toMatchObject({
      keys: [{ name: "meta", metadata: expected.metadata }],
    });
  });

  it("are null when absent and after a delete, and deleting twice is no error", async () => {
    expect(await call("get", ["absent"])).toBeNull();
    await call("put", ["gone", "v"]);
    await call("delete", ["gone"]);
    await call("delete", ["gone"]);
    expect(await call("get", ["gone"])).toBeNull();
  });

  it("of several keys come in one call", async () => {
    await call("put", ["many:1", '{"n":1}', { metadata: "m" }]);
    await call("put", ["many:2", '{"n":2}']);
    const keys = ["many:1", "many:2", "many:none"];
    expect(await call("get", [keys, "json"])).toEqual({
      "many:1": { n: 1 },
      "many:2": { n: 2 },
      "many:none": null,
    });
    expect(await call("getWithMetadata", [keys, "json"])).toMatchObject({
      "many:1": { value: { n: 1 }, metadata: "m" },
      "many:2": { value: { n: 2 }, metadata: null },
    });
  });

  it("over the size limit are refused", async () => {
    await call("put", ["big", "x".repeat(1024 * 1024)]);
    await expect(call("put", ["big", "x".repeat(1024 * 1024 + 1)])).rejects.toThrow("413 Value length");
    expect(await call("get", ["big"])).toHaveLength(1024 * 1024);
  });
});

describe("keys", () => {
  it.each(["a/b?c#d%20", "ключ", "host:example.com", "x".repeat(512)])("may be %s", async (key) => {
    await call("put", [key, "here"]);
    expect(await call("get", [key])).toBe("here");
  });

  it.each(["", ".", "..", "x".repeat(513), "é".repeat(257)])("may not be %j", async (key) => {
    await expect(call("get", [key])).rejects.toThrow();
    await expect(call("put", [key, "v"])).rejects.toThrow();
    await expect(call("delete", [key])).rejects.toThrow();
  });
});

describe("lists", () => {
  it("hold the keys of a prefix only, in order, page by page", async () => {
    for (const key of ["page:c", "page:a", "page:b", "page", "pagf", "pag_:x", "page:é"]) {
      await call("put", [key, "v"]);
    }
    const first = (await call("list", [{ prefix: "page:", limit: 3 }])) as KVNamespaceListResult<unknown>;
    expect(first.keys).toEqual([{ name: "page:a" }, { name: "page:b" }, { name: "page:c" }]);
    expect(first.list_complete).toBe(false);
    const { cursor } = first as { cursor: string };
    const last = await call("list", [{ prefix: "page:", limit: 3, cursor }]);
    expect(last).toMatchObject({ keys: [{ name: "page:é" }], list_complete: true });
  });

  it("are complete when exactly the limit is there", async () => {
    await call("put", ["exact:1", "v"]);
    await call("put", ["exact:2", "v"]);
    expect(await call("list", [{ prefix: "exact:", limit: 2 }])).toMatchObject({ list_complete: true });
    expect(await call("list", [{ prefix: "exact:", limit: 1 }])).toMatchObject({ list_complete: false });
  });

  it("of more than 1,000 keys are refused", async () => {
    await expect(call("list", [{ limit: 1001 }])).rejects.toThrow("400 Limit of 1001");
  });
});

describe("expiry", () => {
  const TTL_SECONDS = 3600;

  it("hides a value from get and list from its second on, not before", async () => {
    await call("put", ["expiring", "v", { expirationTtl: TTL_SECONDS }]);
    const early = TTL_SECONDS - 60;
    expect(await call("get", ["expiring"], early)).toBe("v");
    expect(await call("list", [{ prefix: "expiring" }], early)).toMatchObject({
      keys: [{ name: "expiring", expiration: expect.any(Number) }],
    });
    expect(await call("get", ["expiring"], TTL_SECONDS)).toBeNull();
    expect(await call("list", [{ prefix: "expiring" }], TTL_SECONDS)).toMatchObject({ keys: [] });
  });

  it("may be given as a point in time", async () => {
    const expiration = Math.floor(Date.now() / 1000) + TTL_SECONDS;
    await call("put", ["until", "v", { expiration }]);
    expect(await call("list", [{ prefix: "until" }])).toMatchObject({
      keys: [{ name: "until", expiration }],
    });
    expect(await call("get", ["until"], TTL_SECONDS)).toBeNull();
  });

  it("under 60 seconds is refused, and nothing is written", async () => {
    const soon = Math.floor(Date.now() / 1000) + 30;
    await expect(call("put", ["short", "v", { expirationTtl: 59 }])).rejects.toThrow(
      "400 Invalid expiration_ttl",
    );
    await expect(call("put", ["short", "v", { expiration: soon }])).rejects.toThrow("400 Invalid expiration");
    expect(await call("get", ["short"])).toBeNull();
    await call("put", ["short", "v", { expirationTtl: 60 }]);
  });
});

describe("the store", () => {
  it("keeps what was acknowledged over a restart", async () => {
    await call("put", ["kept", "v", { metadata: 1 }]);
    await workerd.stop();
    workerd = await start();
    expect(await call("getWithMetadata", ["kept"])).toMatchObject({ value: "v", metadata: 1 });
  });
});
