/**
 * The event of a request while it is under way. Stages note here what they find, so that whatever ends the request,
 * an exception included, its one event tells how far it came.
 */
import { steadyNowMs } from "../clock.ts";
import type { CredentialKind } from "../credential/credential.ts";
import { DENIAL_SPECS, type Denial, type Source } from "../denial.ts";
import { countryOf, type RequestContext } from "../request-context.ts";
import { VERSION } from "../version.ts";
import { type DecidedBy, EVENT_VERSION, type GatewayEvent, type Outcome } from "./event.ts";

interface Ending {
  readonly status: number;
  readonly outcome: Outcome;
  readonly source: Source;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export class EventDraft {
  readonly #context: RequestContext;
  #forwardedAtMs: number | null = null;

  route = "unknown";
  credential: CredentialKind | "none" = "none";
  decidedBy: DecidedBy = "nobody";
  stale = false;
  degraded = false;
  shadow: GatewayEvent["shadow"] = "";
  owner: NonNullable<Denial["owner"]> = { tenantId: "", keyId: "" };

  constructor(context: RequestContext) {
    this.#context = context;
  }

  /** From here on time is the origin's. */
  markForwarded(): void {
    this.#forwardedAtMs = steadyNowMs();
  }

  /** The event of a refusal. */
  toRefusal({ reason, owner }: Denial): GatewayEvent {
    this.owner = owner ?? this.owner;
    const { status, source } = DENIAL_SPECS[reason];
    return this.toEvent({ status, outcome: reason, source, bytesIn: 0, bytesOut: 0 });
  }

  toEvent(ending: Ending): GatewayEvent {
    const { request, requestId, trace, arrivedAtMs } = this.#context;
    const endedAtMs = steadyNowMs();
    const forwardedAtMs = this.#forwardedAtMs ?? endedAtMs;
    return {
      v: EVENT_VERSION,
      time: new Date(arrivedAtMs).toISOString(),
      requestId,
      traceId: trace.traceId,
      tenant: this.owner.tenantId,
      keyId: this.owner.keyId,
      credential: this.credential,
      decidedBy: this.decidedBy,
      method: request.method,
      route: this.route,
      status: ending.status,
      outcome: ending.outcome,
      source: ending.source,
      gatewayMs: forwardedAtMs - arrivedAtMs,
      originMs: endedAtMs - forwardedAtMs,
      bytesIn: ending.bytesIn,
      bytesOut: ending.bytesOut,
      country: countryOf(request),
      stale: this.stale,
      shadow: this.shadow,
      degraded: this.degraded,
      version: VERSION,
    };
  }
}
