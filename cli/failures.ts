/** Why a command did not do what it was asked to. */
import type * as z from "zod";
import type { problemDetails } from "../src/admin/schemas.ts";

export type Problem = z.infer<typeof problemDetails>;

/** The command line, the environment or the input is at fault; the gateway was not asked. */
export class WrongUse extends Error {}

/** The gateway has said no. */
export class Refused extends Error {
  readonly problem: Problem;
  /** Null where it did not say when to come again. */
  readonly retryAfterSeconds: number | null;

  constructor(problem: Problem, retryAfterSeconds: number | null) {
    super(problem.detail);
    this.problem = problem;
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/** Nobody has answered, or somebody else than the gateway. */
export class Unreachable extends Error {}

export const EXIT = { done: 0, refused: 1, wrongUse: 2, unreachable: 3, interrupted: 130 } as const;

export function exitCodeOf(error: unknown): number {
  if (error instanceof WrongUse) return EXIT.wrongUse;
  return error instanceof Unreachable ? EXIT.unreachable : EXIT.refused;
}

/** For people, or for scripts: one line of JSON. */
export function describeFailure(error: Error, json: boolean): string {
  if (!(error instanceof Refused)) {
    const code = error instanceof WrongUse ? "wrong_use" : "unreachable";
    return json ? JSON.stringify({ code, detail: error.message }) : error.message;
  }
  const { problem } = error;
  if (json) return JSON.stringify(problem);
  const { title, detail, code, instance, errors = [] } = problem;
  const about = `(${code}, request ${instance.replace(/^urn:uuid:/, "")})`;
  // The gateway says it as to any caller; this one presents nothing but the admin token.
  if (problem.status === 401 && code === "key_unknown") {
    return `The gateway does not know this admin token: allowed is its ADMIN_TOKEN, in GATEWAY_ADMIN_TOKEN ${about}`;
  }
  if (errors.length === 0) return `${title}: ${detail} ${about}`;
  const fields = errors.map(({ field, message }) => `\n  ${field === "" ? "" : `${field}: `}${message}`);
  return `${title} ${about}${fields.join("")}`;
}
