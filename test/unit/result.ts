/** Opening a Result in a test: what was expected to pass, or to be refused, tells why when it was not. */
import type { Denial, DenialReason, Result } from "../../src/denial.ts";

export function passed<T>(result: Result<T>): T {
  if (!result.ok) throw new Error(`refused: ${result.denial.reason}, ${result.denial.detail}`);
  return result.value;
}

export function denialOf(result: Result<unknown>): Denial {
  if (result.ok) throw new Error(`passed: ${JSON.stringify(result.value)}`);
  return result.denial;
}

export const reasonOf = (result: Result<unknown>): DenialReason | "passed" =>
  result.ok ? "passed" : result.denial.reason;
