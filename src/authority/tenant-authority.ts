/**
 * The truth about one tenant: its keys, its subscription, its limits and what it has used. One object a tenant,
 * named by `tagOf(tenantId)`. Isolates ask it for leases; operators change it; KV only mirrors it.
 */
import { DurableObject } from "cloudflare:workers";
import { steadyNowMs } from "../clock.ts";
import { readConfig } from "../config.ts";
import type { Subscription } from "../entitlement/subscription.ts";
import type { Env } from "../env.ts";
import type { LimitOverrides } from "../quota/policy.ts";
import { isIdentifier } from "./credential-record.ts";
import { claimDigest } from "./directory.ts";
import { Introspections, type Recorded } from "./introspections.ts";
import { lastAnswerRecord } from "./last-answer.ts";
import { type LeaseRule, Leases, UNKNOWN_SUBSCRIPTION } from "./leases.ts";
import { Ledger } from "./ledger.ts";
import { Outbox } from "./outbox.ts";
import {
  type ChangeReceipt,
  type Grant,
  type Hearing,
  type LeaseAsk,
  readTestimony,
  type Settlement,
  type Testimony,
} from "./protocol.ts";
import { type Key, Registry, recordOf } from "./registry.ts";
import { AUTHORITY_MIGRATIONS, migrate } from "./schema.ts";
import { isUnlinked, unlinkedIdOf } from "./unlinked.ts";

export interface TenantInput {
  readonly id: string;
  readonly name: string;
  readonly subscription?: Subscription;
  readonly limits?: LimitOverrides;
}

export interface KeyInput {
  readonly digest: string;
  readonly keyId: string;
  /** What it is a digest of; an API key where nothing is said. */
  readonly kind?: Key["kind"];
  readonly expiresAtMs?: number;
  readonly limits?: LimitOverrides;
}

export class TenantAuthority extends DurableObject<Env> {
  readonly #registry: Registry;
  readonly #leases: Leases;
  readonly #introspections: Introspections;
  readonly #outbox: Outbox;
  readonly #introspectionOutbox: Outbox;
  #rule: LeaseRule | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    migrate(ctx.storage, AUTHORITY_MIGRATIONS);
    this.#registry = new Registry(ctx.storage.sql);
    this.#introspections = new Introspections(ctx.storage.sql);
    this.#leases = new Leases(this.#registry, new Ledger(ctx.storage.sql), this.#introspections);
    this.#outbox = new Outbox(ctx.storage, "outbox", env.CREDENTIALS, steadyNowMs);
    this.#introspectionOutbox = new Outbox(
      ctx.storage,
      "introspection_outbox",
      env.INTROSPECTION,
      steadyNowMs,
    );
    // The runtime gives up on an alarm that keeps failing; what was left undone is taken up at the next wake-up.
    ctx.blockConcurrencyWhile(() => this.#arm());
  }

  /** Whether objects of this class can be reached and start. */
  ping(): void {}

  /** Decides one request. */
  lease(ask: LeaseAsk): Grant {
    // Read when it is first needed: a bad variable must not keep an operator's changes from being made and mirrored.
    this.#rule ??= leaseRule(this.env);
    return this.#leases.lease(ask, this.#rule, steadyNowMs());
  }

  settle(settlement: Settlement): void {
    this.#leases.settle(settlement, steadyNowMs());
  }

  /**
   * Takes down what was learnt about a credential. One that nobody owns becomes this tenant's when it is active; what
   * was said about an earlier state of things is ignored.
   */
  async testify(told: Testimony): Promise<Hearing> {
    const nowMs = steadyNowMs();
    const testimony = readTestimony(told, nowMs);
    const { tenantId, digest, kind, active, subscribed } = testimony;
    const owner = await this.#ownerOf(testimony);
    if (owner !== tenantId) return { counts: false, generation: 0, tenantId: owner };
    let recorded: Recorded = { counts: true, mirror: false, generation: testimony.generation };
    this.#transact(() => {
      if (this.#registry.key(digest) === null) this.#learn(tenantId, digest, kind);
      if (subscribed !== null) this.#recordSubscription(subscribed, nowMs);
      // That there is no subscription was heard in passing: nobody has failed to answer.
      if (active === null && subscribed !== null) return;
      recorded = this.#introspections.record(testimony, nowMs);
      if (recorded.mirror && kind === "oauth_token") this.#mirror(testimony, recorded.generation, nowMs);
    });
    await this.#arm();
    return { counts: recorded.counts, generation: recorded.generation, tenantId };
  }

  /** Creates the tenant, or changes its name, subscription and limits; what is left out stays as it was. */
  async putTenant(input: TenantInput): Promise<ChangeReceipt> {
    requireIdentifier("tenant id", input.id);
    if (isUnlinked(input.id))
      throw new Error('tenant ids that begin with "unlinked-" are the gateway\'s own');
    const existing = this.#registry.tenant();
    if (existing !== null && existing.id !== input.id) {
      throw new Error(`this authority belongs to tenant "${existing.id}", not "${input.id}"`);
    }
    this.#registry.putTenant({
      id: input.id,
      name: input.name,
      subscription: input.subscription ?? existing?.subscription ?? UNKNOWN_SUBSCRIPTION,
      limits: input.limits ?? existing?.limits ?? {},
      unsubscribedAtMs: input.subscription === undefined ? (existing?.unsubscribedAtMs ?? null) : null,
    });
    return this.#receipt();
  }

  /** Adds an API key or a token, or changes its expiry and limits. A revoked one stays revoked. */
  async putKey(input: KeyInput): Promise<ChangeReceipt> {
    requireIdentifier("key id", input.keyId);
    if (!/^[0-9a-f]{64}$/.test(input.digest)) throw new Error("a digest is 64 lower-case hex digits");
    const tenant = this.#registry.tenant();
    if (tenant === null) throw new Error("create the tenant before its keys");
    const owner = await claimDigest(this.env, input.digest, tenant.id);
    if (owner !== tenant.id) throw new Error(`this credential belongs to tenant "${owner}"`);
    const existing = this.#registry.key(input.digest);
    await this.#change({
      digest: input.digest,
      keyId: existing?.keyId ?? input.keyId,
      kind: input.kind ?? existing?.kind ?? "api_key",
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
      await Promise.all([this.#outbox.drain(), this.#introspectionOutbox.drain()]);
    } finally {
      await this.#arm();
    }
  }

  /** Id of the tenant that owns the credential; empty where nobody does and there is nothing to learn. */
  async #ownerOf({ tenantId, digest, active }: Testimony): Promise<string> {
    const tenant = this.#registry.tenant();
    const isOwn = tenant === null || tenant.id === tenantId;
    if (!isOwn) return "";
    if (this.#registry.key(digest) !== null) return tenantId;
    if (active !== true || (isUnlinked(tenantId) && tenantId !== unlinkedIdOf(digest))) return "";
    return claimDigest(this.env, digest, tenantId);
  }

  #learn(tenantId: string, digest: string, kind: Key["kind"]): void {
    if (this.#registry.tenant() === null) {
      this.#registry.putTenant({
        id: tenantId,
        name: tenantId,
        subscription: UNKNOWN_SUBSCRIPTION,
        limits: {},
        unsubscribedAtMs: null,
      });
    }
    const keyId = `learnt-${digest.slice(0, 16)}`;
    this.#putKey(tenantId, {
      digest,
      keyId,
      kind,
      state: "active",
      expiresAtMs: null,
      limits: {},
      generation: 1,
    });
  }

  /** Counts where no operator has said anything. */
  #recordSubscription(subscribed: boolean, nowMs: number): void {
    const tenant = this.#registry.tenant();
    if (tenant !== null) this.#registry.putTenant({ ...tenant, unsubscribedAtMs: subscribed ? null : nowMs });
  }

  #mirror({ tenantId, digest, active }: Testimony, generation: number, nowMs: number): void {
    this.#introspectionOutbox.enqueue({
      digest,
      record: lastAnswerRecord(tenantId, active === true, nowMs),
      generation,
      terminal: active !== true,
    });
  }

  /** The change and its projection are one transaction: neither exists without the other. */
  async #change(key: Key): Promise<void> {
    const tenant = this.#registry.tenant();
    if (tenant === null) throw new Error("create the tenant before its keys");
    this.#transact(() => this.#putKey(tenant.id, key));
    await this.#arm();
  }

  #transact(work: () => void): void {
    try {
      this.ctx.storage.transactionSync(work);
    } catch (error) {
      this.#registry.forget();
      throw error;
    }
  }

  #putKey(tenantId: string, key: Key): void {
    this.#registry.putKey(key);
    this.#outbox.enqueue({
      digest: key.digest,
      record: recordOf(tenantId, key),
      generation: key.generation,
      terminal: key.state === "revoked",
    });
  }

  /** Sets the alarm for the earliest write that is due. */
  async #arm(): Promise<void> {
    const due = [this.#outbox.dueAtMs(), this.#introspectionOutbox.dueAtMs()].filter((atMs) => atMs !== null);
    if (due.length > 0) await this.ctx.storage.setAlarm(Math.min(...due));
  }

  #receipt(): ChangeReceipt {
    return { effectiveBy: new Date(this.#leases.effectiveByMs(steadyNowMs())).toISOString() };
  }
}

function leaseRule(env: Env): LeaseRule {
  const result = readConfig(env);
  if (!result.ok) throw new Error(`${result.problem.variable} can't be used`);
  return result.config;
}

/** What could be written here but not read back from KV would be a key that never works. */
function requireIdentifier(what: string, value: string): void {
  if (isIdentifier(value)) return;
  throw new Error(`a ${what} is 1 to 64 of A-Z, a-z, 0-9, "_" and "-"; found ${JSON.stringify(value)}`);
}
