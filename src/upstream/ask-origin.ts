/**
 * Questions of the gateway's own to Postiz: `GET /public/v1/is-connected`, the cheapest call that needs a credential.
 * Its answers tell the credential from the subscription, and Postiz from whatever else may be at `ORIGIN_URL`.
 */
import type { Config } from "../config.ts";
import type { FetchOrigin } from "./forward.ts";
import { setAccessToken } from "./request-headers.ts";

/** Rejects where there is no answer in `timeoutMs`. */
export function askOrigin(
  config: Pick<Config, "originBase" | "originAccess">,
  fetchOrigin: FetchOrigin,
  authorization: string | null,
  timeoutMs: number,
): Promise<Response> {
  const headers = new Headers({ Accept: "application/json" });
  if (authorization !== null) headers.set("Authorization", authorization);
  setAccessToken(headers, config.originAccess);
  return fetchOrigin(`${config.originBase}/public/v1/is-connected`, {
    headers,
    redirect: "manual",
    cache: "no-store",
    signal: AbortSignal.timeout(timeoutMs),
  });
}

/** What Postiz's refusal is about, by its exact body; null for every other: it says nothing about the credential. */
export function refusalIn(status: number, body: string | null): "credential" | "subscription" | null {
  if (status !== 401) return null;
  switch (body) {
    case '{"msg":"Invalid API key"}':
    case '{"msg":"Invalid OAuth token"}':
      return "credential";
    case '{"msg":"No subscription found"}':
      return "subscription";
    default:
      return null;
  }
}
