/**
 * Branches, as the tenant's own object sees them. It opens them when it is asked more than it can answer with ease; entrusts
 * a key to the one that asks for it; and from then on counts no request of that key, so that at no time two objects do.
 * A branch that never asks, as one of the version before, leaves everything as it is.
 */
import { steadyNowMs } from "../clock.ts";
import type { Env } from "../env.ts";
import { policyFor } from "../quota/policy.ts";
import { within } from "../timeout.ts";
import { type BranchName, branchOf } from "./branch-name.ts";
import { authorityAt } from "./find-authority.ts";
import type { Introspections } from "./introspections.ts";
import type { KeyRing } from "./key-ring.ts";
import { isBranchable, type LeaseRule } from "./leases.ts";
import type { Ledger, LedgerUsage } from "./ledger.ts";
import type { OriginKeys } from "./origin-key.ts";
import {
  type Entrusted,
  type Grant,
  type LeaseAsk,
  PROTOCOL_VERSION,
  type Trust,
  type TrustAsk,
} from "./protocol.ts";
import { Rate } from "./rate.ts";
import type { Key, Registry, Tenant } from "./registry.ts";
import { tagOf } from "./tag.ts";
import { isUnlinked, type TenantId } from "./tenant-id.ts";

const HINT_EVERY_MS = 100;
/**
 * Half of what one object can answer, for a minute. An isolate that is new asks once about each key that it can remember, which
 * is less, and more objects would not help it.
 */
const BUSY_MS = 60_000;
const BUSY_CALLS = 15_000;

export class Branches {
  readonly #env: Pick<Env, "TENANT_AUTHORITY">;
  readonly #registry: Registry;
  readonly #ledger: Ledger;
  readonly #introspections: Introspections;
  readonly #originKeys: OriginKeys;
  readonly #ring: KeyRing;
  readonly #calls = new Rate(BUSY_MS);
  /** When KV is to hear of the latest key that was entrusted. */
  #hintAtMs = 0;

  constructor(
    env: Pick<Env, "TENANT_AUTHORITY">,
    registry: Registry,
    ledger: Ledger,
    introspections: Introspections,
    originKeys: OriginKeys,
    ring: KeyRing,
  ) {
    this.#env = env;
    this.#registry = registry;
    this.#ledger = ledger;
    this.#introspections = introspections;
    this.#originKeys = originKeys;
    this.#ring = ring;
  }

  /** The tenant's own object has been asked; call where something may be written. */
  noteCall(rule: LeaseRule, nowMs: number): void {
    this.#calls.note(nowMs);
    if (this.#calls.most(nowMs) >= BUSY_CALLS) this.#open(rule, nowMs);
  }

  /** For good: what was busy once will be again. A credential that can still be linked stays where it is. */
  #open(rule: LeaseRule, nowMs: number): void {
    const tenant = this.#registry.tenant();
    if (this.#registry.isBranched || tenant?.status !== "active") return;
    if (isUnlinked(tenant.id) || rule.leaseTtlMs === 0) return;
    this.#registry.branchOut(nowMs);
    console.warn(JSON.stringify({ event: "branches_opened", tag: tagOf(tenant.id) }));
  }

  /** What a branch may decide on; call in a transaction. Null where there is nothing to entrust. */
  entrust({ branch, digests, wishForMs, uses }: TrustAsk, rule: LeaseRule, nowMs: number): Trust | null {
    const tenant = this.#registry.tenant();
    if (tenant?.status !== "active" || !this.#registry.isBranched) return null;
    for (const { digest, ...use } of uses) this.#registry.noteUse(digest, use);
    // Seals it anew where that is due, which makes another epoch.
    const originKey = this.#originKeys.open(rule.sealingKeys);
    const entrusted = digests.flatMap((digest) => this.#entrusted(branch, digest, tenant, rule, nowMs) ?? []);
    // What is granted on it is good for a while.
    const forMs = Math.max(2 * rule.authorityTimeoutMs, Math.min(wishForMs, rule.leaseTtlMaxMs));
    this.#ledger.extendDeadline(nowMs + forMs);
    return { v: PROTOCOL_VERSION, epoch: this.#registry.epoch, forMs, tenant, originKey, entrusted };
  }

  /** What the key's branch says, to somebody who can't be sent there. */
  lease({ tenantId, keyId }: KeyAtBranch, ask: LeaseAsk, rule: LeaseRule): Promise<Grant> {
    const name = nameOf(tenantId, keyId);
    return within(rule.authorityTimeoutMs, authorityAt(this.#env, name).leaseAtBranch(name, ask));
  }

  look({ tenantId, keyId }: KeyAtBranch, ask: Omit<LeaseAsk, "nonce">, rule: LeaseRule): Promise<Grant> {
    const name = nameOf(tenantId, keyId);
    return within(rule.authorityTimeoutMs, authorityAt(this.#env, name).lookAtBranch(name, ask));
  }

  /** What the branches have counted of these keys, by their ids; null where the branch does not say. */
  async usage(keys: readonly Key[], rule: LeaseRule): Promise<ReadonlyMap<string, LedgerUsage | null>> {
    const tenant = this.#registry.tenant();
    if (tenant === null) return new Map();
    const byBranch = Map.groupBy(
      keys.filter((key) => isBranchable(key) && this.#registry.isEntrusted(key.keyId)),
      ({ keyId }) => nameOf(tenant.id, keyId),
    );
    const usages = new Map<string, LedgerUsage | null>();
    const asking = [...byBranch].map(async ([name, theirs]) => {
      const asked = theirs.map(({ keyId, limits }) => {
        return { keyId, policy: policyFor("api", rule, tenant.limits, limits) };
      });
      const work = authorityAt(this.#env, name).usageAtBranch(asked);
      const found = await within(rule.authorityTimeoutMs, work).catch((error: unknown) => {
        console.error(JSON.stringify({ event: "usage_failed", branch: name, error: String(error) }));
        return [];
      });
      for (const [i, { keyId, policy }] of asked.entries()) {
        const own = this.#ledger.usage(policy, keyId, steadyNowMs());
        usages.set(keyId, found[i] === undefined ? null : certain(own, found[i]));
      }
    });
    await Promise.all(asking);
    return usages;
  }

  /** Null where the tenant's own object goes on deciding: it may have something to say that a branch can't. */
  #entrusted(
    branch: BranchName,
    digest: string,
    tenant: Tenant,
    rule: LeaseRule,
    nowMs: number,
  ): Entrusted | null {
    const key = this.#registry.key(digest);
    if (key === null || !isBranchable(key)) return null;
    if (branch !== nameOf(tenant.id, key.keyId)) return null;
    const standing = this.#introspections.standing(digest, key.kind, null, rule, nowMs);
    if (standing.is !== "usable") return null;
    if (!this.#registry.isEntrusted(key.keyId)) {
      this.#registry.entrust(key.keyId);
      // So that isolates that are new ask there at once; but whatever else KV is to hear goes first.
      this.#hintAtMs = Math.max(nowMs, this.#hintAtMs + HINT_EVERY_MS);
      this.#ring.project(key.keyId, this.#hintAtMs);
    }
    const counted = this.#ledger.handOverPart("api", key.keyId, nowMs);
    return { key, generation: standing.generation, counted };
  }
}

/** What was handed over may not have arrived: then the branch takes what it does not know of for what is left. */
function certain(own: LedgerUsage, elsewhere: LedgerUsage): LedgerUsage {
  const unheardOf = elsewhere.quota.remaining - own.quota.remaining;
  if (unheardOf <= 0) return elsewhere;
  return { ...elsewhere, quota: own.quota, outstanding: elsewhere.outstanding + unheardOf };
}

/** Of a key whose requests a branch counts. */
export interface KeyAtBranch {
  readonly tenantId: TenantId;
  readonly keyId: string;
}

const nameOf = (tenantId: TenantId, keyId: string): BranchName => branchOf(tagOf(tenantId), keyId);
