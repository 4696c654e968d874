/**
 * What isolates and a tenant's authority say to each other. Both sides of a rollout speak it at once, so fields
 * are only ever added, and a reader ignores what it does not know.
 */
import type { DenialReason } from "../denial.ts";
import type { Entrance } from "../entitlement/hosts.ts";
import type { Scope } from "../entitlement/scopes.ts";
import type { Subscription } from "../entitlement/subscription.ts";
import type { Terms } from "../entitlement/terms.ts";
import type { PolicyName, Quota } from "../quota/policy.ts";
import type { BranchName } from "./branch-name.ts";
import type { CredentialRecord } from "./credential-record.ts";
import type { CountedGrant } from "./ledger.ts";
import type { OriginKey } from "./origin-key.ts";
import type { Key, LastUse, Tenant } from "./registry.ts";
import type { TenantId } from "./tenant-id.ts";

export const PROTOCOL_VERSION = 1;

/** How far two clocks of the platform may disagree. */
export const CLOCK_MARGIN_MS = 2_000;

/** Where the authority can't be asked, what was granted goes on for that long after its end. */
export const DEGRADED_FOR_MS = 60_000;

export interface LeaseAsk {
  readonly v: typeof PROTOCOL_VERSION;
  /**
   * The tenant whose authority this is meant for: an object answers for its own tenant only. Null for a gateway key, which
   * names the object and not the tenant.
   */
  readonly tenantId: TenantId | null;
  /** SHA-256 hex of the credential. */
  readonly digest: string;
  /** Tokens are granted of this policy only. */
  readonly policy: PolicyName;
  /** The same ask sent again carries the same nonce and gets the same grant. */
  readonly nonce: string;
  /** Longest time (ms) from the start of a request's forwarding to the origin's response head. */
  readonly settleWithinMs: number;
  /** What the operation takes of a gateway key. */
  readonly scope?: Scope;
  /** Where it came in; null where that is not asked about. An isolate of an earlier version does not say. */
  readonly entrance?: Entrance | null;
  /** Whoever asks can be sent to a branch. An isolate of an earlier version does not say. */
  readonly canBranch?: true;
  /** Tokens wished for; an isolate that says so can hold a lease. Without it, one request is decided. */
  readonly wish?: number;
  /** No request waits for them: tokens in hand, or none at all, will do. An isolate of an earlier version does not say. */
  readonly ahead?: true;
  /** Grants of which nothing will be used any more. */
  readonly done?: readonly Done[];
  /** Null or absent where the platform does not tell. */
  readonly clientAddress?: string | null;
  readonly country?: string;
}

/** What has become of a grant's tokens. */
export interface Done {
  /** Of the ask that it answered. */
  readonly nonce: string;
  readonly used: number;
}

/** Refusals that only the authority can decide. */
export type LeaseRefusal = Extract<
  DenialReason,
  | "key_unknown"
  | "key_revoked"
  | "key_disabled"
  | "key_expired"
  | "host_not_allowed"
  | "subscription_inactive"
  | "introspection_unavailable"
  | "scope_insufficient"
  | "network_not_allowed"
  | "origin_key_missing"
  | "rate_limited"
>;

/** What the authority may answer. */
export type Verdict =
  | "granted"
  | LeaseRefusal
  /** The origin or the introspection endpoint has said no. */
  | "rejected"
  /** They have to be asked first. */
  | "introspection_required"
  /** No sealing key that is configured opens the tenant's Postiz key. */
  | "origin_key_unreadable"
  /** The credential has been linked: it is `tenantId`'s from now on. */
  | "moved"
  /** A branch counts its requests; or, where a branch says it, the tenant's own object does. */
  | "elsewhere";

/** Of these the credential itself is not to blame. */
const BLAMELESS: ReadonlySet<Verdict> = new Set<Verdict>([
  "granted",
  "rate_limited",
  "scope_insufficient",
  "network_not_allowed",
  "subscription_inactive",
  "origin_key_missing",
  "origin_key_unreadable",
]);

export const isGoodCredential = ({ verdict }: Grant): boolean => BLAMELESS.has(verdict);

export interface Grant {
  readonly v: typeof PROTOCOL_VERSION;
  readonly verdict: Verdict;
  readonly keyId: string;
  readonly subscription: Subscription;
  /** Requests that may be admitted on this grant. */
  readonly tokens: number;
  /** Null where the key or the subscription was refused: nothing was counted. */
  readonly quota: Quota | null;
  /** How long (ms) after the ask the grant may be used. */
  readonly usableForMs: number;
  /** What the isolate may decide by itself from now on. */
  readonly lease?: GrantedLease;
  /** Of the introspection; a testimony names it. */
  readonly generation?: number;
  /** On `introspection_required`: whoever asked is to introspect; otherwise somebody else is at it. */
  readonly appointed?: boolean;
  /** Whoever asked is to introspect in the background. */
  readonly refresh?: boolean;
  /** On `granted`: the answer it rests on is past its time, and no new one can be had. */
  readonly stale?: boolean;
  /** On `granted`: what it would have been, were the policy not in shadow. */
  readonly wouldHaveBeen?: "rate_limited";
  /** On `introspection_unavailable`: milliseconds until somebody will ask again. */
  readonly retryInMs?: number;
  /** Whose authority this is; on `moved`, whose is to be asked instead. */
  readonly tenantId?: TenantId;
  /** On `granted`, for a gateway key: what it is swapped for on the way to the origin. */
  readonly originKey?: string;
  /** The tenant has branches: its keys' requests are to be asked about there. */
  readonly branched?: true;
}

/** Durations are milliseconds after the ask. */
export interface GrantedLease {
  /** The state of the tenant: what was learnt about any of its credentials holds as long as it is the same. */
  readonly epoch: string;
  /** How long the isolate may decide for the tenant. */
  readonly forMs: number;
  /** How long at most for this credential: until it expires, or its introspection is too old. */
  readonly endsInMs: number | null;
  /** When to ask again about this credential, where it is busy, before that. */
  readonly renewInMs: number | null;
  /** How long the tokens may be used. */
  readonly tokensForMs: number;
  /** How long the verdict, where it is a refusal, stands for every request of the policy; 0: for this request only. */
  readonly refusedForMs: number;
  /** Null where the credential itself was refused. */
  readonly terms: Terms | null;
}

/** A grant of nothing: nothing was counted. */
export function refusal(verdict: Verdict, keyId: string, subscription: Subscription): Grant {
  return { v: PROTOCOL_VERSION, verdict, keyId, subscription, tokens: 0, quota: null, usableForMs: 0 };
}

/** What the origin or an introspection endpoint has said about a credential. */
export interface Testimony {
  readonly v: typeof PROTOCOL_VERSION;
  readonly tenantId: TenantId;
  readonly digest: string;
  readonly kind: CredentialRecord["kind"];
  /** Null: nothing could be learnt. */
  readonly active: boolean | null;
  /** Null: not said. */
  readonly subscribed: boolean | null;
  /** `exp`, as an instant (ms). */
  readonly expiresAtMs: number | null;
  /** When the question was asked: how long ago (ms), and the instant by the asker's clock. */
  readonly ageMs: number;
  readonly askedAtMs: number;
  /** As the authority gave it before; 0 from whoever has not asked it. */
  readonly generation: number;
}

/** A testimony as it counts: what is not understood teaches nothing, and what has expired is no yes. */
export function readTestimony(told: Testimony, nowMs: number): Testimony {
  const { v, active, subscribed, expiresAtMs } = told;
  if (v !== PROTOCOL_VERSION || typeof active !== "boolean") {
    return { ...told, active: null, subscribed: v === PROTOCOL_VERSION ? (subscribed ?? null) : null };
  }
  const expired = expiresAtMs !== null && nowMs >= expiresAtMs;
  return expired ? { ...told, active: false, subscribed: null, expiresAtMs: null } : told;
}

/** What the authority made of a testimony. */
export interface Hearing {
  /** False: something else has been heard since `generation`, or the credential is not this tenant's. */
  readonly counts: boolean;
  /** The current one. */
  readonly generation: number;
  /** Whose the credential is; empty where it is nobody's. */
  readonly tenantId: TenantId | "";
}

/**
 * The grant as an isolate may use it, or null: an authority of another version may say what this one does not
 * understand, and what is not understood admits nobody.
 */
export function readGrant(value: unknown): Grant | null {
  const grant = value as Grant | null | undefined;
  if (grant?.v !== PROTOCOL_VERSION || !VERDICTS.has(grant.verdict) || !grant.subscription) return null;
  const isEmpty = grant.quota === null || (grant.tokens < 1 && grant.lease === undefined);
  return grant.verdict === "granted" && isEmpty ? null : grant;
}

const VERDICTS: ReadonlySet<unknown> = new Set<Grant["verdict"]>([
  "granted",
  "key_unknown",
  "key_revoked",
  "key_disabled",
  "key_expired",
  "host_not_allowed",
  "subscription_inactive",
  "introspection_unavailable",
  "rate_limited",
  "rejected",
  "introspection_required",
  "scope_insufficient",
  "network_not_allowed",
  "origin_key_missing",
  "origin_key_unreadable",
  "moved",
  "elsewhere",
]);

/** What a branch asks of its tenant's authority. */
export interface TrustAsk {
  readonly v: typeof PROTOCOL_VERSION;
  readonly branch: BranchName;
  /** SHA-256 hex of the credentials whose requests it is to count, or goes on counting. */
  readonly digests: readonly string[];
  /** For how long (ms) it wishes to decide. */
  readonly wishForMs: number;
  /** What it has let in meanwhile. */
  readonly uses: readonly (LastUse & { readonly digest: string })[];
}

/** For how long (ms) after its ask a branch may decide, and on what. */
export interface Trust {
  readonly v: typeof PROTOCOL_VERSION;
  readonly epoch: string;
  readonly forMs: number;
  readonly tenant: Tenant;
  /** What its gateway keys are swapped for. */
  readonly originKey: OriginKey;
  /** Of those asked for; about the others the tenant's own object decides. */
  readonly entrusted: readonly Entrusted[];
}

/** A credential whose requests a branch counts. */
export interface Entrusted {
  readonly key: Key;
  /** Of the introspection. */
  readonly generation: number;
  /** What still counts of what was granted elsewhere. */
  readonly counted: readonly CountedGrant[];
}

/** A token that the origin counts has been used: its response head is here. */
export interface Settlement {
  readonly nonce: string;
  /** Set when the origin itself answered 429: its own limiter refuses for that long. */
  readonly originRetryAfterSeconds?: number;
}

/** From `effectiveBy` (RFC 3339, UTC) on no isolate admits on what was true before the change. */
export interface ChangeReceipt {
  readonly effectiveBy: string;
  /** That instant for isolates that can't reach the authority, and go on for a while. */
  readonly degradedUntil?: string;
}
