/**
 * The truth about one tenant: its keys, its subscription, its limits and what it has used. One object a tenant,
 * named by `tagOf(tenantId)`. Isolates ask it for leases; operators change it; KV only mirrors it.
 */
import { DurableObject } from "cloudflare:workers";
import { type Config, readConfig } from "../config.ts";
import { isEntitled, type Subscription } from "../entitlement/subscription.ts";
import type { Env } from "../env.ts";
import { type LimitOverrides, policyFor } from "../quota/policy.ts";
import { isIdentifier } from "./credential-record.ts";
import { Ledger } from "./ledger.ts";
import { Outbox } from "./outbox.ts";
import {
  type ChangeReceipt,
  CLOCK_MARGIN_MS,
  type Grant,
  type LeaseAsk,
  type LeaseRefusal,
  PROTOCOL_VERSION,
  type Settlement,
} from "./protocol.ts";
import { type Key, Registry, recordOf, type Tenant } from "./registry.ts";
import { migrate } from "./schema.ts";

export interface TenantInput {
  readonly id: string;
  readonly name: string;
  readonly subscription?: Subscription;
  readonly limits?: LimitOverrides;
}

export interface KeyInput {
  readonly digest: string;
  readonly keyId: string;
  readonly expiresAtMs?: number;
  readonly limits?: LimitOverrides;
}

const UNKNOWN_SUBSCRIPTION: Subscription = { status: "unknown", currentPeriodEndMs: null };

export class TenantAuthority extends DurableObject<Env> {
  readonly #registry: Registry;
  readonly #ledger: Ledger;
  readonly #outbox: Outbox;
  readonly #config: Config;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    const config = readConfig(env);
    if (!config.ok) throw new Error(`configuration: ${config.problem.variable}`);
    this.#config = config.config;
    migrate(ctx.storage);
    this.#registry = new Registry(ctx.storage.sql);
    this.#ledger = new Ledger(ctx.storage.sql);
    this.#outbox = new Outbox(ctx.storage, env.CREDENTIALS);
  }

  /** Whether objects of this class can be reached and start. */
  ping(): void {}

  /** Decides one request. Synchronous throughout, so no other ask comes in between. */
  lease(ask: LeaseAsk): Grant {
    const nowMs = Date.now();
    const tenant = this.#registry.tenant();
    const key = tenant?.id === ask.tenantId ? this.#registry.key(ask.digest) : null;
    if (tenant === null || key === null) return refusal("key_unknown", "", UNKNOWN_SUBSCRIPTION);
    const unusable = keyRefusal(key, nowMs);
    if (unusable !== null) return refusal(unusable, key.keyId, tenant.subscription);
    if (!isEntitled(tenant.subscription, this.#config, nowMs)) {
      return refusal("subscription_inactive", key.keyId, tenant.subscription);
    }
    return this.#grantToken(ask, tenant, key, nowMs);
  }

  #grantToken(ask: LeaseAsk, tenant: Tenant, key: Key, nowMs: number): Grant {
    const { authorityTimeoutMs } = this.#config;
    const usableUntilMs = nowMs + authorityTimeoutMs;
    const { granted, quota } = this.#ledger.take(
      {
        nonce: ask.nonce,
        policy: policyFor(ask.policy, this.#config, tenant.limits, key.limits),
        partition: ask.policy === "posts" ? "" : key.keyId,
        usableUntilMs,
        // Only `posts` is settled. Postiz counts such a request when it has read it, which may be any time until
        // it answers; the other limits are the gateway's own and count from when the gateway admits.
        reachesOriginUntilMs: ask.policy === "posts" ? usableUntilMs + ask.settleWithinMs : usableUntilMs,
      },
      nowMs,
    );
    return {
      v: PROTOCOL_VERSION,
      verdict: granted ? "granted" : "rate_limited",
      keyId: key.keyId,
      subscription: tenant.subscription,
      tokens: granted ? 1 : 0,
      quota,
      usableForMs: authorityTimeoutMs,
    };
  }

  /** What became of a `posts` token. */
  settle(settlement: Settlement): void {
    const nowMs = Date.now();
    const { windowSeconds } = policyFor("posts", this.#config, {}, {});
    this.#ledger.settle(settlement.nonce, windowSeconds, nowMs);
    if (settlement.originRetryAfterSeconds !== undefined) {
      this.#ledger.block("posts", nowMs + settlement.originRetryAfterSeconds * 1_000);
    }
  }

  /** Creates the tenant, or changes its name, subscription and limits; what is left out stays as it was. */
  async putTenant(input: TenantInput): Promise<ChangeReceipt> {
    requireIdentifier("tenant id", input.id);
    const existing = this.#registry.tenant();
    if (existing !== null && existing.id !== input.id) {
      throw new Error(`this authority belongs to tenant "${existing.id}", not "${input.id}"`);
    }
    this.#registry.putTenant({
      id: input.id,
      name: input.name,
      subscription: input.subscription ?? existing?.subscription ?? UNKNOWN_SUBSCRIPTION,
      limits: input.limits ?? existing?.limits ?? {},
    });
    return this.#receipt();
  }

  /** Adds an API key, or changes its expiry and limits. A revoked key stays revoked. */
  async putKey(input: KeyInput): Promise<ChangeReceipt> {
    requireIdentifier("key id", input.keyId);
    if (!/^[0-9a-f]{64}$/.test(input.digest)) throw new Error("a digest is 64 lower-case hex digits");
    const existing = this.#registry.key(input.digest);
    await this.#change({
      digest: input.digest,
      keyId: existing?.keyId ?? input.keyId,
      kind: "api_key",
      state: existing?.state ?? "active",
      expiresAtMs: input.expiresAtMs ?? existing?.expiresAtMs ?? null,
      limits: input.limits ?? existing?.limits ?? {},
      generation: (existing?.generation ?? 0) + 1,
    });
    return this.#receipt();
  }

  /** Terminal: leaves a tombstone here and in KV. Revoking twice changes nothing. */
  async revokeKey(digest: string): Promise<ChangeReceipt> {
    const existing = this.#registry.key(digest);
    if (existing === null) throw new Error("this tenant has no key with that digest");
    if (existing.state !== "revoked") {
      await this.#change({ ...existing, state: "revoked", generation: existing.generation + 1 });
    }
    return this.#receipt();
  }

  override async alarm(): Promise<void> {
    try {
      await this.#outbox.drain(Date.now());
    } finally {
      await this.#outbox.arm();
    }
  }

  /** The change and its projection are one transaction: neither exists without the other. */
  async #change(key: Key): Promise<void> {
    const tenant = this.#registry.tenant();
    if (tenant === null) throw new Error("create the tenant before its keys");
    this.ctx.storage.transactionSync(() => {
      this.#registry.putKey(key);
      this.#outbox.enqueue(key.digest, recordOf(tenant.id, key), Date.now());
    });
    await this.#outbox.arm();
  }

  #receipt(): ChangeReceipt {
    const latestMs = this.#ledger.latestDeadlineMs();
    const nowMs = Date.now();
    const effectiveMs = latestMs > nowMs - CLOCK_MARGIN_MS ? latestMs + CLOCK_MARGIN_MS : nowMs;
    return { effectiveBy: new Date(effectiveMs).toISOString() };
  }
}

/** What could be written here but not read back from KV would be a key that never works. */
function requireIdentifier(what: string, value: string): void {
  if (isIdentifier(value)) return;
  throw new Error(`a ${what} is 1 to 64 of A-Z, a-z, 0-9, "_" and "-"; found ${JSON.stringify(value)}`);
}

function keyRefusal(key: Key, nowMs: number): LeaseRefusal | null {
  if (key.state === "revoked") return "key_revoked";
  if (key.state === "disabled") return "key_disabled";
  if (key.expiresAtMs !== null && nowMs >= key.expiresAtMs) return "key_expired";
  return null;
}

/** Nothing was counted. */
function refusal(verdict: LeaseRefusal, keyId: string, subscription: Subscription): Grant {
  return { v: PROTOCOL_VERSION, verdict, keyId, subscription, tokens: 0, quota: null, usableForMs: 0 };
}
