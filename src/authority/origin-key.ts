/** The Postiz key that a tenant's gateway keys are swapped for: sealed in its row, opened when it is needed. */
import { isSealedUnder, type SealingKeys, seal, unseal } from "../gateway-key/seal.ts";
import type { Registry } from "./registry.ts";

export type OriginKey =
  | { readonly is: "here"; readonly secret: string }
  | { readonly is: "missing" }
  | { readonly is: "unreadable" };

export class OriginKeys {
  readonly #registry: Registry;
  /** Opened once, and as long as what is sealed stays the same. */
  #opened: { readonly sealed: string; readonly secret: string } | null = null;

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  /** What was sealed under the key before is sealed anew when it is used. */
  open(keys: SealingKeys | null): OriginKey {
    const tenant = this.#registry.tenant();
    const sealed = tenant?.sealedOriginKey;
    if (!tenant || !sealed) return { is: "missing" };
    if (this.#opened?.sealed === sealed) return { is: "here", secret: this.#opened.secret };
    const secret = keys && unseal(sealed, tenant.id, keys);
    if (keys === null || secret === null) return { is: "unreadable" };
    if (isSealedUnder(sealed, keys.current)) this.#opened = { sealed, secret };
    else this.#registry.putTenant({ ...tenant, sealedOriginKey: seal(secret, tenant.id, keys) });
    return { is: "here", secret };
  }
}
