/**
 * What an operator brings along: a tenant, its subscription, keys and tokens that Postiz made, its Postiz key. Bringing it
 * again changes nothing. Synchronous; called inside the transaction that also holds the projection.
 */
import type { Subscription } from "../entitlement/subscription.ts";
import { type SealingKeys, seal } from "../gateway-key/seal.ts";
import type { LimitOverrides } from "../quota/policy.ts";
import type { KeyRing } from "./key-ring.ts";
import type { OriginKeys } from "./origin-key.ts";
import { newKey, newTenant, type Registry } from "./registry.ts";
import { isUnlinked } from "./unlinked.ts";

export type ImportLine = { readonly tenantId: string } & (
  | { readonly type: "tenant"; readonly name: string }
  | { readonly type: "subscription"; readonly subscription: Subscription; readonly tier: string | null }
  | {
      readonly type: "api_key" | "token";
      readonly digest: string;
      readonly keyId: string;
      readonly name: string;
      readonly expiresAtMs: number | null;
      readonly limits: LimitOverrides;
    }
  | { readonly type: "origin_key"; readonly key: string }
);

export interface ImportResult {
  readonly result: "created" | "updated" | "unchanged" | "rejected";
  readonly reason?: string;
}

const rejected = (reason: string): ImportResult => ({ result: "rejected", reason });
const CREATED: ImportResult = { result: "created" };
const UPDATED: ImportResult = { result: "updated" };
const UNCHANGED: ImportResult = { result: "unchanged" };

export class Importing {
  readonly #registry: Registry;
  readonly #originKeys: OriginKeys;
  readonly #ring: KeyRing;

  constructor(registry: Registry, originKeys: OriginKeys, ring: KeyRing) {
    this.#registry = registry;
    this.#originKeys = originKeys;
    this.#ring = ring;
  }

  /** `owner`: whose the line's credential is; null where it has none. */
  take(line: ImportLine, owner: string | null, sealingKeys: SealingKeys | null, nowMs: number): ImportResult {
    const tenant = this.#registry.tenant();
    if (tenant?.status === "deleted") return rejected("the tenant was deleted");
    if (line.type === "tenant") return this.#takeTenant(line.tenantId, line.name, nowMs);
    if (tenant === null) return rejected("there is no such tenant: import it first");
    switch (line.type) {
      case "subscription": {
        const { subscription, tier } = line;
        const changed = { ...tenant, subscription, tier, unsubscribedAtMs: null };
        if (same([tenant.subscription, tenant.tier], [subscription, tier])) return UNCHANGED;
        this.#registry.putTenant({ ...changed, version: tenant.version + 1 });
        return UPDATED;
      }
      case "origin_key": {
        if (sealingKeys === null) return rejected("SEALING_KEY is not set: nothing can be sealed");
        const known = this.#originKeys.open(sealingKeys);
        if (known.is === "here" && known.secret === line.key) return UNCHANGED;
        this.#registry.putTenant({
          ...tenant,
          sealedOriginKey: seal(line.key, tenant.id, sealingKeys),
          version: tenant.version + 1,
        });
        return known.is === "missing" ? CREATED : UPDATED;
      }
      default:
        return this.#takeKey(line, owner, nowMs);
    }
  }

  #takeTenant(id: string, name: string, nowMs: number): ImportResult {
    const tenant = this.#registry.tenant();
    if (tenant?.name === name) return UNCHANGED;
    const base = tenant ?? { ...newTenant(id, name, nowMs), version: 0 };
    this.#registry.putTenant({ ...base, name, version: base.version + 1 });
    return tenant === null ? CREATED : UPDATED;
  }

  #takeKey(line: Extract<ImportLine, { digest: string }>, owner: string | null, nowMs: number): ImportResult {
    const { tenantId, digest, keyId, name, expiresAtMs, limits } = line;
    if (owner !== tenantId) {
      const learnt = owner !== null && isUnlinked(owner);
      return rejected(learnt ? "it was learnt, and can't be linked yet" : "it belongs to another tenant");
    }
    const known = this.#registry.key(digest);
    if (known?.state === "revoked") return rejected("it was revoked, for good");
    if (this.#registry.secretsOf(keyId).some((other) => other.digest !== digest)) {
      return rejected(`the key id "${keyId}" is another key's`);
    }
    const kind = line.type === "token" ? "oauth_token" : "api_key";
    const base = known ?? { ...newKey(digest, keyId, nowMs), generation: 0 };
    const key = { ...base, kind, name, expiresAtMs, limits } as const;
    if (same(known, key)) return UNCHANGED;
    this.#ring.put({ ...key, generation: base.generation + 1 });
    return known === null ? CREATED : UPDATED;
  }
}

const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
