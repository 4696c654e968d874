/** Which authority object to ask: the only place that names one. */
import type { Env } from "../env.ts";
import type { BranchName } from "./branch-name.ts";
import { type Tag, tagOf } from "./tag.ts";
import type { TenantAuthority } from "./tenant-authority.ts";
import type { TenantId } from "./tenant-id.ts";

type WithAuthorities = Pick<Env, "TENANT_AUTHORITY">;

export function authorityOf(env: WithAuthorities, tenantId: TenantId): DurableObjectStub<TenantAuthority> {
  return authorityAt(env, tagOf(tenantId));
}

export function authorityAt(
  { TENANT_AUTHORITY }: WithAuthorities,
  name: Tag | BranchName,
): DurableObjectStub<TenantAuthority> {
  return TENANT_AUTHORITY.getByName(name);
}

/** Nobody's: no tag has this form. To see whether objects can be reached at all. */
export function authorityOfNobody({ TENANT_AUTHORITY }: WithAuthorities): DurableObjectStub<TenantAuthority> {
  return TENANT_AUTHORITY.getByName("readiness");
}
