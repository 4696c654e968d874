/**
 * Denial → Response, the only place that renders one. Postiz's documented bodies go out byte for byte, because
 * its clients compare and print them; every other refusal has a body that any client of Postiz can read, the
 * ones that look for `message` and the ones that look for `msg`. Who asks for it gets RFC 9457 instead.
 */
import { DENIAL_SPECS, type Denial, type DenialReason } from "../denial.ts";
import { POLICIES } from "../quota/policy.ts";
import { setRateHeaders } from "../quota/rate-headers.ts";
import { PSEUDONYM } from "../upstream/request-headers.ts";
import { bearerChallenge } from "./challenge.ts";

const DEFAULT_RETRY_AFTER_SECONDS = 60;

export interface DenialContext {
  readonly requestId: string;
  readonly method: string;
  /** The client asked for `application/problem+json`, or the path is the gateway's own. */
  readonly asProblem: boolean;
  /** Scheme and host the client used, for absolute links. */
  readonly baseUrl: string;
}

const encoder = new TextEncoder();

const INVALID_KEY = '{"msg":"Invalid API key"}';
const INVALID_TOKEN = '{"msg":"Invalid OAuth token"}';
const NO_SUBSCRIPTION = '{"msg":"No subscription found"}';
const THROTTLED = '{"statusCode":429,"message":"ThrottlerException: Too Many Requests"}';

export function denialResponse(found: Denial, context: DenialContext): Response {
  const denial = asShown(found);
  const { status } = DENIAL_SPECS[denial.reason];
  const headers = denialHeaders(denial, context.requestId);
  const text = context.asProblem ? problemBody(denial, context) : (postizBody(denial) ?? plainBody(denial));
  const body = encoder.encode(text);
  headers.set(
    "Content-Type",
    context.asProblem ? "application/problem+json" : "application/json; charset=utf-8",
  );
  // Set by hand for HEAD's sake, whose answer tells the length of GET's (RFC 9110 §9.3.2).
  headers.set("Content-Length", String(body.byteLength));
  return new Response(context.method === "HEAD" ? null : body, { status, headers });
}

/** Whoever tries a credential under another tenant's host name is not to learn that it is good elsewhere; the event says so. */
function asShown(denial: Denial): Denial {
  if (denial.reason !== "host_not_allowed") return denial;
  return { ...denial, reason: denial.aboutToken === true ? "token_inactive" : "key_unknown" };
}

function denialHeaders(denial: Denial, requestId: string): Headers {
  const { status, proxyError } = DENIAL_SPECS[denial.reason];
  const headers = new Headers({ "Cache-Control": "no-store", "X-Request-Id": requestId });
  headers.set("Proxy-Status", `${PSEUDONYM}; error=${proxyError}; details="${denial.reason}"`);
  if (status === 401 || denial.scope !== undefined) {
    headers.set("WWW-Authenticate", bearerChallenge(denial));
  }
  if (status === 429 || status === 503) headers.set("Retry-After", retryAfter(status, denial));
  if (denial.allow !== undefined) headers.set("Allow", denial.allow.join(", "));
  setRateHeaders(headers, denial.quota ?? null, false);
  return headers;
}

/** A limit opens when it opens. All whom one trouble has refused in the same second are not to come back in the same second. */
function retryAfter(status: 429 | 503, { retryAfterSeconds = DEFAULT_RETRY_AFTER_SECONDS }: Denial): string {
  const spread = status === 503 ? Math.floor(Math.random() * (retryAfterSeconds + 1)) : 0;
  return String(retryAfterSeconds + spread);
}

/** What Postiz itself would have said, where it has a word for it. */
function postizBody({ reason, aboutToken, quota }: Denial): string | null {
  if (reason === "subscription_inactive") return NO_SUBSCRIPTION;
  if (reason === "rate_limited")
    return quota && POLICIES[quota.policy.name].countedByOrigin ? THROTTLED : null;
  if (DENIAL_SPECS[reason].status !== 401) return null;
  return aboutToken === true ? INVALID_TOKEN : INVALID_KEY;
}

function plainBody({ reason, detail }: Denial): string {
  return JSON.stringify({
    statusCode: DENIAL_SPECS[reason].status,
    message: detail,
    msg: detail,
    code: reason,
  });
}

/** RFC 9457; `type` can be looked up on the gateway itself. */
function problemBody(denial: Denial, { requestId, baseUrl }: DenialContext): string {
  const { status, message } = DENIAL_SPECS[denial.reason];
  const postiz = postizBody(denial);
  const words = postiz === null ? {} : (JSON.parse(postiz) as { msg?: string; message?: string });
  return JSON.stringify({
    type: problemType(baseUrl, denial.reason),
    title: message,
    status,
    detail: denial.detail,
    instance: `urn:uuid:${requestId}`,
    code: denial.reason,
    msg: words.msg ?? words.message ?? denial.detail,
  });
}

const problemType = (baseUrl: string, reason: DenialReason): string => `${baseUrl}/_gateway/errors/${reason}`;

/** RFC 9110 §12.5.1: named with a weight above 0. A wildcard is no wish for problem details. */
export function wantsProblem(headers: Headers): boolean {
  const accept = headers.get("Accept")?.toLowerCase();
  if (accept === undefined || !accept.includes("problem+json")) return false;
  return accept
    .split(",")
    .map((range) => range.split(";").map((part) => part.trim()))
    .some(
      ([type, ...params]) =>
        type === "application/problem+json" && !params.some((p) => /^q=0(\.0*)?$/.test(p)),
    );
}
