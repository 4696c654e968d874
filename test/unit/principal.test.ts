import { describe, expect, it, vi } from "vitest";
import type { CredentialRecord } from "../../src/authority/credential-record.ts";
import { lastAnswerRecord, tenantOfLastAnswer } from "../../src/authority/last-answer.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import type { Credential } from "../../src/credential/credential.ts";
import { deny } from "../../src/denial.ts";
import { CredentialIndex } from "../../src/principal/credential-index.ts";
import { useCacheClock } from "./cache-clock.ts";
import { denialOf, passed, reasonOf } from "./result.ts";

const credential: Credential = { kind: "api_key", secret: "a-key-of-acme-s" };
const DIGEST = "d72edca8bdbd4c51e3db08e745d59a21925b86eada65d53a1007b502649e2c5f";
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
    const options: unknown[] = [];
    const kv = {
      get: (key: string, how: unknown) => {
        keys.push(key);
        options.push(how);
        return get();
      },
    } as unknown as KVNamespace;
    return { index: new CredentialIndex(kv), keys, options };
  }
  const holding = (change: Partial<CredentialRecord> = {}) =>
    indexOver(async () => JSON.stringify({ ...record, ...change }));

  it("asks for the digest, never for the credential", async () => {
    const { index, keys, options } = holding();
    const claim = passed(await index.look(credential));
    expect(claim).toEqual({ tenantId: "acme", tag: "QCApMcxouyZwyhFb", digest: DIGEST });
    expect(keys).toEqual([DIGEST]);
    // Of a record that is read by every isolate in turn.
    expect(options).toEqual([{ cacheTtl: 60 }]);
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
    ["api_key", false],
    ["oauth_token", true],
  ] as const)("of %s a tombstone says whether it was a token: %s", async (kind, aboutToken) => {
    const { index } = holding({ kind, state: "revoked" });
    expect(denialOf(await index.look({ ...credential, kind }))).toMatchObject({ aboutToken });
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
    ["KV failing", async () => Promise.reject(new Error("KV GET failed: 500")), 5, "credentials_failed"],
    ["an empty record", async () => "", 60, "credential_record_corrupt"],
    ["a record that is no JSON", async () => "<html>", 60, "credential_record_corrupt"],
    [
      "a record of a later schema",
      async () => JSON.stringify({ ...record, v: 2 }),
      60,
      "credential_record_corrupt",
    ],
  ])("%s is never a miss, never remembered, and logged", async (_, get, retryAfterSeconds, event) => {
    const { index } = indexOver(get);
    const denial = denialOf(await index.look(credential));
    expect(denial).toMatchObject({ reason: "credentials_unavailable", retryAfterSeconds });
    expect(index.recall(credential)).toBeUndefined();
    expect(index.recallRefusal(credential)).toBeUndefined();
    const lines = vi.mocked(console.error).mock.calls.map(([line]) => String(line));
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([{ event, digest: DIGEST }]);
    expect(lines.join()).not.toContain(credential.secret);
  });

  it("KV hanging is never a miss", async () => {
    const { index } = indexOver(() => new Promise(() => {}));
    const looked = index.look(credential);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(reasonOf(await looked)).toBe("credentials_unavailable");
  });
});

describe("the last answer about a token", () => {
  useCacheClock();
  const acme = tenantIdOf("acme");
  const kvOf = (get: () => Promise<string | null>) => ({ get }) as unknown as KVNamespace;
  const tenantIn = (record: unknown) =>
    tenantOfLastAnswer(
      kvOf(async () => JSON.stringify(record)),
      DIGEST,
    );

  it("leads to its tenant where it was yes", async () => {
    expect(await tenantIn(lastAnswerRecord(acme, true, 1))).toBe("acme");
  });

  it.each([
    ["was no", lastAnswerRecord(acme, false, 1)],
    ["is of a later version", { ...lastAnswerRecord(acme, true, 1), v: 2 }],
    ["names no tenant", { ...lastAnswerRecord(acme, true, 1), tenantId: "no tenant's id" }],
    ["says neither", { ...lastAnswerRecord(acme, true, 1), active: "true" }],
    ["is no record", null],
  ])("leads nowhere where it %s", async (_, record) => {
    expect(await tenantIn(record)).toBeNull();
    expect(console.error).not.toHaveBeenCalled();
  });

  it("leads nowhere where there is none", async () => {
    expect(
      await tenantOfLastAnswer(
        kvOf(async () => null),
        DIGEST,
      ),
    ).toBeNull();
  });

  it.each([
    ["KV failing", async () => Promise.reject(new Error("KV GET failed: 500"))],
    ["KV hanging", () => new Promise<never>(() => {})],
    ["a record that is no JSON", async () => "<html>"],
  ])("leads nowhere with %s, which is logged", async (_, get) => {
    const looked = tenantOfLastAnswer(kvOf(get), DIGEST);
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await looked).toBeNull();
    const lines = vi.mocked(console.error).mock.calls.map(([line]) => JSON.parse(String(line)) as unknown);
    expect(lines).toMatchObject([{ event: "introspection_store_failed", digest: DIGEST }]);
  });
});
