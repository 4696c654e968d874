/**
 * The life of a tenant's keys: issued, changed, rotated, disabled, revoked. Synchronous; called inside the transaction
 * that also holds the projection and the audit.
 */
import { nanoid } from "nanoid";
import { base62 } from "../base62.ts";
import { digestOf } from "../credential/credential.ts";
import type { Scope } from "../entitlement/scopes.ts";
import { hintOf } from "../gateway-key/format.ts";
import type { Outbox } from "./outbox.ts";
import { type Key, type Registry, recordOf } from "./registry.ts";

/** What an operator says about a new key. */
export interface KeyWish {
  readonly name: string;
  readonly scopes: readonly Scope[];
  readonly expiresAtMs: number | null;
  /** In CIDR notation. */
  readonly allowedNetworks: readonly string[];
  readonly apiPerMinute: number | null;
}

export type KeyPatch = Partial<KeyWish>;

/** One key's secrets, the current one first. */
export type Secrets = readonly [Key, ...Key[]];

export class KeyRing {
  readonly #registry: Registry;
  readonly #outbox: Outbox;

  constructor(registry: Registry, outbox: Outbox) {
    this.#registry = registry;
    this.#outbox = outbox;
  }

  find(keyId: string): Secrets | null {
    const [current, ...others] = this.#registry.secretsOf(keyId);
    return current === undefined ? null : [current, ...others];
  }

  issue(keyId: string, secret: string, wish: KeyWish, nowMs: number): void {
    const { name, scopes, expiresAtMs, allowedNetworks, apiPerMinute } = wish;
    this.put({
      digest: digestOf(secret),
      keyId,
      kind: "gateway_key",
      state: "active",
      name,
      hint: hintOf(secret),
      scopes,
      allowedNetworks,
      createdAtMs: nowMs,
      expiresAtMs,
      superseded: false,
      limits: apiPerMinute === null ? {} : { apiPerMinute },
      generation: 1,
    });
  }

  /** A predecessor ends when its grace does, or with the key where that is earlier. */
  change(secrets: Secrets, { apiPerMinute, expiresAtMs, ...patch }: KeyPatch): void {
    for (const key of secrets) {
      if (key.state === "revoked") continue;
      const { apiPerMinute: before, ...others } = key.limits;
      const wished = apiPerMinute === undefined ? before : apiPerMinute;
      const limits = wished === null || wished === undefined ? others : { ...others, apiPerMinute: wished };
      const end = expiresAtMs === undefined ? key.expiresAtMs : endOf(key, expiresAtMs);
      this.put({ ...key, ...patch, limits, expiresAtMs: end, generation: key.generation + 1 });
    }
  }

  /** Revoked stays revoked. */
  enable(secrets: Secrets, enabled: boolean): void {
    for (const key of secrets) {
      if (key.state === "revoked") continue;
      this.put({ ...key, state: enabled ? "active" : "disabled", generation: key.generation + 1 });
    }
  }

  /** The new secret has all that the old one had; the old one ends after its grace, one that was older yet at once. */
  rotate(secrets: Secrets, secret: string, graceMs: number, nowMs: number): void {
    const [current, ...older] = secrets;
    this.revoke(older);
    if (graceMs === 0) this.revoke([current], true);
    else {
      const expiresAtMs = Math.min(current.expiresAtMs ?? Number.POSITIVE_INFINITY, nowMs + graceMs);
      this.put({ ...current, superseded: true, expiresAtMs, generation: current.generation + 1 });
    }
    this.put({
      ...current,
      digest: digestOf(secret),
      hint: hintOf(secret),
      superseded: false,
      generation: current.generation + 1,
    });
  }

  /** Terminal. Revoking twice changes nothing. */
  revoke(secrets: readonly Key[], superseded?: boolean): void {
    for (const key of secrets) {
      if (key.state === "revoked") continue;
      const generation = key.generation + 1;
      this.put({ ...key, state: "revoked", superseded: superseded ?? key.superseded, generation });
    }
  }

  /**
   * The row and its projection: neither is written without the other. `twice`: another object may have a write of it in
   * flight.
   */
  put(key: Key, twice = key.state === "revoked"): void {
    this.#registry.putKey(key);
    this.#project(key, twice);
  }

  /** KV is to hear anew of all secrets of a key that can be used, from that instant (ms) on. */
  project(keyId: string, hintAtMs: number): void {
    for (const key of this.#registry.secretsOf(keyId))
      if (key.state !== "revoked") this.#project(key, false, hintAtMs);
  }

  #project(key: Key, twice: boolean, hintAtMs?: number): void {
    const tenant = this.#registry.tenant();
    if (tenant === null) throw new Error("a key without a tenant");
    this.#outbox.enqueue({
      name: key.digest,
      record: recordOf(tenant.id, key, this.#registry.isEntrusted(key.keyId)),
      twice,
      ...(hintAtMs !== undefined && { hintAtMs }),
    });
  }
}

function endOf({ superseded, expiresAtMs: own }: Key, wishedMs: number | null): number | null {
  if (!superseded || own === null) return wishedMs;
  return wishedMs === null ? own : Math.min(own, wishedMs);
}

/** In the order of their making, to the millisecond. */
export function newKeyId(nowMs: number): string {
  return `key_${base62(BigInt(nowMs), 8)}${nanoid(8)}`;
}
