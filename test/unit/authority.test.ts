import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { AuthorityClient } from "../../src/authority/client.ts";
import { type CredentialRecord, parseRecord } from "../../src/authority/credential-record.ts";
import { type Grant, type LeaseAsk, readGrant, type Settlement } from "../../src/authority/protocol.ts";
import { tagOf } from "../../src/authority/tag.ts";
import { type TenantId, tenantIdOf } from "../../src/authority/tenant-id.ts";
import type { Env } from "../../src/env.ts";
import { muteConsole } from "../support/mute-console.ts";

describe("the tag of a tenant", () => {
  it.each([
    // Computed with Python: int(sha256(id)) >> 161, in base 62 of digits, upper case, lower case.
    ["acme", "QCApMcxouyZwyhFb"],
    ["lapsed", "UKG76qeUB0Gz7TJi"],
    ["2b0f6c1e-8a1d-4c57-9a35-0d4d0b7f5f10", "JL8ZwOLtMded0WtG"],
    ["unlinked-x", "1d5w6wx3ts5wCJte"],
    ["tenant-157", "008Lr0XZTvaTVc0h"],
    ["Zoë", "dyOCUCaKFf0iuSHr"],
    ["", "jozqreNDtE4azvqG"],
  ])("of %j is %s, for ever: it is part of the key format", (tenantId, tag) => {
    expect(tagOf(tenantId as TenantId)).toBe(tag);
  });

  it("is 16 base62 characters for any tenant, and another for another", () => {
    fc.assert(
      fc.property(fc.string(), fc.string(), (one, other) => {
        expect(tagOf(one as TenantId)).toMatch(/^[0-9A-Za-z]{16}$/);
        expect(tagOf(one as TenantId) === tagOf(other as TenantId)).toBe(one === other);
      }),
    );
  });
});

describe("a record in KV", () => {
  const record: CredentialRecord = {
    v: 1,
    tenantId: tenantIdOf("acme"),
    keyId: "k1",
    kind: "api_key",
    state: "active",
    generation: 1,
  };

  it.each([
    ["an API key", {}],
    ["a token", { kind: "oauth_token" }],
    ["a disabled key", { state: "disabled" }],
    ["a tombstone", { state: "revoked", generation: Number.MAX_SAFE_INTEGER }],
    ["the longest names", { tenantId: "t".repeat(64), keyId: "-_Aa0".padEnd(64, "k") }],
    ["an unlinked tenant", { tenantId: `unlinked-${"x".repeat(43)}` }],
    ["fields of a later version", { scopes: ["mcp:read"], later: null }],
  ])("%s is read", (_, change) => {
    expect(parseRecord(JSON.stringify({ ...record, ...change }))).toEqual({ ...record, ...change });
  });

  it.each([
    ["a later schema", { v: 2 }],
    ["a version that is text", { v: "1" }],
    ["no version", { v: undefined }],
    ["no tenant", { tenantId: undefined }],
    ["an empty tenant", { tenantId: "" }],
    ["a tenant of 65 characters", { tenantId: "t".repeat(65) }],
    ["a tenant with other characters", { tenantId: "a/b" }],
    ["a tenant that ends in a line feed", { tenantId: "acme\n" }],
    ["a tenant that is a number", { tenantId: 1 }],
    ["no key", { keyId: undefined }],
    ["an empty key", { keyId: "" }],
    ["no state", { state: undefined }],
    ["a generation that is text", { generation: "1" }],
    ["a generation that is a fraction", { generation: 1.5 }],
    ["a generation beyond what is exact", { generation: 2 ** 53 }],
    ["no generation", { generation: undefined }],
  ])("%s is corrupt", (_, change) => {
    expect(parseRecord(JSON.stringify({ ...record, ...change }))).toBeNull();
  });

  it.each([{ kind: "gateway_key" }, { state: "rejected" }, { more: 1 }])(
    "what a later version says (%j) routes all the same: the authority decides",
    (change) => {
      expect(parseRecord(JSON.stringify({ ...record, ...change }))).not.toBeNull();
    },
  );

  it.each(["", "null", "[]", "1", '"acme"', "{}", "{", "undefined", "\0", JSON.stringify([record])])(
    "%j is corrupt, not an exception",
    (text) => {
      expect(parseRecord(text)).toBeNull();
    },
  );

  it("is never believed for its prototype", () => {
    expect(parseRecord(`{"__proto__":${JSON.stringify(record)}}`)).toBeNull();
  });
});

describe("asking the authority", () => {
  const TIMEOUT_MS = 1_000;
  const ask = {
    tenantId: tenantIdOf("acme"),
    digest: "d",
    policy: "api",
    nonce: "n1",
    settleWithinMs: 30_000,
  } as const;
  const grant: Grant = {
    v: 1,
    verdict: "granted",
    keyId: "k1",
    subscription: { status: "active", currentPeriodEndMs: null },
    tokens: 1,
    quota: { policy: { name: "api", limit: 600, windowSeconds: 60 }, remaining: 599, resetSeconds: 60 },
    usableForMs: TIMEOUT_MS,
  };

  it.each([
    ["nothing", undefined],
    ["another protocol", { ...grant, v: 2 }],
    ["a verdict of a later version", { ...grant, verdict: "postponed" }],
    ["a grant without a quota", { ...grant, quota: null }],
    ["a grant without a token", { ...grant, tokens: 0 }],
    ["no subscription", { ...grant, subscription: undefined }],
  ])("%s, which this version does not understand, admits nobody", (_, value) => {
    expect(readGrant(value)).toBeNull();
  });

  beforeEach(() => {
    vi.useFakeTimers();
    muteConsole("error");
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  });

  type Lease = (ask: LeaseAsk) => Promise<Grant>;
  /** An exception as the runtime throws it from a stub. */
  const failure = (flags: { retryable?: boolean; overloaded?: boolean }) => async (): Promise<never> => {
    throw Object.assign(new Error("the object failed"), flags);
  };

  const TAG = tagOf(tenantIdOf("acme"));

  /** A namespace whose stubs answer each by one of `leases`, in turn; a stub that failed once stays broken. */
  function authorityOf(leases: Lease[], settle: (settlement: Settlement) => Promise<void> = async () => {}) {
    const asks: LeaseAsk[] = [];
    const names: string[] = [];
    const getByName = (name: string) => {
      names.push(name);
      const lease = leases.shift();
      let used = false;
      return {
        settle,
        lease: async (sent: LeaseAsk) => {
          if (lease === undefined || used) throw new Error("this stub is broken");
          used = true;
          asks.push(sent);
          return lease(sent);
        },
      };
    };
    const env = { TENANT_AUTHORITY: { getByName } } as unknown as Env;
    const clock = { ms: 5_000 };
    const client = new AuthorityClient(env, TIMEOUT_MS, () => clock.ms);
    return { client, asks, names, clock };
  }

  it("sends the ask, in the protocol's version, to the object of that name", async () => {
    const { client, asks, names } = authorityOf([async () => grant]);
    expect(await client.lease(TAG, ask)).toBe(grant);
    expect(asks).toEqual([{ v: 1, ...ask, canBranch: true }]);
    expect(names).toEqual([TAG]);
  });

  it("a grant that comes when it can still be used is one; a millisecond later it is none", async () => {
    for (const [tookMs, usable] of [
      [TIMEOUT_MS - 1, true],
      [TIMEOUT_MS, false],
      [TIMEOUT_MS + 1, false],
    ] as const) {
      const { client, clock } = authorityOf([
        async () => {
          clock.ms += tookMs;
          return grant;
        },
      ]);
      expect(await client.lease(TAG, ask)).toBe(usable ? grant : null);
    }
  });

  it("says so in the log where a grant came too late", async () => {
    const logged = vi.spyOn(console, "error").mockImplementation(() => {});
    const { client, clock } = authorityOf([
      async () => {
        clock.ms += TIMEOUT_MS;
        return grant;
      },
    ]);
    expect(await client.lease(TAG, ask)).toBeNull();
    expect(logged.mock.calls.flat().map(String)).toEqual([
      `{"event":"authority_failed","tag":"${TAG}","error":"Error: the grant came ${TIMEOUT_MS} ms after the ask"}`,
    ]);
  });

  it("a grant's age counts from before the first ask, also when the second was answered", async () => {
    const { client, clock } = authorityOf([
      async () => {
        clock.ms += 600;
        return failure({ retryable: true })();
      },
      async () => {
        clock.ms += 400;
        return grant;
      },
    ]);
    expect(await client.lease(TAG, ask)).toBeNull();
  });

  it("a refusal needs no deadline", async () => {
    const refusal: Grant = { ...grant, verdict: "key_revoked", tokens: 0, usableForMs: 0 };
    const { client } = authorityOf([async () => refusal]);
    expect(await client.lease(TAG, ask)).toBe(refusal);
  });

  it("gives up after the time-out, not before", async () => {
    const { client } = authorityOf([() => new Promise(() => {})]);
    const answered = vi.fn();
    void client.lease(TAG, ask).then(answered);
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS - 1);
    expect(answered).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(answered).toHaveBeenCalledWith(null);
  });

  it("gives the second ask no time of its own", async () => {
    const late = () =>
      new Promise<never>((_, reject) => setTimeout(() => failure({ retryable: true })().catch(reject), 600));
    const { client, asks } = authorityOf([late, () => new Promise(() => {})]);
    const answered = vi.fn();
    void client.lease(TAG, ask).then(answered);
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS - 1);
    expect(asks).toHaveLength(2);
    expect(answered).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(1);
    expect(answered).toHaveBeenCalledWith(null);
  });

  it("asks once more after a retryable failure, on a fresh stub and with the same nonce", async () => {
    const { client, asks, names } = authorityOf([failure({ retryable: true }), async () => grant]);
    expect(await client.lease(TAG, ask)).toBe(grant);
    expect(names).toEqual([TAG, TAG]);
    expect(asks.map(({ nonce }) => nonce)).toEqual(["n1", "n1"]);
  });

  it.each([
    [
      "a second time after a retryable failure",
      [failure({ retryable: true }), failure({ retryable: true })],
      2,
    ],
    ["an overloaded object", [failure({ overloaded: true })], 1],
    ["an overloaded object that also says retryable", [failure({ overloaded: true, retryable: true })], 1],
    ["after a failure that says nothing", [failure({})], 1],
    ["after a failure that says not retryable", [failure({ retryable: false })], 1],
  ] as const)("does not ask again %s", async (_, leases, asked) => {
    const { client, asks } = authorityOf([...leases, async () => grant].slice(0, asked + 1));
    expect(await client.lease(TAG, ask)).toBeNull();
    expect(asks).toHaveLength(asked);
  });

  it("a settlement that fails or hangs harms nobody", async () => {
    await authorityOf([], failure({})).client.settle(TAG, { nonce: "n1" });
    const hanging = authorityOf([], () => new Promise(() => {})).client.settle(TAG, { nonce: "n1" });
    await vi.advanceTimersByTimeAsync(TIMEOUT_MS);
    await expect(hanging).resolves.toBeUndefined();
  });

  it("leaves no timer behind", async () => {
    await authorityOf([async () => grant]).client.lease(TAG, ask);
    await authorityOf([failure({})]).client.lease(TAG, ask);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("logs a failure without what the caller presented", async () => {
    await authorityOf([failure({})]).client.lease(TAG, { ...ask, digest: "f00d".repeat(16) });
    expect(JSON.stringify(vi.mocked(console.error).mock.calls)).not.toContain("f00d");
  });
});
