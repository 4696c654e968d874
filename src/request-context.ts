/** What is fixed about a request the moment it arrives. */
import { steadyNowMs } from "./clock.ts";
import { clientOf, type Networks } from "./upstream/client-address.ts";
import { bodyOf, type RequestBody } from "./upstream/request-body.ts";
import { continueTrace, type TraceContext } from "./upstream/trace-context.ts";

export interface RequestContext {
  readonly request: Request;
  readonly body: RequestBody | null;
  /** The gateway's own, UUID; also the nonce of whatever is asked on the request's behalf. */
  readonly requestId: string;
  readonly trace: TraceContext;
  /** Null where the platform does not tell. */
  readonly clientAddress: string | null;
  /** How the client connected to the proxy in front, where a trusted one says so. */
  readonly forwardedProtocol: "http" | "https" | null;
  readonly arrivedAtMs: number;
}

export function arrive(request: Request, trustedProxies: Networks): RequestContext {
  const { address, protocol } = clientOf(request, trustedProxies);
  return {
    request,
    body: bodyOf(request),
    requestId: crypto.randomUUID(),
    trace: continueTrace(request.headers),
    clientAddress: address,
    forwardedProtocol: protocol,
    arrivedAtMs: steadyNowMs(),
  };
}

/** ISO 3166-1 alpha-2; empty where the platform does not tell. */
export function countryOf({ cf }: Request): string {
  return (cf?.["country"] as string | undefined) ?? "";
}
