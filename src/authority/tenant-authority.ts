/**
 * The truth about one tenant: its keys, its subscription, its limits and what it has used. One object a tenant,
 * named by `tagOf(tenantId)`. Isolates ask it for leases; operators change it; KV only mirrors it.
 */
import { DurableObject } from "cloudflare:workers";
import { steadyNowMs } from "../clock.ts";
import { type Config, readConfig } from "../config.ts";
import { digestOf } from "../credential/credential.ts";
import type { Scope } from "../entitlement/scopes.ts";
import type { Subscription } from "../entitlement/subscription.ts";
import type { Env } from "../env.ts";
import { mintGatewayKey } from "../gateway-key/format.ts";
import type { LimitOverrides, Policy } from "../quota/policy.ts";
import { within } from "../timeout.ts";
import {
  Administration,
  cannot,
  done,
  type Failure,
  type Outcome,
  type Replay,
  type TenantPatch,
} from "./administration.ts";
import { Audit, type By, type NumberedEntry } from "./audit.ts";
import { Branch } from "./branch.ts";
import type { BranchName } from "./branch-name.ts";
import { Branches, type KeyAtBranch } from "./branches.ts";
import { claim, confirm, DirectoryUnavailable, directoryMirror } from "./claims.ts";
import { authorityOf } from "./find-authority.ts";
import { hostKey, isHostKey, nameIn } from "./host-names.ts";
import { type ImportLine, type ImportResult, ImportWriter } from "./import-writer.ts";
import { Importing } from "./importing.ts";
import { Introspections, type Recorded } from "./introspections.ts";
import { type KeyPatch, KeyRing, type KeyWish } from "./key-ring.ts";
import { lastAnswerRecord } from "./last-answer.ts";
import { type LeaseRule, Leases } from "./leases.ts";
import { Ledger, type LedgerUsage } from "./ledger.ts";
import { type Handing, Linking, type Want } from "./linking.ts";
import { OriginKeys } from "./origin-key.ts";
import { Outbox } from "./outbox.ts";
import {
  type ChangeReceipt,
  type Grant,
  type Hearing,
  type LeaseAsk,
  readTestimony,
  type Settlement,
  type Testimony,
  type Trust,
  type TrustAsk,
} from "./protocol.ts";
import { type Key, newKey, newTenant, Registry } from "./registry.ts";
import { AUTHORITY_MIGRATIONS, migrate } from "./schema.ts";
import { tagOf } from "./tag.ts";
import { Teller } from "./teller.ts";
import { digestIn, isIdentifier, isUnlinked, type TenantId, unlinkedIdOf } from "./tenant-id.ts";
import { type KeyView, type Self, type TenantView, timeOf, type Usage, viewOfTenant } from "./views.ts";

export interface TenantInput {
  readonly id: TenantId;
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

/** What was done, and from when on no isolate admits on what was true before. */
export type Effect<T> = ({ readonly ok: true; readonly value: T } & ChangeReceipt) | Failure;

export interface ImportedKey {
  readonly type: "api_key" | "token";
  readonly digest: string;
  readonly keyId: string;
  readonly name: string;
  readonly expiresAt: string | null;
  readonly apiPerMinute: number | null;
  readonly scopes: readonly Scope[];
  readonly allowedNetworks: readonly string[];
  readonly disabled: boolean;
}

export class TenantAuthority extends DurableObject<Env> {
  readonly #registry: Registry;
  readonly #ledger: Ledger;
  readonly #leases: Leases;
  readonly #branches: Branches;
  /** What this object is where it is another one's branch. */
  readonly #branch: Branch;
  readonly #introspections: Introspections;
  readonly #outbox: Outbox;
  readonly #introspectionOutbox: Outbox;
  readonly #directoryOutbox: Outbox;
  readonly #originKeys: OriginKeys;
  readonly #audit: Audit;
  readonly #teller: Teller;
  readonly #ring: KeyRing;
  readonly #administration: Administration;
  readonly #linking: Linking;
  readonly #importing: Importing;
  #configuration: Config | null = null;
  #hostChanges: Promise<unknown> = Promise.resolve();

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    migrate(ctx.storage, AUTHORITY_MIGRATIONS);
    const { sql } = ctx.storage;
    this.#registry = new Registry(sql);
    this.#introspections = new Introspections(sql);
    this.#originKeys = new OriginKeys(this.#registry);
    this.#audit = new Audit(sql);
    this.#teller = new Teller(env, this.#registry, this.#audit, steadyNowMs);
    this.#ledger = new Ledger(sql);
    this.#leases = new Leases(this.#registry, this.#ledger, this.#introspections, this.#originKeys);
    this.#outbox = new Outbox(ctx.storage, "outbox", env.CREDENTIALS, steadyNowMs);
    this.#ring = new KeyRing(this.#registry, this.#outbox);
    this.#branches = new Branches(
      env,
      this.#registry,
      this.#ledger,
      this.#introspections,
      this.#originKeys,
      this.#ring,
    );
    this.#branch = new Branch(env, this.#ledger);
    this.#introspectionOutbox = new Outbox(
      ctx.storage,
      "introspection_outbox",
      env.INTROSPECTION,
      steadyNowMs,
    );
    this.#directoryOutbox = new Outbox(ctx.storage, "directory_outbox", directoryMirror(env), steadyNowMs);
    this.#administration = new Administration(
      sql,
      this.#registry,
      this.#ring,
      this.#audit,
      this.#directoryOutbox,
    );
    this.#linking = new Linking(
      this.#registry,
      this.#ledger,
      this.#introspections,
      this.#outbox,
      this.#audit,
    );
    this.#importing = new Importing(env, {
      registry: this.#registry,
      writer: new ImportWriter(
        this.#registry,
        this.#originKeys,
        this.#ring,
        this.#linking,
        this.#directoryOutbox,
      ),
      linking: this.#linking,
      audit: this.#audit,
      nowMs: steadyNowMs,
      commit: (work) => this.#commit(work),
      confirm: (digest, tenantId) => this.#confirm(digest, tenantId),
    });
    // The runtime gives up on an alarm that keeps failing; what was left undone is taken up at the next wake-up.
    ctx.blockConcurrencyWhile(() => this.#arm());
  }

  /** Whether objects of this class can be reached and start. */
  ping(): void {}

  /** Decides one request. */
  lease(ask: LeaseAsk): Grant | Promise<Grant> {
    const rule = this.#config();
    this.#branches.noteCall(rule, steadyNowMs());
    return this.#lease(ask, rule);
  }

  /** An answer for each ask, in their order; null where there is none in time. */
  leaseAll(asks: readonly LeaseAsk[]): Promise<readonly (Grant | null)[]> {
    const rule = this.#config();
    this.#branches.noteCall(rule, steadyNowMs());
    return answersTo(asks, (ask) => this.#lease(ask, rule), rule);
  }

  /** What a lease would answer, and nothing counted. */
  look(ask: Omit<LeaseAsk, "nonce">): Grant | Promise<Grant> {
    const rule = this.#config();
    const grant = this.#leases.look(ask, rule, steadyNowMs());
    const key = keyAtBranch(grant);
    return key === null ? grant : this.#branches.look(key, ask, rule);
  }

  /** What the branch that asks may decide on; null where there is nothing to entrust. */
  entrust(ask: TrustAsk): Promise<Trust | null> {
    return this.#commit(() => this.#branches.entrust(ask, this.#config(), steadyNowMs()));
  }

  /** As a branch of another object: `name` says of which, and is the name of this one. */
  leaseAtBranch(name: BranchName, ask: LeaseAsk): Promise<Grant> {
    return this.#branch.lease(name, ask, this.#config());
  }

  leaseAllAtBranch(name: BranchName, asks: readonly LeaseAsk[]): Promise<readonly (Grant | null)[]> {
    return answersTo(asks, (ask) => this.leaseAtBranch(name, ask), this.#config());
  }

  lookAtBranch(name: BranchName, ask: Omit<LeaseAsk, "nonce">): Promise<Grant> {
    return this.#branch.look(name, ask, this.#config());
  }

  /** In the order in which it was asked. */
  usageAtBranch(asked: readonly { readonly keyId: string; readonly policy: Policy }[]): LedgerUsage[] {
    const nowMs = steadyNowMs();
    return asked.map(({ keyId, policy }) => this.#ledger.usage(policy, keyId, nowMs));
  }

  /** Whether the tenant has this host name; or this credential, in whatever state, or has had it. `name`: as in the directory. */
  has(name: string): boolean {
    const tenant = this.#registry.tenant();
    if (isHostKey(name)) return tenant?.allowedHosts.includes(nameIn(name)) ?? false;
    return this.#registry.key(name) !== null || tenant?.status === "moved";
  }

  async settle(settlement: Settlement): Promise<void> {
    const successor = await this.#successor();
    if (successor !== null) return authorityOf(this.env, successor).settle(settlement);
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
    const successor = await this.#successor();
    if (successor !== null) {
      return authorityOf(this.env, successor).testify({ ...told, tenantId: successor });
    }
    if (owner !== tenantId) return { counts: false, generation: 0, tenantId: owner };
    const isNew = this.#registry.key(digest) === null;
    let recorded: Recorded = {
      counts: true,
      flipped: false,
      mirror: false,
      generation: testimony.generation,
    };
    await this.#commit(() => {
      if (this.#registry.key(digest) === null) this.#learn(tenantId, digest, kind);
      if (subscribed !== null) this.#recordSubscription(subscribed, nowMs);
      // That there is no subscription was heard in passing: nobody has failed to answer.
      if (active === null && subscribed !== null) return;
      recorded = this.#introspections.record(testimony, nowMs);
      if (recorded.flipped) this.#registry.touch();
      if (recorded.mirror && kind === "oauth_token") this.#mirror(testimony, nowMs);
    });
    if (isNew) await this.#confirm(digest, tenantId);
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
    if (existing?.status === "deleted") throw new Error(`tenant "${input.id}" was deleted`);
    const nowMs = steadyNowMs();
    const tenant = existing ?? newTenant(input.id, input.name, nowMs);
    const put = {
      ...tenant,
      name: input.name,
      subscription: input.subscription ?? tenant.subscription,
      limits: input.limits ?? tenant.limits,
      unsubscribedAtMs: input.subscription === undefined ? tenant.unsubscribedAtMs : null,
    };
    if (existing !== null && JSON.stringify(put) === JSON.stringify(existing)) return this.#receipt();
    await this.#commit(() => {
      this.#registry.putTenant({ ...put, version: existing === null ? 1 : tenant.version + 1 });
      const [before, after] = [existing && viewOfTenant(existing), viewOfTenant(put)];
      const by = { actor: "worker", nowMs };
      this.#audit.record(by, { action: "tenant.put", tenantId: input.id, keyId: null, before, after });
    });
    await this.#tell();
    return this.#receipt();
  }

  /** Adds an API key or a token, or changes its expiry and limits. A revoked one stays revoked. */
  async putKey(input: KeyInput): Promise<ChangeReceipt> {
    requireIdentifier("key id", input.keyId);
    if (!/^[0-9a-f]{64}$/.test(input.digest)) throw new Error("a digest is 64 lower-case hex digits");
    const tenant = this.#registry.tenant();
    if (tenant?.status !== "active") throw new Error("create the tenant before its keys");
    if (this.#registry.secretsOf(input.keyId).some(({ digest }) => digest !== input.digest))
      throw new Error(`the key id "${input.keyId}" is another key's`);
    const owner = await claim(this.env, input.digest, tenant.id);
    if (this.#registry.tenant()?.status !== "active") throw new Error("the tenant was deleted");
    if (owner !== tenant.id) throw new Error(`this credential belongs to tenant "${owner}"`);
    const existing = this.#registry.key(input.digest);
    await this.#commit(() =>
      this.#ring.put({
        ...(existing ?? newKey(input.digest, input.keyId, steadyNowMs())),
        kind: input.kind ?? existing?.kind ?? "api_key",
        expiresAtMs: input.expiresAtMs ?? existing?.expiresAtMs ?? null,
        limits: input.limits ?? existing?.limits ?? {},
        generation: (existing?.generation ?? 0) + 1,
      }),
    );
    await this.#confirm(input.digest, tenant.id);
    return this.#receipt();
  }

  /** Takes what an operator brings along, line by line; a line that is rejected keeps none of the others out. */
  async import(tenantId: TenantId, lines: readonly ImportLine[], actor: string): Promise<ImportResult[]> {
    const { sealingKeys } = this.#config();
    const results = await this.#importing.take(tenantId, lines, sealingKeys, { actor, nowMs: steadyNowMs() });
    if (this.#registry.tenant() !== null) await this.#tell();
    return results;
  }

  /** Lets go of a credential that was a tenant of its own; the one that asks takes it over. */
  async handOver(want: Want, actor: string): Promise<Handing> {
    this.#teller.wake();
    return this.#commit(() => this.#linking.handOver(want, { actor, nowMs: steadyNowMs() }));
  }

  /** What of its keys could be imported, in the order of their digests; `after`: what the last page ended with. */
  imported(after: string, limit: number): ImportedKey[] {
    return this.#registry.pageOfDigests(after, limit).map((key) => ({
      type: key.kind === "oauth_token" ? "token" : "api_key",
      digest: key.digest,
      keyId: key.keyId,
      name: key.name,
      expiresAt: timeOf(key.expiresAtMs),
      apiPerMinute: key.limits.apiPerMinute ?? null,
      scopes: key.scopes ?? ["*"],
      allowedNetworks: key.allowedNetworks,
      disabled: key.state !== "active",
    }));
  }

  /** Terminal: leaves a tombstone here and in KV. Revoking twice changes nothing. */
  async revokeKey(digest: string): Promise<ChangeReceipt> {
    const existing = this.#registry.key(digest);
    if (existing === null) throw new Error("this tenant has no key with that digest");
    if (existing.state !== "revoked") {
      await this.#commit(() =>
        this.#ring.put({ ...existing, state: "revoked", generation: existing.generation + 1 }),
      );
    }
    return this.#receipt();
  }

  async createTenant(id: TenantId, name: string, actor: string): Promise<Outcome<TenantView>> {
    return this.#administer(actor, (by) => this.#administration.createTenant(id, name, by));
  }

  tenant(): Outcome<TenantView> {
    return this.#administration.tenant();
  }

  async changeTenant(patch: TenantPatch, version: number | null, actor: string): Promise<Effect<TenantView>> {
    const change = async () => {
      const failure = await this.#claimHosts(patch.allowedHosts ?? []);
      if (failure !== null) return failure;
      const changed = this.#administer(actor, (by) => this.#administration.changeTenant(patch, version, by));
      return this.#effect(await changed);
    };
    if (patch.allowedHosts === undefined) return change();
    // One after the other: what is claimed for one must not be let go of by another meanwhile.
    const mine = this.#hostChanges.then(change);
    this.#hostChanges = mine.catch(() => {});
    return mine;
  }

  async setSubscription(
    subscription: Subscription,
    tier: string | null,
    actor: string,
  ): Promise<Effect<TenantView>> {
    return this.#effect(
      await this.#administer(actor, (by) => this.#administration.setSubscription(subscription, tier, by)),
    );
  }

  /** `secret`: the tenant's Postiz key, which never leaves again but to Postiz. */
  async setOriginKey(secret: string, actor: string): Promise<Effect<TenantView>> {
    const { sealingKeys } = this.#config();
    if (sealingKeys === null)
      return cannot("config_invalid", "SEALING_KEY is not set: nothing can be sealed");
    return this.#effect(
      await this.#administer(actor, (by) => this.#administration.setOriginKey(secret, sealingKeys, by)),
    );
  }

  async deleteTenant(version: number | null, actor: string): Promise<Effect<TenantView>> {
    return this.#effect(
      await this.#administer(actor, (by) => this.#administration.deleteTenant(version, by)),
    );
  }

  /** Whether the tenant's Postiz key is now sealed under the current key; null where there is none. */
  reseal(): boolean | null {
    const found = this.#originKeys.open(this.#config().sealingKeys);
    return found.is === "missing" ? null : found.is === "here";
  }

  /** `secret`: of the new key; absent where the answer repeats an earlier one. */
  async issueKey(
    wish: KeyWish,
    replay: Replay | null,
    actor: string,
  ): Promise<Outcome<{ readonly key: KeyView; readonly secret: string | null }>> {
    const { macSecrets } = this.#config();
    if (macSecrets === null)
      return cannot("config_invalid", "KEY_MAC_SECRET is not set: no keys can be made");
    const tenant = this.#administration.tenant();
    if (!tenant.ok) return tenant;
    const before = this.#replayed(replay);
    if (before !== null) return before;
    const secret = mintGatewayKey(tagOf(tenant.value.id), macSecrets);
    try {
      await claim(this.env, digestOf(secret), tenant.value.id);
    } catch (error) {
      return unavailable(error);
    }
    // The same creation may have been asked for a second time meanwhile.
    const meanwhile = this.#replayed(replay);
    if (meanwhile !== null) return meanwhile;
    const key = await this.#administer(actor, (by) =>
      this.#administration.issueKey(secret, wish, replay, by),
    );
    if (!key.ok) return key;
    await this.#confirm(digestOf(secret), tenant.value.id);
    return done({ key: key.value, secret });
  }

  key(keyId: string): Outcome<KeyView> {
    return this.#administration.key(keyId, steadyNowMs());
  }

  /** In the order of their ids; `after`: the id that the last page ended with. */
  keys(after: string, limit: number): Outcome<KeyView[]> {
    const tenant = this.#administration.tenant();
    return tenant.ok ? done(this.#administration.keys(after, limit, steadyNowMs())) : tenant;
  }

  async changeKey(
    keyId: string,
    patch: KeyPatch,
    version: number | null,
    actor: string,
  ): Promise<Effect<KeyView>> {
    return this.#effect(
      await this.#administer(actor, (by) => this.#administration.changeKey(keyId, patch, version, by)),
    );
  }

  async enableKey(keyId: string, enabled: boolean, actor: string): Promise<Effect<KeyView>> {
    return this.#effect(
      await this.#administer(actor, (by) => this.#administration.enableKey(keyId, enabled, by)),
    );
  }

  /** The old secret works for `graceMs` yet; `effectiveBy` is when it is refused everywhere. */
  async rotateKey(
    keyId: string,
    graceMs: number,
    actor: string,
  ): Promise<Effect<KeyView> & { readonly secret?: string }> {
    const { macSecrets } = this.#config();
    if (macSecrets === null)
      return cannot("config_invalid", "KEY_MAC_SECRET is not set: no keys can be made");
    const tenant = this.#administration.tenant();
    if (!tenant.ok) return tenant;
    const known = this.#administration.key(keyId, steadyNowMs());
    if (!known.ok) return known;
    const secret = mintGatewayKey(tagOf(tenant.value.id), macSecrets);
    try {
      await claim(this.env, digestOf(secret), tenant.value.id);
    } catch (error) {
      return unavailable(error);
    }
    const rotated = await this.#administer(actor, (by) =>
      this.#administration.rotateKey(keyId, secret, graceMs, by),
    );
    if (!rotated.ok) return rotated;
    await this.#confirm(digestOf(secret), tenant.value.id);
    return { ...this.#effect(rotated, graceMs), secret };
  }

  async revokeKeyById(keyId: string, actor: string): Promise<Effect<KeyView>> {
    return this.#effect(await this.#administer(actor, (by) => this.#administration.revokeKey(keyId, by)));
  }

  async revokeAllKeys(actor: string): Promise<Effect<TenantView>> {
    return this.#effect(await this.#administer(actor, (by) => this.#administration.revokeAll(by)));
  }

  /** What is known about a token counts no more: it has to be introspected anew. */
  async forgetToken(digest: string): Promise<ChangeReceipt> {
    const successor = await this.#successor();
    if (successor !== null) return authorityOf(this.env, successor).forgetToken(digest);
    const tenant = this.#registry.tenant();
    this.#transact(() => {
      if (tenant === null || !this.#introspections.forget(digest)) return;
      this.#registry.touch();
      const record = lastAnswerRecord(tenant.id, false, steadyNowMs());
      this.#introspectionOutbox.enqueue({ name: digest, record, twice: true });
    });
    return this.#receipt();
  }

  /** What is left of the limits; `digest`: of one key only. */
  async usage(digest: string | null): Promise<Outcome<Usage>> {
    const rule = this.#config();
    const elsewhere = await this.#branches.usage(this.#administration.usedKeys(digest), rule);
    return this.#administration.usage(digest, rule, this.#leases, elsewhere, steadyNowMs());
  }

  /** What the holder of a key may know of its tenant. */
  self(digest: string): Outcome<Self> {
    return this.#administration.self(digest, steadyNowMs());
  }

  /** The newest first; it is there also when the tenant is not any more. */
  audit(before: number, limit: number): NumberedEntry[] {
    return this.#audit.page(before, limit);
  }

  override async alarm(): Promise<void> {
    try {
      const outboxes = [this.#outbox, this.#introspectionOutbox, this.#directoryOutbox];
      await Promise.all([...outboxes.map((outbox) => outbox.drain()), this.#tell()]);
    } finally {
      await this.#arm();
    }
  }

  #lease(ask: LeaseAsk, rule: LeaseRule): Grant | Promise<Grant> {
    const grant = this.#leases.lease(ask, rule, steadyNowMs());
    const key = ask.canBranch === true ? null : keyAtBranch(grant);
    return key === null ? grant : this.#branches.lease(key, ask, rule);
  }

  /** What is in the way; null where all of them are this tenant's from now on. */
  async #claimHosts(hosts: readonly string[]): Promise<Failure | null> {
    const tenant = this.#registry.tenant();
    if (tenant?.status !== "active") return null;
    const leaving = hosts.find(
      (host) => !tenant.allowedHosts.includes(host) && this.#directoryOutbox.holds(hostKey(host)),
    );
    if (leaving !== undefined) {
      return cannot("not_possible", `The host name "${leaving}" is being let go of: ask again in a second`);
    }
    try {
      const owners = await Promise.all(hosts.map((host) => claim(this.env, hostKey(host), tenant.id)));
      const anothers = hosts.find((_, i) => owners[i] !== tenant.id);
      if (anothers === undefined) return null;
      return cannot("not_possible", `The host name "${anothers}" is another tenant's`);
    } catch (error) {
      return unavailable(error);
    }
  }

  /** The tenant that has taken its credential over; until it has, what is heard of that is written down here. */
  async #successor(): Promise<TenantId | null> {
    const tenant = this.#registry.tenant();
    if (tenant === null || tenant.movedTo === null) return null;
    const isThere = await authorityOf(this.env, tenant.movedTo).has(digestIn(tenant.id));
    return isThere ? tenant.movedTo : null;
  }

  /** Id of the tenant that owns the credential; empty where nobody does and there is nothing to learn. */
  async #ownerOf({ tenantId, digest, active }: Testimony): Promise<TenantId | ""> {
    const tenant = this.#registry.tenant();
    const isOwn = tenant === null || (tenant.id === tenantId && tenant.status !== "deleted");
    if (!isOwn) return "";
    if (this.#registry.key(digest) !== null) return tenantId;
    if (tenant?.status === "moved") return "";
    if (active !== true || (isUnlinked(tenantId) && tenantId !== unlinkedIdOf(digest))) return "";
    return claim(this.env, digest, tenantId);
  }

  #learn(tenantId: TenantId, digest: string, kind: Key["kind"]): void {
    const nowMs = steadyNowMs();
    if (this.#registry.tenant() === null) this.#registry.putTenant(newTenant(tenantId, tenantId, nowMs));
    this.#ring.put({ ...newKey(digest, `learnt-${digest.slice(0, 16)}`, nowMs), kind });
  }

  /** Counts where no operator has said anything. */
  #recordSubscription(subscribed: boolean, nowMs: number): void {
    const tenant = this.#registry.tenant();
    if (tenant === null || (subscribed && tenant.unsubscribedAtMs === null)) return;
    this.#registry.putTenant({ ...tenant, unsubscribedAtMs: subscribed ? null : nowMs });
  }

  #mirror({ tenantId, digest, active }: Testimony, nowMs: number): void {
    this.#introspectionOutbox.enqueue({
      name: digest,
      record: lastAnswerRecord(tenantId, active === true, nowMs),
      twice: active !== true,
    });
  }

  /** The change and its projection are one transaction: neither exists without the other. */
  async #commit<T>(work: () => T): Promise<T> {
    const result = this.#transact(work);
    await this.#arm();
    return result;
  }

  #transact<T>(work: () => T): T {
    try {
      return this.ctx.storage.transactionSync(work);
    } catch (error) {
      this.#registry.forget();
      this.#ledger.forget();
      throw error;
    }
  }

  /** One operator's change: all of it, or nothing and why. */
  async #administer<T>(actor: string, work: (by: By) => Outcome<T>): Promise<Outcome<T>> {
    const outcome = await this.#commit(() => work({ actor, nowMs: steadyNowMs() }));
    await this.#tell();
    return outcome;
  }

  #effect<T>(outcome: Outcome<T>, graceMs = 0): Effect<T> {
    if (!outcome.ok) return outcome;
    return { ...outcome, ...this.#receipt(graceMs) };
  }

  /** The answer to a creation that was asked for before; null where this is the first time. */
  #replayed(
    replay: Replay | null,
  ): Outcome<{ readonly key: KeyView; readonly secret: string | null }> | null {
    if (replay === null) return null;
    const nowMs = steadyNowMs();
    const keyId = this.#administration.replayed(replay, nowMs);
    if (!keyId.ok) return keyId;
    if (keyId.value === null) return null;
    const key = this.#administration.key(keyId.value, nowMs);
    return key.ok ? done({ key: key.value, secret: null }) : key;
  }

  /** A credential that is another's after all is not this tenant's, and KV is not to hear of it from here. */
  async #confirm(digest: string, tenantId: TenantId): Promise<void> {
    if (await confirm(this.env, digest, tenantId)) return;
    this.#transact(() => {
      this.#registry.dropKey(digest);
      this.#outbox.drop(digest);
    });
  }

  async #tell(): Promise<void> {
    await this.#teller.tell();
    await this.#arm();
  }

  /** Sets the alarm for the earliest write that is due. */
  async #arm(): Promise<void> {
    const waiting = [this.#outbox, this.#introspectionOutbox, this.#directoryOutbox, this.#teller];
    const due = waiting.map((each) => each.dueAtMs()).filter((atMs) => atMs !== null);
    if (due.length > 0) await this.ctx.storage.setAlarm(Math.min(...due));
  }

  #receipt(graceMs = 0): ChangeReceipt {
    const nowMs = steadyNowMs();
    const time = (atMs: number) => new Date(Math.max(atMs, nowMs + graceMs)).toISOString();
    const degradedUntilMs = this.#leases.degradedUntilMs(this.#config());
    return {
      effectiveBy: time(this.#leases.effectiveByMs()),
      ...(degradedUntilMs !== null && { degradedUntil: time(degradedUntilMs) }),
    };
  }

  /** Read when it is first needed: a bad variable must not keep an operator's changes from being made and mirrored. */
  #config(): Config {
    if (this.#configuration !== null) return this.#configuration;
    const result = readConfig(this.env);
    if (!result.ok) throw new Error(`${result.problem.variable} can't be used`);
    this.#configuration = result.config;
    return result.config;
  }
}

/** Of which a branch is to be asked; null where the answer is final. */
function keyAtBranch({ verdict, tenantId, keyId }: Grant): KeyAtBranch | null {
  return verdict === "elsewhere" && tenantId !== undefined ? { tenantId, keyId } : null;
}

/** Those that have to be waited for get half of the time that whoever asked for all of them waits. */
function answersTo(
  asks: readonly LeaseAsk[],
  answer: (ask: LeaseAsk) => Grant | Promise<Grant>,
  { authorityTimeoutMs }: LeaseRule,
): Promise<readonly (Grant | null)[]> {
  const answers = asks.map(async (ask) => {
    try {
      return await within(authorityTimeoutMs / 2, Promise.resolve(answer(ask)));
    } catch (error) {
      console.error(JSON.stringify({ event: "lease_failed", error: String(error) }));
      return null;
    }
  });
  return Promise.all(answers);
}

function unavailable(error: unknown): Failure {
  if (!(error instanceof DirectoryUnavailable)) throw error;
  return cannot("directory_unavailable", "Nothing was changed");
}

/** What could be written here but not read back from KV would be a key that never works. */
function requireIdentifier(what: string, value: string): void {
  if (isIdentifier(value)) return;
  throw new Error(`a ${what} is 1 to 64 of A-Z, a-z, 0-9, "_" and "-"; found ${JSON.stringify(value)}`);
}
