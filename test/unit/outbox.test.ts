/** From the authority's truth to KV: no acknowledged change is lost, and no late write revives a tombstone. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { RecordState } from "../../src/authority/credential-record.ts";
import { Outbox, type Projection, REWRITE_AFTER_MS, WRITE_TIMEOUT_MS } from "../../src/authority/outbox.ts";
import { muteConsole } from "../support/mute-console.ts";
import { memoryStorage } from "../support/sqlite.ts";

const START_MS = 1_790_000_000_000;

const change = (state: RecordState): Projection => ({
  name: "d",
  record: { state },
  twice: state === "revoked",
});

/** KV whose puts do what the test says, one after the other; the last behaviour stays. */
function fakeKv(...behaviours: ((write: () => void) => Promise<void>)[]) {
  const stored = new Map<string, string>();
  const written: string[] = [];
  const put = (key: string, value: string): Promise<void> => {
    const behave = behaviours.length > 1 ? behaviours.shift() : behaviours[0];
    return (behave ?? works)(() => {
      stored.set(key, value);
      written.push(JSON.parse(value).state);
    });
  };
  return { stored, written, kv: { put } as unknown as KVNamespace };
}

const works = async (write: () => void): Promise<void> => write();
const fails = async (): Promise<void> => {
  throw new Error("KV PUT failed: 429 Too Many Requests");
};

describe("the outbox", () => {
  let nowMs: number;
  beforeEach(() => {
    nowMs = START_MS;
    vi.useFakeTimers();
    muteConsole("error");
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  function setUp(...behaviours: Parameters<typeof fakeKv>) {
    const storage = memoryStorage();
    const { kv, ...seen } = fakeKv(...behaviours);
    const outbox = new Outbox(storage, "outbox", kv, () => nowMs);
    const arm = async () => {
      const dueAtMs = outbox.dueAtMs();
      if (dueAtMs !== null) await storage.setAlarm(dueAtMs);
    };
    /** What the runtime does at the alarm. */
    const ring = async () => {
      await outbox.drain();
      await arm();
    };
    const rows = () => storage.sql.exec("SELECT digest FROM outbox").toArray().length;
    return { storage, outbox, arm, ring, rows, ...seen };
  }

  it("writes a change once and has nothing more to do", async () => {
    const { outbox, storage, arm, ring, rows, written } = setUp(works);
    outbox.enqueue(change("active"));
    await arm();
    expect(storage.alarmAtMs).toBe(START_MS);
    await ring();
    await ring();
    expect([written, rows()]).toEqual([["active"], 0]);
  });

  it("writes a tombstone a second time, a minute after the first", async () => {
    const { outbox, storage, ring, rows, written } = setUp(works);
    outbox.enqueue(change("revoked"));
    await ring();
    expect([written, storage.alarmAtMs]).toEqual([["revoked"], START_MS + REWRITE_AFTER_MS]);
    nowMs += REWRITE_AFTER_MS - 1;
    await ring();
    expect(written).toHaveLength(1);
    nowMs += 1;
    await ring();
    expect([written, rows()]).toEqual([["revoked", "revoked"], 0]);
  });

  it("hurries nothing for a hint, and spares no second write for it; by itself a hint waits for its time", async () => {
    const { outbox, ring, rows, written } = setUp(works);
    outbox.enqueue(change("revoked"));
    await ring();
    outbox.enqueue({ ...change("disabled"), hintAtMs: nowMs + 100 });
    nowMs += 100;
    await ring();
    expect(written).toEqual(["revoked"]);
    nowMs += REWRITE_AFTER_MS - 100;
    await ring();
    expect([written, rows()]).toEqual([["revoked", "disabled"], 0]);
    outbox.enqueue({ ...change("active"), hintAtMs: nowMs + 100 });
    nowMs += 99;
    await ring();
    expect(written).toHaveLength(2);
    nowMs += 1;
    await ring();
    expect([written, rows()]).toEqual([["revoked", "disabled", "active"], 0]);
  });

  it("keeps a write through hours of failure, ever less often, and makes it when KV is back", async () => {
    const { outbox, storage, arm, ring, rows, written } = setUp(
      ...Array<typeof fails>(40).fill(fails),
      works,
    );
    outbox.enqueue(change("active"));
    await arm();
    let longestMs = 0;
    for (let i = 0; i < 41; i++) {
      expect(rows()).toBe(1);
      longestMs = Math.max(longestMs, (storage.alarmAtMs ?? 0) - nowMs);
      nowMs = storage.alarmAtMs ?? 0;
      await ring();
    }
    expect([written, rows(), longestMs]).toEqual([["active"], 0, 300_000]);
    expect(nowMs - START_MS).toBeGreaterThan(2 * 3_600_000);
  });

  it("gives up waiting for a write that hangs, and writes the key again only when it has ended", async () => {
    let land: () => void = () => {};
    const hangs = (write: () => void): Promise<void> =>
      new Promise((resolve) => {
        land = () => {
          write();
          resolve();
        };
      });
    const { outbox, ring, written } = setUp(hangs, works);
    outbox.enqueue(change("active"));
    const first = ring();
    await vi.advanceTimersByTimeAsync(WRITE_TIMEOUT_MS);
    await first;
    outbox.enqueue(change("revoked"));
    await ring();
    expect(written).toEqual([]);
    land();
    await vi.advanceTimersByTimeAsync(0);
    nowMs += 60_000;
    await ring();
    expect(written).toEqual(["active", "revoked"]);
  });

  it("does not take a change for written that came while an older one was on its way", async () => {
    const { outbox, ring, rows, written } = setUp(async (write) => {
      write();
      if (written.length === 1) outbox.enqueue(change("revoked"));
    });
    outbox.enqueue(change("active"));
    await ring();
    expect([written, rows()]).toEqual([["active"], 1]);
    await ring();
    expect(written).toEqual(["active", "revoked"]);
  });
});
