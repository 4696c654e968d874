/**
 * Which tenant owns a credential: one, whoever claimed it first. Asked when something is put in or learnt, never by a
 * request, so that one object for each of 256 shards will do.
 */
import { DurableObject } from "cloudflare:workers";
import type { Env } from "../env.ts";
import { migrate } from "./schema.ts";

export const DIRECTORY_MIGRATIONS: readonly string[] = [
  "CREATE TABLE owner (digest TEXT PRIMARY KEY, tenant_id TEXT NOT NULL) WITHOUT ROWID",
];

export class Directory extends DurableObject<Env> {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    migrate(ctx.storage, DIRECTORY_MIGRATIONS);
  }

  /** Id of the tenant that owns the credential from now on: the one that asks, unless another was first. */
  claim(digest: string, tenantId: string): string {
    const { sql } = this.ctx.storage;
    sql.exec("INSERT INTO owner (digest, tenant_id) VALUES (?, ?) ON CONFLICT DO NOTHING", digest, tenantId);
    return sql.exec<{ tenant_id: string }>("SELECT tenant_id FROM owner WHERE digest = ?", digest).one()
      .tenant_id;
  }
}

/** `digest`: SHA-256 hex. */
export async function claimDigest(
  { DIRECTORY }: Pick<Env, "DIRECTORY">,
  digest: string,
  tenantId: string,
): Promise<string> {
  return DIRECTORY.getByName(digest.slice(0, 2)).claim(digest, tenantId);
}
