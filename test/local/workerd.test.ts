import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { bundleWorkers } from "../../local/bundle.ts";
import type { Binding, Module, WorkerdConfig } from "../../local/capnp.ts";
import { startWorkerd, type Workerd } from "../../local/workerd.ts";

const SOURCES = { probe: "test/local/probe-worker.ts", rateLimiter: "local/rate-limiter.ts" };
const TEXTS = {
  QUOTES: `"it's" \\n \\`,
  CONTROLS: "a\nb\tc\r\u0001\u007f\u0085",
  LETTERS: "Grüße 🎉 # not a comment",
  EMPTY: "",
};
/** One window for the rest of the century: the clock decides nothing. */
const LIMITER_PROPS = { namespaceId: "1", limit: 2, period: 4_000_000_000 };

let stateDir: string;
let modules: Record<keyof typeof SOURCES, Module[]>;

beforeAll(async () => {
  stateDir = await mkdtemp(join(tmpdir(), "postiz gateway "));
  modules = await bundleWorkers(stateDir, SOURCES);
});

afterAll(() => rm(stateDir, { recursive: true, force: true }));

function configOf(bindings: readonly Binding[], address = "127.0.0.1:0"): WorkerdConfig {
  const common = { compatibilityDate: "2026-10-23", compatibilityFlags: [], durableObjects: [] };
  return {
    about: "Test.",
    workers: [
      { ...common, name: "probe", about: "Shows its bindings.", modules: modules.probe, bindings },
      { ...common, name: "rateLimiter", about: "The limiter.", modules: modules.rateLimiter, bindings: [] },
    ],
    sockets: [{ name: "http", about: "For the test.", address, service: "probe" }],
    storagePath: join(stateDir, "storage"),
  };
}

async function withProbe<T>(bindings: readonly Binding[], use: (url: string) => Promise<T>): Promise<T> {
  const workerd = await startWorkerd({ stateDir, fileName: "test.capnp", config: configOf(bindings) });
  try {
    return await use(`http://127.0.0.1:${workerd.ports.get("http")}/`);
  } finally {
    await workerd.stop();
  }
}

describe("the generated configuration", () => {
  it("hands variables over unchanged, whatever is in them", async () => {
    const texts = Object.entries(TEXTS).map(
      ([name, text]): Binding => ({ name, value: { kind: "text", text } }),
    );
    const json: Binding = { name: "JSON", value: { kind: "json", text: '{"a":["\\"",null]}' } };
    const seen = await withProbe([...texts, json], async (url) => (await fetch(url)).json());
    expect(seen).toEqual({ ...TEXTS, JSON: { a: ['"', null] } });
  });
});

describe("the rate limiter", () => {
  it("lets the limit through in one window, each key for itself", async () => {
    const limiter: Binding = {
      name: "LIMITER",
      value: { kind: "service", service: "rateLimiter", props: LIMITER_PROPS },
    };
    const answers = await withProbe([limiter], async (url) => {
      const ask = async (key: string) => (await fetch(`${url}?key=${key}`)).json();
      return [await ask("a"), await ask("a"), await ask("a"), await ask("b"), await ask("a")];
    });
    expect(answers.map((answer) => (answer as { success: boolean }).success)).toEqual([
      true,
      true,
      false,
      true,
      false,
    ]);
  });
});

describe("startWorkerd", () => {
  const start = (config: WorkerdConfig, signal?: AbortSignal): Promise<Workerd> =>
    startWorkerd({ stateDir, fileName: "test.capnp", config, ...(signal && { signal }) });

  it("says so when workerd ends before it listens", async () => {
    const server = createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    await expect(start(configOf([], `127.0.0.1:${port}`))).rejects.toThrow(
      "workerd ended before it listened",
    );
    server.close();
  });

  it("stops workerd when the signal aborts, before and after it listens", async () => {
    const early = new AbortController();
    const starting = start(configOf([]), early.signal);
    early.abort();
    await expect(starting).rejects.toThrow();

    const late = new AbortController();
    const workerd = await start(configOf([]), late.signal);
    late.abort();
    expect(await workerd.exited).toBe("exit code 0");
  });
});
