/** Puts the demo tenants in place, the way an operator would: through their authorities, which project to KV. */
import { authorityOf } from "../src/authority/find-authority.ts";
import type { TenantAuthority } from "../src/authority/tenant-authority.ts";
import { tenantIdOf } from "../src/authority/tenant-id.ts";
import { digestOf } from "../src/credential/credential.ts";
import { DEMO } from "./tenants.ts";

const ACME = tenantIdOf("acme");
const LAPSED = tenantIdOf("lapsed");

export interface SeedEnv {
  readonly TENANT_AUTHORITY: DurableObjectNamespace<TenantAuthority>;
  readonly CREDENTIALS: KVNamespace;
}

/** Resolves when the projection can be read in KV. Seeding what is there already changes nothing that shows. */
export async function seedDemo(env: SeedEnv): Promise<void> {
  const acme = authorityOf(env, ACME);
  await acme.putTenant({
    id: ACME,
    name: "Acme",
    subscription: { status: "active", currentPeriodEndMs: null },
  });
  await acme.putKey({ digest: digestOf(DEMO.acme.apiKey), keyId: "demo" });
  await acme.putKey({ digest: digestOf(DEMO.acme.token), keyId: "demo-token", kind: "oauth_token" });
  await acme.putKey({ digest: digestOf(DEMO.acme.revokedApiKey), keyId: "demo-revoked" });
  await acme.revokeKey(digestOf(DEMO.acme.revokedApiKey));

  // Gateway keys of acme's are swapped for its Postiz key. Without SEALING_KEY it has none, and can do without.
  await acme.setOriginKey(DEMO.acme.apiKey, "demo");

  const lapsed = authorityOf(env, LAPSED);
  await lapsed.putTenant({
    id: LAPSED,
    name: "Lapsed",
    subscription: { status: "none", currentPeriodEndMs: null },
  });
  await lapsed.putKey({ digest: digestOf(DEMO.lapsed.apiKey), keyId: "demo" });

  await isProjected(env.CREDENTIALS, DEMO.acme.apiKey, "active");
  await isProjected(env.CREDENTIALS, DEMO.acme.token, "active");
  await isProjected(env.CREDENTIALS, DEMO.acme.revokedApiKey, "revoked");
  await isProjected(env.CREDENTIALS, DEMO.lapsed.apiKey, "active");
}

const POLL_MS = 20;
const GIVE_UP_MS = 10_000;

async function isProjected(kv: KVNamespace, key: string, state: string): Promise<void> {
  for (let waitedMs = 0; waitedMs < GIVE_UP_MS; waitedMs += POLL_MS) {
    const record = await kv.get<{ state: string }>(digestOf(key), "json");
    if (record?.state === state) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error(`the projection of a demo key did not reach KV within ${GIVE_UP_MS} ms`);
}
