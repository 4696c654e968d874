/** What the runtime says of calls to objects that failed. */

/** Set on exceptions of Durable Object stubs: the object has more to do than it can, and is to be left alone. */
export const isOverloaded = (error: unknown): boolean =>
  (error as { overloaded?: boolean }).overloaded === true;

const isRetryable = (error: unknown): boolean =>
  (error as { retryable?: boolean }).retryable === true && !isOverloaded(error);

/**
 * Calls, and once more where that may help and there is still reason to. A stub is broken by its first exception, so `call` has to
 * take a new one each time; and the object has to take a second call for the first.
 */
export async function callTwice<T>(call: () => Promise<T>, isWorthIt = () => true): Promise<T> {
  try {
    return await call();
  } catch (error) {
    if (!isRetryable(error) || !isWorthIt()) throw error;
    return call();
  }
}

/** A method that the object does not have: one of an earlier version, in the middle of a rollout. */
export function isUnknownMethod(error: unknown): boolean {
  return error instanceof TypeError && error.message.includes("does not implement the method");
}
