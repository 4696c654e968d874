/**
 * What an operator brings along: a tenant, its subscription, keys and tokens that Postiz made, its Postiz key. Bringing it
 * again changes nothing.
 */
import type { Subscription } from "../entitlement/subscription.ts";
import type { Env } from "../env.ts";
import { type SealingKeys, seal } from "../gateway-key/seal.ts";
import type { LimitOverrides } from "../quota/policy.ts";
import { within } from "../timeout.ts";
import type { Audit, By } from "./audit.ts";
import { claim } from "./claims.ts";
import { authorityOf } from "./find-authority.ts";
import { BRING_AGAIN } from "./import-rules.ts";
import type { KeyRing } from "./key-ring.ts";
import type { Handing, Handover, Linking } from "./linking.ts";
import type { OriginKeys } from "./origin-key.ts";
import type { Outbox } from "./outbox.ts";
import { type Key, newKey, newTenant, type Registry } from "./registry.ts";
import { type TenantId, unlinkedIdOf } from "./tenant-id.ts";

interface KeyLine {
  readonly type: "api_key" | "token";
  readonly digest: string;
  readonly keyId: string;
  readonly name: string;
  readonly expiresAtMs: number | null;
  readonly limits: LimitOverrides;
}

export type ImportLine = { readonly tenantId: TenantId } & (
  | { readonly type: "tenant"; readonly name: string }
  | { readonly type: "subscription"; readonly subscription: Subscription; readonly tier: string | null }
  | KeyLine
  | { readonly type: "origin_key"; readonly key: string }
);

export interface ImportResult {
  readonly result: "created" | "updated" | "unchanged" | "rejected";
  readonly reason?: string;
}

/** Nothing is known to be lost, and it may be brought again. */
export const UNANSWERED: ImportResult = {
  result: "rejected",
  reason: BRING_AGAIN,
};

const rejected = (reason: string): ImportResult => ({ result: "rejected", reason });
const CREATED: ImportResult = { result: "created" };
const UPDATED: ImportResult = { result: "updated" };
const UNCHANGED: ImportResult = { result: "unchanged" };

const HAND_OVER_TIMEOUT_MS = 10_000;

/** What the lines are taken into. */
export interface Taker {
  readonly registry: Registry;
  readonly originKeys: OriginKeys;
  readonly ring: KeyRing;
  readonly linking: Linking;
  readonly audit: Audit;
  readonly directoryOutbox: Outbox;
  /** All that is written together, and what is to follow from it. */
  readonly commit: <T>(work: () => T) => Promise<T>;
  /** The credential is written down: the directory is told. */
  readonly confirm: (digest: string, tenantId: TenantId) => Promise<void>;
}

/** Lines that are taken together, and what else there is to know about them. */
interface Batch {
  readonly lines: readonly ImportLine[];
  /** Of the one line's credential, where it was a tenant of its own. */
  readonly handover: Handover | null;
}

export class Importing {
  readonly #env: Pick<Env, "DIRECTORY" | "TENANT_AUTHORITY">;
  readonly #into: Taker;

  constructor(env: Pick<Env, "DIRECTORY" | "TENANT_AUTHORITY">, into: Taker) {
    this.#env = env;
    this.#into = into;
  }

  /** Line by line, in their order; one that is rejected keeps none of the others out. */
  async take(
    tenantId: TenantId,
    lines: readonly ImportLine[],
    sealingKeys: SealingKeys | null,
    by: By,
  ): Promise<ImportResult[]> {
    const owners = await this.#claimAll(tenantId, lines);
    const results: ImportResult[] = [];
    let plain: ImportLine[] = [];
    const takePlain = async () => {
      const batch = { lines: plain, handover: null };
      results.push(...(await this.#takeBatch(tenantId, batch, owners, sealingKeys, by)));
      plain = [];
    };
    for (const line of lines) {
      if (!isKeyLine(line) || owners.get(line.digest) !== unlinkedIdOf(line.digest)) plain.push(line);
      else {
        await takePlain();
        results.push(await this.#link(line, owners, by));
      }
    }
    await takePlain();
    const claimed = lines.filter((line, i) => {
      return isKeyLine(line) && owners.get(line.digest) === tenantId && results[i]?.result === "created";
    });
    await Promise.all(claimed.filter(isKeyLine).map(({ digest }) => this.#into.confirm(digest, tenantId)));
    return results;
  }

  /** Whose the lines' credentials are: the tenant's from now on, where they were nobody's. */
  async #claimAll(tenantId: TenantId, lines: readonly ImportLine[]): Promise<ReadonlyMap<string, TenantId>> {
    const { registry } = this.#into;
    const isThere = registry.tenant()?.status === "active" || lines.some(({ type }) => type === "tenant");
    const digests = isThere ? new Set(lines.filter(isKeyLine).map(({ digest }) => digest)) : [];
    const claimed = [...digests].map(async (digest): Promise<[string, TenantId]> => {
      // One's own need no claiming.
      if (registry.key(digest) !== null) return [digest, tenantId];
      return [digest, await claim(this.#env, digest, tenantId)];
    });
    return new Map(await Promise.all(claimed));
  }

  /** What could not be taken in must not be let go of elsewhere. */
  async #link(
    line: ImportLine & KeyLine,
    owners: ReadonlyMap<string, TenantId>,
    by: By,
  ): Promise<ImportResult> {
    const { tenantId, digest } = line;
    const refused = this.#refusalOf(line) ?? this.#refusalOfKey(line);
    if (refused !== null) return refused;
    const from = unlinkedIdOf(digest);
    let handing: Handing;
    try {
      const want = { digest, kind: kindOf(line), to: tenantId };
      // The stub's types lose a union.
      const asked = authorityOf(this.#env, from).handOver(want, by.actor) as Promise<unknown>;
      handing = (await within(HAND_OVER_TIMEOUT_MS, asked)) as Handing;
    } catch (error) {
      console.error(JSON.stringify({ event: "hand_over_failed", tenant: from, error: String(error) }));
      return UNANSWERED;
    }
    switch (handing.is) {
      case "anothers":
        return rejected("it belongs to another tenant");
      case "revoked":
        return rejected("it was revoked, for good");
      case "of_another_kind":
        return rejected(
          `the gateway knows it as ${handing.kind === "oauth_token" ? "a token" : "an api_key"}`,
        );
      case "handed_over": {
        const batch = { lines: [line], handover: handing.handover };
        const [result = UNANSWERED] = await this.#takeBatch(tenantId, batch, owners, null, by);
        return result;
      }
    }
  }

  #takeBatch(
    tenantId: TenantId,
    { lines, handover }: Batch,
    owners: ReadonlyMap<string, TenantId>,
    sealingKeys: SealingKeys | null,
    by: By,
  ): Promise<ImportResult[]> {
    return this.#into.commit(() => {
      const taken = lines.map((line) => {
        const refused = this.#refusalOf(line);
        if (refused !== null) return refused;
        if (!isKeyLine(line)) return this.#takeLine(line, sealingKeys, by.nowMs);
        if (handover === null && owners.get(line.digest) !== tenantId) {
          return rejected("it belongs to another tenant");
        }
        return this.#takeKey(line, handover, by.nowMs);
      });
      const changes = taken.some(({ result }) => result === "created" || result === "updated");
      const entry = { action: "import", tenantId, keyId: null, before: null, after: countResults(taken) };
      if (changes) this.#into.audit.record(by, entry);
      return taken;
    });
  }

  #refusalOf(line: ImportLine): ImportResult | null {
    const tenant = this.#into.registry.tenant();
    if (tenant?.status === "deleted") return rejected("the tenant was deleted");
    if (tenant === null && line.type !== "tenant")
      return rejected("there is no such tenant: import it first");
    return null;
  }

  #refusalOfKey({ digest, keyId }: KeyLine): ImportResult | null {
    const { registry } = this.#into;
    if (registry.key(digest)?.state === "revoked") return rejected("it was revoked, for good");
    if (registry.secretsOf(keyId).some((other) => other.digest !== digest)) {
      return rejected(`the key id "${keyId}" is another key's`);
    }
    return null;
  }

  #takeLine(
    line: Exclude<ImportLine, KeyLine>,
    sealingKeys: SealingKeys | null,
    nowMs: number,
  ): ImportResult {
    const { registry, originKeys } = this.#into;
    const known = registry.tenant();
    const tenant = known ?? { ...newTenant(line.tenantId, "", nowMs), version: 0 };
    const change = (changed: Partial<typeof tenant>) =>
      registry.putTenant({ ...tenant, ...changed, version: tenant.version + 1 });
    switch (line.type) {
      case "tenant":
        if (tenant.name === line.name) return UNCHANGED;
        change({ name: line.name });
        return known === null ? CREATED : UPDATED;
      case "subscription": {
        const { subscription, tier } = line;
        if (same([tenant.subscription, tenant.tier], [subscription, tier])) return UNCHANGED;
        change({ subscription, tier, unsubscribedAtMs: null });
        return UPDATED;
      }
      case "origin_key": {
        if (sealingKeys === null) return rejected("SEALING_KEY is not set: nothing can be sealed");
        const before = originKeys.open(sealingKeys);
        if (before.is === "here" && before.secret === line.key) return UNCHANGED;
        change({ sealedOriginKey: seal(line.key, tenant.id, sealingKeys) });
        return before.is === "missing" ? CREATED : UPDATED;
      }
    }
  }

  #takeKey(line: ImportLine & KeyLine, handover: Handover | null, nowMs: number): ImportResult {
    const { registry, ring, linking, directoryOutbox } = this.#into;
    const refused = this.#refusalOfKey(line);
    if (refused !== null) return refused;
    const { tenantId, digest, keyId, name, expiresAtMs, limits } = line;
    const known = registry.key(digest);
    const base = known ?? handover?.key ?? { ...newKey(digest, keyId, nowMs), generation: 0 };
    const key = { ...base, keyId: known?.keyId ?? keyId, kind: kindOf(line), name, expiresAtMs, limits };
    if (same(known, key)) return UNCHANGED;
    const isLinked = known === null && handover !== null;
    ring.put({ ...key, generation: base.generation + 1 }, isLinked || undefined);
    if (isLinked) {
      linking.takeOver(digest, keyId, handover);
      const record = { from: unlinkedIdOf(digest), to: tenantId };
      directoryOutbox.enqueue({ digest, record, generation: nowMs, twice: false });
    }
    return known === null ? CREATED : UPDATED;
  }
}

const isKeyLine = (line: ImportLine): line is ImportLine & KeyLine => "digest" in line;
const kindOf = ({ type }: KeyLine): Key["kind"] => (type === "token" ? "oauth_token" : "api_key");
const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);

function countResults(results: readonly ImportResult[]): Record<ImportResult["result"], number> {
  const counts = { created: 0, updated: 0, unchanged: 0, rejected: 0 };
  for (const { result } of results) counts[result]++;
  return counts;
}
