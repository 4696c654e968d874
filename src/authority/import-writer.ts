/**
 * Lines of an import, written into the tenant's rows. Bringing a line again changes nothing; what it does not mention stays
 * as it is. Synchronous; called inside the transaction that also holds the projection.
 */
import type { Scope } from "../entitlement/scopes.ts";
import type { Subscription } from "../entitlement/subscription.ts";
import { type SealingKeys, seal } from "../gateway-key/seal.ts";
import type { LimitOverrides, PolicyName } from "../quota/policy.ts";
import type { Passing } from "./claims.ts";
import { BRING_AGAIN } from "./import-rules.ts";
import type { KeyRing } from "./key-ring.ts";
import type { Handover, Linking } from "./linking.ts";
import type { OriginKeys } from "./origin-key.ts";
import type { Outbox } from "./outbox.ts";
import { type Key, newKey, newTenant, type Registry } from "./registry.ts";
import { type TenantId, unlinkedIdOf } from "./tenant-id.ts";

/** Undefined: not mentioned. Null: none, or as for everybody. */
export interface KeyLine {
  readonly type: "api_key" | "token";
  readonly digest: string;
  readonly keyId?: string | undefined;
  readonly name?: string | undefined;
  readonly expiresAtMs?: number | null | undefined;
  readonly apiPerMinute?: number | null | undefined;
  /** Null: everything. */
  readonly scopes?: readonly Scope[] | null | undefined;
  readonly allowedNetworks?: readonly string[] | undefined;
  readonly disabled?: boolean | undefined;
}

interface TenantLine {
  readonly type: "tenant";
  readonly name: string;
  readonly postsPerHour?: number | null | undefined;
  readonly apiPerMinute?: number | null | undefined;
  readonly shadowPolicies?: readonly PolicyName[] | undefined;
}

export type ImportLine = { readonly tenantId: TenantId } & (
  | TenantLine
  | { readonly type: "subscription"; readonly subscription: Subscription; readonly tier: string | null }
  | KeyLine
  | { readonly type: "origin_key"; readonly key: string }
);

export interface ImportResult {
  readonly result: "created" | "updated" | "unchanged" | "rejected";
  readonly reason?: string;
}

/** Nothing is known to be lost, and it may be brought again. */
export const UNANSWERED: ImportResult = { result: "rejected", reason: BRING_AGAIN };
export const rejected = (reason: string): ImportResult => ({ result: "rejected", reason });
const CREATED: ImportResult = { result: "created" };
const UPDATED: ImportResult = { result: "updated" };
const UNCHANGED: ImportResult = { result: "unchanged" };

export class ImportWriter {
  readonly #registry: Registry;
  readonly #originKeys: OriginKeys;
  readonly #ring: KeyRing;
  readonly #linking: Linking;
  readonly #directoryOutbox: Outbox;

  constructor(
    registry: Registry,
    originKeys: OriginKeys,
    ring: KeyRing,
    linking: Linking,
    directoryOutbox: Outbox,
  ) {
    this.#registry = registry;
    this.#originKeys = originKeys;
    this.#ring = ring;
    this.#linking = linking;
    this.#directoryOutbox = directoryOutbox;
  }

  /** Why the line can't be written; null where it can. What could not be taken in must not be let go of elsewhere. */
  refusalOf(line: ImportLine): ImportResult | null {
    const tenant = this.#registry.tenant();
    if (tenant?.status === "deleted") return rejected("the tenant was deleted");
    if (tenant === null && line.type !== "tenant")
      return rejected("there is no such tenant: import it first");
    return isKeyLine(line) ? this.#refusalOfKey(line) : null;
  }

  #refusalOfKey(line: KeyLine): ImportResult | null {
    const { digest } = line;
    const known = this.#registry.key(digest);
    if (known?.state === "revoked") return rejected("it was revoked, for good");
    if (known !== null && known.kind !== kindOf(line))
      return rejected(`the gateway knows it as ${nameOf(known.kind)}`);
    if (known !== null && line.keyId !== undefined && line.keyId !== known.keyId) {
      return rejected(`its key id is "${known.keyId}"`);
    }
    const keyId = known?.keyId ?? keyIdOf(line);
    if (this.#registry.secretsOf(keyId).some((other) => other.digest !== digest)) {
      return rejected(`the key id "${keyId}" is another key's`);
    }
    return null;
  }

  /** `handover`: of a credential that was a tenant of its own. Call where nothing refuses the line. */
  write(
    line: ImportLine,
    handover: Handover | null,
    sealingKeys: SealingKeys | null,
    nowMs: number,
  ): ImportResult {
    if (isKeyLine(line)) return this.#writeKey(line, handover, nowMs);
    const known = this.#registry.tenant();
    const tenant = known ?? { ...newTenant(line.tenantId, "", nowMs), version: 0 };
    const change = (changed: Partial<typeof tenant>): ImportResult => {
      const whole = { ...tenant, ...changed };
      if (known !== null && same(whole, known)) return UNCHANGED;
      this.#registry.putTenant({ ...whole, version: tenant.version + 1 });
      return known === null ? CREATED : UPDATED;
    };
    switch (line.type) {
      case "tenant": {
        const { name, postsPerHour, apiPerMinute, shadowPolicies = tenant.shadowPolicies } = line;
        const limits = limitsAfter(tenant.limits, { postsPerHour, apiPerMinute });
        return change({ name, limits, shadowPolicies });
      }
      case "subscription": {
        const { subscription, tier } = line;
        if (same([tenant.subscription, tenant.tier], [subscription, tier])) return UNCHANGED;
        return change({ subscription, tier, unsubscribedAtMs: null });
      }
      case "origin_key": {
        if (sealingKeys === null) return rejected("SEALING_KEY is not set: nothing can be sealed");
        const before = this.#originKeys.open(sealingKeys);
        if (before.is === "here" && before.secret === line.key) return UNCHANGED;
        change({ sealedOriginKey: seal(line.key, tenant.id, sealingKeys) });
        return before.is === "missing" ? CREATED : UPDATED;
      }
    }
  }

  #writeKey(line: ImportLine & KeyLine, handover: Handover | null, nowMs: number): ImportResult {
    const { tenantId, digest } = line;
    const known = this.#registry.key(digest);
    const fresh = { ...newKey(digest, keyIdOf(line), nowMs), generation: 0 };
    const base = known ?? { ...fresh, ...handover?.key, keyId: fresh.keyId };
    const key: Key = {
      ...base,
      kind: kindOf(line),
      name: line.name ?? base.name,
      expiresAtMs: line.expiresAtMs === undefined ? base.expiresAtMs : line.expiresAtMs,
      limits: limitsAfter(base.limits, { apiPerMinute: line.apiPerMinute }),
      scopes: line.scopes === undefined ? base.scopes : line.scopes,
      allowedNetworks: line.allowedNetworks ?? base.allowedNetworks,
      state: line.disabled === undefined ? base.state : line.disabled ? "disabled" : "active",
    };
    if (same(known, key)) return UNCHANGED;
    const isLinked = known === null && handover !== null;
    // KV may yet hear of it from the authority that has let go of it.
    this.#ring.put({ ...key, generation: base.generation + 1 }, isLinked);
    if (isLinked) {
      this.#linking.takeOver(digest, key.keyId, handover);
      const record: Passing = { from: unlinkedIdOf(digest), to: tenantId };
      this.#directoryOutbox.enqueue({ name: digest, record, twice: false });
    }
    return known === null ? CREATED : UPDATED;
  }
}

export const isKeyLine = (line: ImportLine): line is ImportLine & KeyLine => "digest" in line;
export const kindOf = ({ type }: KeyLine): Key["kind"] => (type === "token" ? "oauth_token" : "api_key");
export const keyIdOf = ({ type, digest, keyId }: KeyLine): string =>
  keyId ?? `${type}-${digest.slice(0, 16)}`;

const NAMES = { api_key: "an api_key", oauth_token: "a token", gateway_key: "a key of its own" } as const;
export const nameOf = (kind: Key["kind"]): string => NAMES[kind];

const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);

function limitsAfter(
  before: LimitOverrides,
  wished: { [Name in keyof LimitOverrides]?: number | null | undefined },
): LimitOverrides {
  const mentioned = Object.entries(wished).filter(([, value]) => value !== undefined);
  const after = Object.entries({ ...before, ...Object.fromEntries(mentioned) });
  return Object.fromEntries(after.filter(([, value]) => value !== null));
}
