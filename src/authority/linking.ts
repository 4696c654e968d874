/**
 * Linking: a credential that was a tenant of its own, because nobody had said whose it is, becomes part of the tenant that
 * an operator imports it to. The old authority lets go first, for good, and hands over what it has counted; only then does
 * the new one let the credential in. So at no time do two of them grant, and nothing that was used is forgotten.
 */
import type { Audit, By } from "./audit.ts";
import type { IntrospectionRow, Introspections } from "./introspections.ts";
import type { Counted, Ledger } from "./ledger.ts";
import type { Outbox } from "./outbox.ts";
import { type Key, type LastUse, newTenant, type Registry } from "./registry.ts";
import { type TenantId, unlinkedIdOf } from "./tenant-id.ts";
import { viewOfTenant } from "./views.ts";

/** What is handed over with a credential. What was counted holds until when isolates may decide on it. */
export interface Handover {
  /** Null where it was claimed and never written down. */
  readonly key: Key | null;
  readonly lastUse: LastUse | null;
  readonly counted: Counted;
  readonly introspection: IntrospectionRow | null;
}

export type Handing =
  | { readonly is: "handed_over"; readonly handover: Handover }
  | { readonly is: "revoked" }
  | { readonly is: "anothers" }
  | { readonly is: "of_another_kind"; readonly kind: Key["kind"] };

export interface Want {
  readonly digest: string;
  readonly kind: Key["kind"];
  readonly to: TenantId;
}

export class Linking {
  readonly #registry: Registry;
  readonly #ledger: Ledger;
  readonly #introspections: Introspections;
  readonly #outbox: Outbox;
  readonly #audit: Audit;

  constructor(
    registry: Registry,
    ledger: Ledger,
    introspections: Introspections,
    outbox: Outbox,
    audit: Audit,
  ) {
    this.#registry = registry;
    this.#ledger = ledger;
    this.#introspections = introspections;
    this.#outbox = outbox;
    this.#audit = audit;
  }

  /** Lets go. Asked again by the same tenant it answers the same: whoever did not hear it asks again. */
  handOver({ digest, kind, to }: Want, by: By): Handing {
    const unlinkedId = unlinkedIdOf(digest);
    const tenant = this.#registry.tenant() ?? newTenant(unlinkedId, unlinkedId, by.nowMs);
    if (tenant.id !== unlinkedId || (tenant.movedTo !== null && tenant.movedTo !== to)) {
      return { is: "anothers" };
    }
    const key = unmoved(this.#registry.key(digest));
    if (tenant.status === "deleted" || key?.state === "revoked") return { is: "revoked" };
    if (key !== null && key.kind !== kind) return { is: "of_another_kind", kind: key.kind };
    if (tenant.movedTo === null) {
      const moved = { ...tenant, status: "moved", movedTo: to, version: tenant.version + 1 } as const;
      this.#registry.putTenant(moved);
      // Where KV goes on naming this tenant, it is told where the credential has gone.
      this.#outbox.drop(digest);
      // The version before does not know that a tenant can move, but lets nobody in on a state that it does not know.
      if (key !== null) this.#registry.putKey({ ...key, state: MOVED[key.state] as Key["state"] });
      const after = { movedTo: to };
      this.#audit.record(by, {
        action: "tenant.link",
        tenantId: tenant.id,
        keyId: null,
        before: viewOfTenant(tenant),
        after,
      });
    }
    const counted = this.#ledger.handOver(by.nowMs);
    return {
      is: "handed_over",
      handover: {
        key,
        lastUse: key === null ? null : this.#registry.lastUseOf(key.keyId),
        counted,
        introspection: this.#introspections.handOver(digest),
      },
    };
  }

  /** Call where the key is put in, in the same transaction. */
  takeOver(digest: string, keyId: string, { counted, lastUse, introspection }: Handover): void {
    if (lastUse !== null) this.#registry.noteUse(digest, lastUse);
    this.catchUp(digest, keyId, { counted, introspection });
  }

  /** What the old authority has heard between letting go and this one's taking over. */
  catchUp(
    digest: string,
    keyId: string,
    { counted, introspection }: Omit<Handover, "key" | "lastUse">,
  ): void {
    this.#ledger.takeOver(counted, keyId);
    if (introspection !== null) this.#introspections.takeOver(digest, introspection);
    this.#registry.touch();
  }
}

/** States of a key that has moved, and what they were. */
const MOVED = { active: "moved_active", disabled: "moved_disabled", revoked: "revoked" } as const;

function unmoved(key: Key | null): Key | null {
  const found = Object.entries(MOVED).find(([, moved]) => moved === (key?.state as string | undefined));
  return key === null || found === undefined ? key : { ...key, state: found[0] as Key["state"] };
}
