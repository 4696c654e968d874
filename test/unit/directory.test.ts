/** Who owns a credential: one tenant, whatever happens at the same time. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DIRECTORY_MIGRATIONS, Directory } from "../../src/authority/directory.ts";
import { tagOf } from "../../src/authority/tag.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import type { Env } from "../../src/env.ts";
import { memoryStorage } from "../support/sqlite.ts";
import { contextOf } from "../support/world.ts";

const [ACME, RIVAL, THIRD] = [tenantIdOf("acme"), tenantIdOf("rival"), tenantIdOf("third")];
const DIGEST = "d".repeat(64);
const ENTRY = { at: "", actor: "a", action: "x", tenantId: "acme", keyId: null, before: null, after: null };

/** Ids of the tenants whose authority has the credential. */
const holders = new Set<string>();
const env = {
  TENANT_AUTHORITY: {
    getByName: (tag: string) => ({
      has: async () => [...holders].some((id) => tagOf(tenantIdOf(id)) === tag),
    }),
  },
} as unknown as Env;
const directory = () => new Directory(contextOf(memoryStorage(DIRECTORY_MIGRATIONS)), env);

/** Time goes forward only, from one test to the next. */
let startMs = Date.now();

beforeEach(() => {
  holders.clear();
  startMs += 400 * 86_400_000;
  vi.useFakeTimers({ now: startMs, toFake: ["Date"] });
});
afterEach(() => vi.useRealTimers());

describe("a claim", () => {
  it("of two tenants at once, exactly one wins, and goes on winning", async () => {
    const shard = directory();
    const owners = await Promise.all([shard.claim(DIGEST, ACME), shard.claim(DIGEST, RIVAL)]);
    expect(owners).toEqual(["acme", "acme"]);
    expect([shard.confirm(DIGEST, ACME), shard.confirm(DIGEST, RIVAL)]).toEqual([true, false]);
    expect(await shard.claim(DIGEST, RIVAL)).toBe("acme");
    expect(shard.ownerOf(DIGEST)).toBe("acme");
  });

  it("that was never confirmed is another's after a minute, unless its tenant has written it down", async () => {
    const shard = directory();
    await shard.claim(DIGEST, ACME);
    vi.setSystemTime(Date.now() + 59_999);
    expect(await shard.claim(DIGEST, RIVAL)).toBe("acme");
    vi.setSystemTime(Date.now() + 1);
    holders.add("acme");
    expect(await shard.claim(DIGEST, RIVAL)).toBe("acme");
    holders.clear();
    const owners = await Promise.all([shard.claim(DIGEST, RIVAL), shard.claim(DIGEST, THIRD)]);
    expect(new Set(owners).size).toBe(1);
    expect(shard.confirm(DIGEST, ACME)).toBe(false);
  });

  it("that is confirmed while another asks for it stays", async () => {
    const shard = directory();
    await shard.claim(DIGEST, ACME);
    vi.setSystemTime(Date.now() + 60_000);
    // Whether it was abandoned is found out, and meanwhile it is confirmed.
    const rival = shard.claim(DIGEST, RIVAL);
    expect(shard.confirm(DIGEST, ACME)).toBe(true);
    expect(await rival).toBe("acme");
  });

  it("that its tenant makes again is as good as new", async () => {
    const shard = directory();
    await shard.claim(DIGEST, ACME);
    vi.setSystemTime(Date.now() + 60_000);
    await shard.claim(DIGEST, ACME);
    expect(await shard.claim(DIGEST, RIVAL)).toBe("acme");
  });

  it("that was confirmed stays, however old, and so does one of the version before", async () => {
    const shard = directory();
    await shard.claim(DIGEST, ACME);
    shard.confirm(DIGEST, ACME);
    vi.setSystemTime(Date.now() + 365 * 86_400_000);
    expect(await shard.claim(DIGEST, RIVAL)).toBe("acme");
  });
});

describe("what operators see", () => {
  it("counts a line that is told twice once, and lists the living in order, page by page", () => {
    const operators = directory();
    for (const id of ["b", "a", "c", "d"]) {
      const status = id === "d" ? "deleted" : "active";
      for (let twice = 0; twice < 2; twice++)
        operators.tell({ id: tenantIdOf(id), name: id, status, version: 2 }, [{ id: 1, entry: ENTRY }]);
    }
    operators.tell({ id: tenantIdOf("d"), name: "late", status: "active", version: 1 }, []);
    expect(operators.tenants("", 2).map(({ id }) => id)).toEqual(["a", "b"]);
    expect(operators.tenants("b", 2).map(({ id }) => id)).toEqual(["c"]);
    const [newest, ...older] = operators.audit(Number.MAX_SAFE_INTEGER, 10);
    expect(older).toHaveLength(3);
    expect(operators.audit(newest?.id ?? 0, 1)).toEqual(older.slice(0, 1));
  });

  it("tells the same creation from another under one Idempotency-Key, for a day", () => {
    const operators = directory();
    expect(operators.remember("k", "x")).toBe("new");
    expect([operators.remember("k", "x"), operators.remember("k", "y")]).toEqual(["same", "other"]);
    vi.setSystemTime(Date.now() + 86_400_000);
    expect(operators.remember("k", "y")).toBe("new");
  });
});
