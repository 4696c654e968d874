/** Whether requests would get through: every binding and the origin are asked, each within a time limit. */
import type { Deps } from "../deps.ts";
import type { Env } from "../env.ts";
import { within } from "../timeout.ts";
import { setAccessToken } from "../upstream/request-headers.ts";

const CHECK_TIMEOUT_MS = 3_000;
/** Anyone may ask, so what was found is told again for a while instead of asking the stores each time. */
const REMEMBER_MS = 5_000;

export interface Readiness {
  readonly ready: boolean;
  /** Per dependency "ok", or what is wrong. */
  readonly checks: Readonly<Record<"credentials" | "authority" | "origin", string>>;
}

const remembered = new WeakMap<Deps, { readonly atMs: number; readonly readiness: Readiness }>();

export async function checkReadiness(env: Env, deps: Deps): Promise<Readiness> {
  const recent = remembered.get(deps);
  if (recent !== undefined && deps.nowMs() - recent.atMs < REMEMBER_MS) return recent.readiness;
  const [credentials, authority, origin] = await Promise.all([
    outcomeOf(env.CREDENTIALS.get("readiness")),
    // No tag has this form, so this is no tenant's object.
    outcomeOf(env.TENANT_AUTHORITY.getByName("readiness").ping()),
    outcomeOf(askOrigin(deps)),
  ]);
  const checks = { credentials, authority, origin };
  const readiness = { ready: Object.values(checks).every((check) => check === "ok"), checks };
  remembered.set(deps, { atMs: deps.nowMs(), readiness });
  return readiness;
}

async function outcomeOf(work: Promise<unknown>): Promise<string> {
  try {
    await within(CHECK_TIMEOUT_MS, work);
    return "ok";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** Without a credential Postiz refuses with JSON; a web page means that the base URL lacks its `/api`. */
async function askOrigin({ config, fetchOrigin }: Deps): Promise<void> {
  const headers = new Headers();
  setAccessToken(headers, config.originAccess);
  const response = await fetchOrigin(`${config.originBase}/public/v1/is-connected`, {
    headers,
    redirect: "manual",
    cache: "no-store",
  });
  await response.body?.cancel();
  const { status } = response;
  const type = response.headers.get("Content-Type") ?? "no content type";
  if (status === 401 && type.startsWith("application/json")) return;
  const hint =
    status === 403 || (status >= 300 && status < 400)
      ? "Is it behind Cloudflare Access, and does its policy allow the gateway's service token?"
      : 'Does ORIGIN_URL lack the "/api" of a self-hosted Postiz?';
  throw new Error(`Postiz answers 401 with JSON here; found ${status} with ${type}. ${hint}`);
}
