/** What the runtime says of calls to objects that failed. */

/** Set on exceptions of Durable Object stubs: the object has more to do than it can, and is to be left alone. */
export const isOverloaded = (error: unknown): boolean =>
  (error as { overloaded?: boolean }).overloaded === true;

/** Asking once more, of a new stub, may help. */
export const isRetryable = (error: unknown): boolean =>
  (error as { retryable?: boolean }).retryable === true && !isOverloaded(error);

/** A method that the object does not have: one of an earlier version, in the middle of a rollout. */
export function isUnknownMethod(error: unknown): boolean {
  return error instanceof TypeError && error.message.includes("does not implement the method");
}
