/** Tenants and keys of the soak, put in through the admin API, and what is known of each secret. */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { base62 } from "../src/base62.ts";
import type { Admin, Told } from "./admin.ts";
import type { Limit, Phase, PolicyName, Secret } from "./ledger.ts";
import type { Random } from "./random.ts";

export interface Tenant {
  readonly id: string;
  /** That work, or have worked; new ones are appended. */
  readonly secrets: Secret[];
}

/** Of a tenant whose clients ask for more than it may have. */
interface Narrow {
  readonly id: string;
  readonly secret: Secret;
}

export interface Population {
  readonly tenants: readonly Tenant[];
  readonly narrow: readonly Narrow[];
  /** Good ones, for less than is asked of them. */
  readonly readOnly: Secret;
  readonly elsewhere: Secret;
  /** Of the right form and checksum, and made by nobody. */
  readonly forged: readonly string[];
  readonly limits: readonly Limit[];
  /** What the origin is to know: its own keys, by tenant. */
  readonly originKeys: ReadonlyMap<string, string>;
}

const TENANTS = 8;
const KEYS = 3;
/** Of tenants that have room. */
export const DEFAULT_LIMITS: Readonly<Record<PolicyName, number>> = { api: 600, posts: 1_000_000 };
/** Some hand tokens out in advance, some (below 16) do not; all are asked for more. */
const NARROW = [
  { apiPerMinute: 10, postsPerHour: 15 },
  { apiPerMinute: 60, postsPerHour: 40 },
  { apiPerMinute: 120, postsPerHour: 400 },
  { apiPerMinute: 300, postsPerHour: 1_000 },
] as const;
const WINDOWS_MS: Readonly<Record<PolicyName, number>> = { api: 60_000, posts: 3_600_000 };

const hex = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Good from the instant on. */
export const goodFrom = (fromMs: number): Phase => ({ fromMs, is: "good", reasons: [] });

export async function populate(admin: Admin, random: Random): Promise<Population> {
  const originKeys = new Map<string, string>();
  const limits: Limit[] = [];
  const tenants: Tenant[] = [];
  const mark = `${random.between(0, 2 ** 30)}`;
  for (let t = 0; t < TENANTS; t++) {
    const id = `soak-${t}`;
    await addTenant(admin, id, mark, originKeys, {
      postsPerHour: DEFAULT_LIMITS.posts,
      apiPerMinute: DEFAULT_LIMITS.api,
    });
    const secrets: Secret[] = [];
    for (let k = 0; k < KEYS; k++) secrets.push(await issue(admin, id, { scopes: ["*"] }));
    secrets.push(await bring(admin, id, "api_key", hex(`${mark} key of ${id}`), originKeys));
    const token = `pos_${hex(`${mark} token of ${id}`).slice(0, 40)}`;
    secrets.push(await bring(admin, id, "token", token, originKeys));
    tenants.push({ id, secrets });
  }
  const narrow: Narrow[] = [];
  for (const [i, may] of NARROW.entries()) {
    const id = `narrow-${i}`;
    await addTenant(admin, id, mark, originKeys, may);
    const secret = await issue(admin, id, { scopes: ["*"] });
    narrow.push({ id, secret });
    limits.push(limitOf("api", id, secret.keyId, may.apiPerMinute));
    limits.push(limitOf("posts", id, "", may.postsPerHour));
  }
  const [tenant] = tenants;
  if (tenant === undefined) throw new Error("there is no tenant");
  return {
    tenants,
    narrow,
    readOnly: await issue(admin, tenant.id, { scopes: ["read"] }),
    elsewhere: await issue(admin, tenant.id, { scopes: ["*"], allowedNetworks: ["192.0.2.0/24"] }),
    forged: forge(tenant.secrets[0]?.value ?? "", random),
    limits,
    originKeys,
  };
}

function limitOf(policy: PolicyName, tenant: string, keyId: string, limit: number): Limit {
  return { policy, tenant, keyId, limit, windowMs: WINDOWS_MS[policy] };
}

async function addTenant(
  admin: Admin,
  id: string,
  mark: string,
  originKeys: Map<string, string>,
  limits: { readonly postsPerHour: number; readonly apiPerMinute: number },
): Promise<void> {
  const key = hex(`${mark} origin key of ${id}`);
  originKeys.set(key, id);
  await admin.must("POST", "/tenants", { id, name: id });
  await admin.must("PATCH", `/tenants/${id}`, { limits });
  await admin.must("PUT", `/tenants/${id}/origin-key`, { key });
}

/** A key of the gateway's own. */
export async function issue(admin: Admin, tenant: string, wish: object): Promise<Secret> {
  return secretOf(tenant, await admin.must("POST", `/tenants/${tenant}/keys`, { name: "soak", ...wish }));
}

/** Of a key that was issued just now. */
export function secretOf(tenant: string, { key, id }: Told["body"]): Secret {
  return {
    name: `${tenant}/${id}`,
    tenant,
    keyId: String(id),
    value: String(key),
    phases: [goodFrom(Date.now())],
    degradedUntilMs: 0,
  };
}

/** One that Postiz made: it is forwarded as it is. */
async function bring(
  admin: Admin,
  tenant: string,
  type: "api_key" | "token",
  value: string,
  originKeys: Map<string, string>,
): Promise<Secret> {
  originKeys.set(value, tenant);
  const line = { type, tenantId: tenant, [type === "token" ? "token" : "key"]: value, keyId: type };
  await admin.mustImport(line);
  const phases = [goodFrom(Date.now())];
  return { name: `${tenant}/${type}`, tenant, keyId: type, value, phases, degradedUntilMs: 0 };
}

/** Everything of a real one but the MAC, and a checksum that is right. */
function forge(genuine: string, random: Random): string[] {
  const signed = genuine.slice(0, -13);
  return Array.from({ length: 5 }, () => {
    const mac = base62(BigInt(random.between(0, 2 ** 31)), 6);
    const checksum = base62(BigInt(crc32(signed + mac)), 6);
    return `${signed}${mac}_${checksum}`;
  });
}
