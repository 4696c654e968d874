/** Stage by stage, what would become of a request: nothing is counted, nobody is asked who would count it. */
import type { Grant, LeaseAsk } from "../authority/protocol.ts";
import { tagOf } from "../authority/tag.ts";
import type { TenantId } from "../authority/tenant-id.ts";
import { type Credential, readCredential } from "../credential/credential.ts";
import { type Denial, deny, pass, type Result } from "../denial.ts";
import type { Deps } from "../deps.ts";
import { entitle } from "../entitlement/entitle.ts";
import { keyRefusal } from "../principal/authenticate.ts";
import { readKey } from "../principal/gateway-key.ts";
import { decideRate } from "../quota/decide-rate.ts";
import { readTarget } from "../route/canonical.ts";
import { type ProtectedRoute, resolveRoute } from "../route/route.ts";

export interface Question {
  readonly method: string;
  readonly path: string;
  /** As it would stand in the Authorization header. */
  readonly key: string;
  readonly clientAddress?: string | undefined;
}

interface Stage {
  readonly stage: string;
  readonly verdict: "pass" | "refuse" | "not_reached";
  readonly detail: string;
}

export interface Explanation {
  readonly outcome: string;
  readonly stages: readonly Stage[];
}

/** What the credential's authority would say. */
type Look = (secret: string, ask: Pick<LeaseAsk, "policy" | "scope" | "clientAddress">) => Promise<Grant>;

const STAGES = ["route", "credential", "principal", "entitlement", "rate"] as const;

export async function explain(deps: Deps, question: Question, look: Look): Promise<Explanation> {
  const stages: Stage[] = [];
  let refusal: Denial | null = null;
  const take = <T>(found: Result<T>, detail: (value: T) => string): T | null => {
    const stage = STAGES[stages.length] ?? "";
    if (found.ok) stages.push({ stage, verdict: "pass", detail: detail(found.value) });
    else {
      refusal = found.denial;
      stages.push({ stage, verdict: "refuse", detail: `${found.denial.reason}: ${found.denial.detail}` });
    }
    return found.ok ? found.value : null;
  };
  const finish = (): Explanation => {
    const rest = STAGES.slice(stages.length);
    const unreached = rest.map((stage) => ({ stage, verdict: "not_reached", detail: "" }) as const);
    const outcome = (refusal as Denial | null)?.reason ?? (rest.length > 0 ? "undecided" : "forwarded");
    return { outcome, stages: [...stages, ...unreached] };
  };

  const route = take(routeOf(deps, question), ({ operation, path }) => {
    return `${path}, policy ${operation.policy}, scope ${operation.scope}`;
  });
  if (route === null) return finish();
  const credential = take(credentialOf(question), ({ kind }) => kind);
  if (credential === null) return finish();
  const { policy, scope } = route.operation;
  const clientAddress = question.clientAddress ?? null;
  const grant = await look(credential.secret, { policy, scope, clientAddress });
  const { tenantId, keyId } = grant;
  // Where nobody has it, it is refused for that.
  const owner = { tenantId: (tenantId ?? "") as TenantId, keyId };
  const principal = take(
    (keyRefusal(grant, credential, owner) ?? pass(owner)) as Result<typeof owner>,
    ({ tenantId, keyId }) => {
      const unasked = grant.verdict === "introspection_required" ? "; would be introspected first" : "";
      return `tenant ${tenantId}, key ${keyId}${unasked}`;
    },
  );
  if (principal === null || grant.verdict === "introspection_required") return finish();
  const known = {
    ...principal,
    tag: tagOf(principal.tenantId),
    digest: "",
    originKey: null,
    grant,
    degraded: false,
  };
  const entitlement = take(entitle(known, scope, deps.config, deps.nowMs()), () => {
    return `subscription ${grant.subscription.status}`;
  });
  if (entitlement === null) return finish();
  take(decideRate(entitlement), ({ quota }) => {
    if (grant.wouldHaveBeen !== undefined) return `${grant.wouldHaveBeen}, were the policy not in shadow`;
    return `${quota.remaining} of ${quota.policy.limit} left in ${quota.policy.windowSeconds} s`;
  });
  return finish();
}

function routeOf(deps: Deps, { method, path }: Question): Result<ProtectedRoute> {
  const target = readTarget(`http://gateway${path}`, "gateway");
  if (!target.ok) return target;
  const route = resolveRoute(method.toUpperCase(), target.value, deps.config.forwardUnprotected);
  if (!route.ok || route.value.kind === "protected") return route as Result<ProtectedRoute>;
  return deny("path_unknown", "This path is passed on untouched, without a credential");
}

function credentialOf({ key }: Question): Result<Credential> {
  const headers = new Headers();
  try {
    headers.set("Authorization", key);
  } catch {
    return deny("credential_malformed", "The key holds bytes that no header may hold");
  }
  const credential = readCredential(headers);
  if (!credential.ok || credential.value.kind !== "gateway_key") return credential;
  const read = readKey(credential.value);
  return read.ok ? credential : read;
}
