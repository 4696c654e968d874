/** Changes keys while they are in use, and writes down from when on each may, need not, and must not work. */
import { setTimeout as delay } from "node:timers/promises";
import type { Admin, Told } from "./admin.ts";
import type { Secret } from "./ledger.ts";
import { goodFrom, secretOf, type Tenant } from "./population.ts";
import type { Random } from "./random.ts";

const PAUSE_MS = 700;
/** Of the gateway's own keys; below that another is issued. */
const LEAST = 2;
/** What was refused as disabled may be remembered for a lease, which is 30 s at most, and is then asked about. */
const ENABLED_BY_MS = 31_000;

export interface Changes {
  issued: number;
  revoked: number;
  rotated: number;
  expiring: number;
  disabled: number;
  /** Not done, as far as anybody knows (`care.ts` judges why): from then on nothing is expected of the key. */
  unknown: number;
}

export async function operate(
  admin: Admin,
  tenants: readonly Tenant[],
  random: Random,
  signal: AbortSignal,
): Promise<Changes> {
  const changes: Changes = { issued: 0, revoked: 0, rotated: 0, expiring: 0, disabled: 0, unknown: 0 };
  while (!signal.aborted) {
    await delay(random.pause(PAUSE_MS));
    const tenant = random.pick(tenants);
    const usable = tenant.secrets.filter((secret) => isUsable(secret, tenant));
    const draw = random.next();
    if (usable.length <= LEAST || draw < 0.15) await add(admin, tenant, random.chance(0.4), random, changes);
    else if (draw < 0.5) await revoke(admin, random.pick(usable), changes);
    else if (draw < 0.8) await rotate(admin, tenant, random.pick(usable), random.pick([0, 2, 6]), changes);
    else await disableAndEnable(admin, random.pick(usable), random, changes);
  }
  return changes;
}

/** Good, without an end, and the only secret of its key: what is done to a key is done to all of them. */
function isUsable(secret: Secret, { secrets }: Tenant): boolean {
  const { value, keyId, phases } = secret;
  if (!value.startsWith("pgw_") || phases.length > 1) return false;
  return secrets.every(({ keyId: other, phases: theirs }) => {
    const last = theirs.at(-1);
    return other !== keyId || theirs === phases || (last?.is === "ended" && last.fromMs < Date.now());
  });
}

async function add(
  admin: Admin,
  { id, secrets }: Tenant,
  expires: boolean,
  random: Random,
  changes: Changes,
): Promise<void> {
  const expiresAtMs = Date.now() + random.between(4_000, 15_000);
  const wish = expires ? { expiresAt: new Date(expiresAtMs).toISOString() } : {};
  const told = await admin.ask("POST", `/tenants/${id}/keys`, { name: "soak", scopes: ["*"], ...wish });
  if (!isDone(told)) return;
  const issued = secretOf(id, told.body);
  if (expires) {
    issued.phases.push({ fromMs: expiresAtMs, is: "ended", reasons: ["key_expired"] });
    changes.expiring++;
  } else changes.issued++;
  secrets.push(issued);
}

async function revoke(admin: Admin, secret: Secret, changes: Changes): Promise<void> {
  const reasons = ["key_revoked"];
  secret.phases.push({ fromMs: Date.now(), is: "between", reasons });
  end(secret, await admin.insist("DELETE", pathOf(secret)), reasons);
  changes.revoked++;
}

async function rotate(
  admin: Admin,
  { secrets }: Tenant,
  secret: Secret,
  graceSeconds: number,
  changes: Changes,
): Promise<void> {
  // Whatever is to happen to the key later happens to this secret of it, too.
  const reasons = ["key_expired", "key_revoked", "key_disabled", "key_unknown"];
  const ending = { fromMs: Date.now() + graceSeconds * 1_000, is: "between", reasons } as const;
  secret.phases.push(ending);
  const told = await admin.ask("POST", `${pathOf(secret)}/rotate`, { graceSeconds });
  if (!isDone(told)) {
    changes.unknown++;
    return;
  }
  end(secret, told, reasons);
  const value = String(told.body["key"]);
  secrets.push({ ...secret, value, phases: [goodFrom(Date.now())], degradedUntilMs: 0 });
  changes.rotated++;
}

async function disableAndEnable(
  admin: Admin,
  secret: Secret,
  random: Random,
  changes: Changes,
): Promise<void> {
  const reasons = ["key_disabled"];
  secret.phases.push({ fromMs: Date.now(), is: "between", reasons });
  end(secret, await admin.insist("POST", `${pathOf(secret)}/disable`), reasons);
  changes.disabled++;
  if (random.chance(0.5)) return;
  // While others are changed; nobody changes this one meanwhile.
  void delay(random.between(500, 9_000)).then(async () => {
    secret.phases.push({ fromMs: Date.now(), is: "between", reasons });
    await admin.insist("POST", `${pathOf(secret)}/enable`);
    secret.phases.push(goodFrom(Date.now() + ENABLED_BY_MS));
  });
}

const isDone = (told: Told | null): told is Told => told !== null && told.status < 300;

function end(secret: Secret, { status, body }: Told, reasons: readonly string[]): void {
  if (status >= 300) throw new Error(`a change of ${secret.name} was answered ${status}`);
  secret.phases.push({ fromMs: Date.parse(String(body["effectiveBy"])), is: "ended", reasons });
  const degraded = body["degradedUntil"];
  secret.degradedUntilMs = degraded === undefined ? 0 : Date.parse(String(degraded));
}

const pathOf = ({ tenant, keyId }: Secret): string => `/tenants/${tenant}/keys/${keyId}`;
