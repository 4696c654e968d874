/** What the gateway has to say about one request: exactly one event each, whatever became of it. */
import type { CredentialKind } from "../credential/credential.ts";
import type { DenialReason, Source } from "../denial.ts";

export const EVENT_VERSION = 1;

/** `answered`: by the gateway itself and not a refusal, such as a preflight or a health check. */
export type Outcome = "forwarded" | "answered" | DenialReason;

/**
 * Who had the last word on the credential: nobody (none came, or it was malformed), this isolate's memory, KV, a lease
 * in hand, the tenant's authority on what it knew, or an introspection made for this request.
 */
export type DecidedBy = "nobody" | "memory" | "kv" | "lease" | "authority" | "introspection";

export interface GatewayEvent {
  readonly v: typeof EVENT_VERSION;
  /** When the request arrived, RFC 3339 UTC. */
  readonly time: string;
  readonly requestId: string;
  readonly traceId: string;
  /** Empty where the credential led to none. */
  readonly tenant: string;
  readonly keyId: string;
  readonly credential: CredentialKind | "none";
  readonly decidedBy: DecidedBy;
  readonly method: string;
  /** Template of the operation, never the path: paths hold ids and, on some routes, keys. */
  readonly route: string;
  /** As sent to the client, also where the answer was cut short afterwards. */
  readonly status: number;
  readonly outcome: Outcome;
  /** Who decided how it ended; `client` on a forwarded request means that it left before the end. */
  readonly source: Source;
  /** From arrival to the forward, or to the refusal. */
  readonly gatewayMs: number;
  /** From the forward to the end of the origin's answer; 0 where there was no forward. */
  readonly originMs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  /** ISO 3166-1 alpha-2, as the platform has it; empty where it does not tell. */
  readonly country: string;
  /** Decided on an introspection answer past its time. */
  readonly stale: boolean;
  /** What a policy in shadow would have refused it for; empty where none would. */
  readonly shadow: DenialReason | "";
  /** Decided without the tenant's authority. */
  readonly degraded: boolean;
  /** Of the gateway. */
  readonly version: string;
}
