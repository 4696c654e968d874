/** Tenant acme on a lease: what the tests of leases play with. */
import { type BranchName, branchOf } from "../../src/authority/branch-name.ts";
import { tagOf } from "../../src/authority/tag.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { type Credential, digestOf } from "../../src/credential/credential.ts";
import type { Deps } from "../../src/deps.ts";
import type { PolicyName } from "../../src/quota/policy.ts";
import { World } from "./world.ts";

export const ACME = tenantIdOf("acme");
export const TENANT = tagOf(ACME);
export const SECOND = 1_000;
export const LEASE_MS = 5 * SECOND;
export const MARGIN_MS = 2 * SECOND;
export const WINDOW_MS = 60 * SECOND;
export const keyOf = (i: number): Credential => ({ kind: "api_key", secret: digestOf(`key ${i}`) });
export const KEY = keyOf(0);

/** Tenant acme with keys, each of which may make so many requests a minute. */
export async function acme(vars: Record<string, string> = {}, apiPerMinute = 600, keys = 1): Promise<World> {
  const world = new World(vars);
  const lines = Array.from({ length: keys }, (_, i) => {
    const digest = digestOf(keyOf(i).secret);
    const key = { digest, keyId: `k${i}`, name: "", expiresAtMs: null, apiPerMinute };
    return { type: "api_key", tenantId: ACME, ...key } as const;
  });
  await world
    .authority(ACME)
    .import(ACME, [{ type: "tenant", tenantId: ACME, name: "Acme" }, ...lines], "tests");
  await world.pass(1);
  return world;
}

/** Asks so often that the tenant's authority opens branches, and for nothing that it would count. */
export async function makeBusy(world: World, asks = 15_000): Promise<void> {
  const digest = digestOf(KEY.secret);
  const about = { v: 1, tenantId: ACME, digest, policy: "api", settleWithinMs: 0, wish: 0 } as const;
  for (let i = 0; i < asks; i++)
    await world.authority(ACME).lease({ ...about, nonce: `busy ${i}`, canBranch: true });
}

/** Acme, whose branches count its keys already. */
export async function branchedAcme(
  vars: Record<string, string> = {},
  apiPerMinute = 600,
  keys = 1,
): Promise<World> {
  const world = await acme(vars, apiPerMinute, keys);
  await makeBusy(world);
  const isolate = world.isolate();
  for (let i = 0; i < keys; i++) {
    for (let times = 0; times < 2; times++) await ask(world, isolate, keyOf(i));
    // Its lease is over, and what comes next asks.
    await world.pass(LEASE_MS);
    await ask(world, isolate, keyOf(i));
  }
  await world.pass(2 * WINDOW_MS);
  return world;
}

/** Of the branch that counts a key's requests. */
export const branchOfKey = (i: number): BranchName => branchOf(TENANT, `k${i}`);

export interface Outcome {
  readonly is: string;
  readonly degraded: boolean;
}

export async function ask(
  world: World,
  isolate: Deps,
  key = KEY,
  policy: PolicyName = "api",
): Promise<Outcome> {
  const { result } = await world.ask(isolate, key, { policy });
  if (!result.ok) return { is: result.denial.reason, degraded: false };
  return { is: result.value.grant.verdict, degraded: result.value.degraded };
}

/** How many of so many requests are let in. */
export async function admitted(
  world: World,
  isolates: readonly Deps[],
  requests: number,
  policy: PolicyName = "api",
) {
  let count = 0;
  for (let i = 0; i < requests; i++) {
    const isolate = isolates[i % isolates.length];
    if (isolate !== undefined && (await ask(world, isolate, KEY, policy)).is === "granted") count++;
  }
  return count;
}

export const revoke = async (world: World, i = 0) => {
  const revoked = await world.authority(ACME).revokeKeyById(`k${i}`, "tests");
  if (!revoked.ok) throw new Error(revoked.detail);
  return {
    effectiveByMs: Date.parse(revoked.effectiveBy),
    degradedUntilMs: Date.parse(revoked.degradedUntil ?? revoked.effectiveBy),
  };
};

/** Nothing gets through to the authority, or back. */
export function cutOff(world: World, isCut = true): void {
  world.before = () => {
    if (isCut) throw new Error("the object can't be reached");
  };
}
