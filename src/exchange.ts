/**
 * One request and what became of it. Stages leave their results here as they go, so that whatever ends the
 * request, an exception included, the one event about it tells how far it came.
 */
import type { CredentialKind } from "./credential/credential.ts";
import { DENIAL_SPECS, type Denial, type Source } from "./denial.ts";
import type { Target } from "./route/canonical.ts";
import { EVENT_VERSION, type GatewayEvent, type Outcome } from "./telemetry/event.ts";
import { continueTrace, type TraceContext } from "./upstream/trace-context.ts";
import { VERSION } from "./version.ts";

/** How a request ended, as far as the event is concerned. */
export interface Ending {
  readonly status: number;
  readonly outcome: Outcome;
  readonly source: Source;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

export class Exchange {
  readonly request: Request;
  readonly requestId: string = crypto.randomUUID();
  readonly trace: TraceContext;
  readonly #arrivedAtMs = Date.now();
  readonly #startedMs = performance.now();
  #forwardedMs: number | null = null;

  /** Null until the request line has been read. */
  target: Target | null = null;
  route = "unknown";
  credential: CredentialKind | "none" = "none";
  owner: NonNullable<Denial["owner"]> = { tenantId: "", keyId: "" };

  constructor(request: Request) {
    this.request = request;
    this.trace = continueTrace(request.headers);
  }

  /** From here on time is the origin's. */
  markForwarded(): void {
    this.#forwardedMs = performance.now();
  }

  refused(denial: Denial): GatewayEvent {
    if (denial.owner !== undefined) this.owner = denial.owner;
    const { status, source } = DENIAL_SPECS[denial.reason];
    return this.ended({ status, outcome: denial.reason, source, bytesIn: 0, bytesOut: 0 });
  }

  ended({ status, outcome, source, bytesIn, bytesOut }: Ending): GatewayEvent {
    const endedMs = performance.now();
    const forwardedMs = this.#forwardedMs ?? endedMs;
    return {
      v: EVENT_VERSION,
      time: new Date(this.#arrivedAtMs).toISOString(),
      requestId: this.requestId,
      traceId: this.trace.traceId,
      tenant: this.owner.tenantId,
      keyId: this.owner.keyId,
      credential: this.credential,
      method: this.request.method,
      route: this.route,
      status,
      outcome,
      source,
      gatewayMs: forwardedMs - this.#startedMs,
      originMs: endedMs - forwardedMs,
      bytesIn,
      bytesOut,
      country: (this.request.cf?.["country"] as string | undefined) ?? "",
      stale: false,
      degraded: false,
      version: VERSION,
    };
  }
}
