/** Whether requests would get through: every binding and the origin are asked, each within a time limit. */
import { authorityOfNobody } from "../authority/find-authority.ts";
import type { Deps } from "../deps.ts";
import type { Env } from "../env.ts";
import { within } from "../timeout.ts";
import { askOrigin } from "../upstream/ask-origin.ts";

const CHECK_TIMEOUT_MS = 3_000;
/** Anyone may ask, so what was found is told again for a while instead of asking the stores each time. */
const REMEMBER_MS = 5_000;

export interface Readiness {
  readonly ready: boolean;
  /** Per dependency "ok", or what is wrong. */
  readonly checks: Readonly<Record<"credentials" | "authority" | "origin", string>>;
}

interface Memory {
  /** When the last check began. */
  readonly begunAtMs: number;
  readonly found: Readiness;
}

const UNDER_WAY = "is being asked; ask again in a second";
const NOTHING_YET: Readiness = {
  ready: false,
  checks: { credentials: UNDER_WAY, authority: UNDER_WAY, origin: UNDER_WAY },
};

const memories = new WeakMap<Deps, Memory>();

/** One check at a time: whoever asks meanwhile is told what the last one found. */
export async function checkReadiness(env: Env, deps: Deps): Promise<Readiness> {
  const memory = memories.get(deps);
  const begunAtMs = deps.nowMs();
  if (memory !== undefined && begunAtMs - memory.begunAtMs < REMEMBER_MS) return memory.found;
  memories.set(deps, { begunAtMs, found: memory?.found ?? NOTHING_YET });
  const found = await check(env, deps);
  memories.set(deps, { begunAtMs, found });
  return found;
}

async function check(env: Env, deps: Deps): Promise<Readiness> {
  const [credentials, authority, origin] = await Promise.all([
    outcomeOf(env.CREDENTIALS.get("readiness")),
    outcomeOf(authorityOfNobody(env).ping()),
    outcomeOf(checkOrigin(deps)),
  ]);
  const checks = { credentials, authority, origin };
  return { ready: Object.values(checks).every((outcome) => outcome === "ok"), checks };
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
async function checkOrigin({ config, fetchOrigin }: Deps): Promise<void> {
  const response = await askOrigin(config, fetchOrigin, null, CHECK_TIMEOUT_MS).catch((error: unknown) => {
    // The runtime's own words for a name that does not resolve are "internal error".
    console.error(JSON.stringify({ event: "origin_failed", error: String(error) }));
    throw new Error(
      "ORIGIN_URL gave no answer: does its host exist, is Postiz up, can it be reached from here?",
    );
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
