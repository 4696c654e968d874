/** What the gateway's own API says when it can't do what was asked: RFC 9457. Denials have their own table. */

/** Codes beside the reasons of a Denial. */
export const PROBLEMS = {
  invalid: { status: 400, message: "The request is not what this operation takes" },
  not_found: { status: 404, message: "There is no such thing" },
  already_exists: { status: 409, message: "It exists already" },
  not_possible: { status: 409, message: "Its state does not allow that" },
  precondition_failed: { status: 412, message: "It has been changed since" },
  idempotency_mismatch: { status: 422, message: "The Idempotency-Key was used for something else" },
  unsupported_media_type: { status: 415, message: "The body is of a type that is not taken here" },
  directory_unavailable: { status: 503, message: "The directory did not answer: ask again" },
  config_invalid: { status: 503, message: "The gateway's configuration is not valid" },
} as const;

export type ProblemCode = keyof typeof PROBLEMS;
export type ProblemStatus = (typeof PROBLEMS)[ProblemCode]["status"];

export interface ProblemContext {
  readonly requestId: string;
  /** Scheme and host the client used. */
  readonly baseUrl: string;
}

export function problemResponse(
  code: ProblemCode,
  detail: string,
  { requestId, baseUrl }: ProblemContext,
  more: object = {},
): Response {
  const { status, message } = PROBLEMS[code];
  const body = {
    type: `${baseUrl}/_gateway/errors/${code}`,
    title: message,
    status,
    detail,
    instance: `urn:uuid:${requestId}`,
    code,
    msg: detail,
    ...more,
  };
  const headers = { "Content-Type": "application/problem+json", "Cache-Control": "no-store" };
  return new Response(JSON.stringify(body), {
    status,
    headers: status === 503 ? { ...headers, "Retry-After": "60" } : headers,
  });
}
