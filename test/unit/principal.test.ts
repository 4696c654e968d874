import { describe, expect, it, vi } from "vitest";
import type { CredentialRecord } from "../../src/authority/credential-record.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import type { Credential } from "../../src/credential/credential.ts";
import { deny } from "../../src/denial.ts";
import { CredentialIndex } from "../../src/principal/credential-index.ts";
import { useCacheClock } from "./cache-clock.ts";
import { denialOf, passed, reasonOf } from "./result.ts";

const credential: Credential = { kind: "api_key", secret: "acme-demo-key" };
const DIGEST = "8676d15d94dabdd1283e6c407e2bb08a7b5c13b4e3667d4795c17172e080a3d4";
const record: CredentialRecord = {
  v: 1,
  tenantId: tenantIdOf("acme"),
  keyId: "k1",
  kind: "api_key",
  state: "active",
  generation: 1,
};

describe("looking a credential up in KV", () => {
  const clock = useCacheClock();

  function indexOver(get: () => Promise<string | null>) {
    const keys: string[] = [];
    const kv = {
      get: (key: string) => {
        keys.push(key);
        return get();
      },
    } as unknown as KVNamespace;
    return { index: new CredentialIndex(kv), keys };
  }
  const holding = (change: Partial<CredentialRecord> = {}) =>
    indexOver(async () => JSON.stringify({ ...record, ...change }));

  it("asks for the digest, never for the credential", async () => {
    const { index, keys } = holding();
    const claim = passed(await index.look(credential));
    expect(claim).toEqual({ tenantId: "acme", tag: "QCApMcxouyZwyhFb", digest: DIGEST });
    expect(keys).toEqual([DIGEST]);
  });

  it("a claim is remembered until the authority does not confirm it", async () => {
    const { index } = holding();
    expect(index.recall(credential)).toBeUndefined();
    const claim = passed(await index.look(credential));
    expect(index.recall(credential)).toEqual(claim);
    index.forget(credential);
    expect(index.recall(credential)).toBeUndefined();
  });

  it("a disabled key is a claim: KV may be behind, so the authority decides", async () => {
    expect(reasonOf(await holding({ state: "disabled" }).index.look(credential))).toBe("passed");
  });

  it("a tombstone is believed, however old it is", async () => {
    const { index } = holding({ state: "revoked" });
    const denial = denialOf(await index.look(credential));
    expect(denial).toMatchObject({ reason: "key_revoked", owner: { tenantId: "acme", keyId: "k1" } });
    expect(index.recall(credential)).toBeUndefined();
  });

  it.each([
    ["", (ms: number) => vi.advanceTimersByTimeAsync(ms)],
    // The runtime drops the timers of a request that has ended: nothing that outlives it may wait for one.
    [", also if no request lived long enough for a timer", async () => {}],
  ])("an unknown key is remembered as unknown for 10 seconds, no longer%s", async (_, runTimers) => {
    const wait = async (ms: number) => {
      clock.nowMs += ms;
      await runTimers(ms);
    };
    const { index } = indexOver(async () => null);
    expect(index.recallRefusal(credential)).toBeUndefined();
    expect(passed(await index.look(credential))).toBeNull();
    index.refuse(credential, deny("key_unknown", "No tenant has it"));
    await wait(9_999);
    expect(index.recallRefusal(credential)).toMatchObject({ denial: { reason: "key_unknown" } });
    await wait(2);
    expect(index.recallRefusal(credential)).toBeUndefined();
  });

  it.each([
    ["KV failing", async () => Promise.reject(new Error("KV GET failed: 500"))],
    ["an empty record", async () => ""],
    ["a record that is no JSON", async () => "<html>"],
    ["a record of a later schema", async () => JSON.stringify({ ...record, v: 2 })],
  ])("%s is never a miss, and never remembered", async (_, get) => {
    const { index } = indexOver(get);
    expect(denialOf(await index.look(credential))).toMatchObject({
      reason: "credentials_unavailable",
      retryAfterSeconds: expect.any(Number),
    });
    expect(index.recall(credential)).toBeUndefined();
    expect(index.recallRefusal(credential)).toBeUndefined();
    expect(JSON.stringify(vi.mocked(console.error).mock.calls)).not.toContain(credential.secret);
  });

  it("KV hanging is never a miss", async () => {
    const { index } = indexOver(() => new Promise(() => {}));
    const looked = index.look(credential);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(reasonOf(await looked)).toBe("credentials_unavailable");
  });
});
