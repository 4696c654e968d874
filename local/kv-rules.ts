/** What Workers KV refuses: the limits of keys, values and options, checked before the store is asked. */

const MAX_KEY_BYTES = 512;

/** The binding turns status and reason phrase into the exception that its caller sees. */
export class Refusal extends Error {
  readonly status: number;
  constructor(status: number, reason: string) {
    super(reason);
    this.status = status;
  }

  response(): Response {
    return new Response(null, { status: this.status, statusText: this.message });
  }
}

export function checkKey(key: string): string {
  if (key === "" || key === "." || key === "..")
    throw new Refusal(400, 'Keys "", "." and ".." are not allowed');
  const { byteLength } = new TextEncoder().encode(key);
  if (byteLength <= MAX_KEY_BYTES) return key;
  throw new Refusal(
    414,
    `UTF-8 encoded length of ${byteLength} exceeds key length limit of ${MAX_KEY_BYTES}.`,
  );
}

export function checkSize(what: string, bytes: number, limit: number): void {
  if (bytes > limit) throw new Refusal(413, `${what} length of ${bytes} exceeds limit of ${limit}.`);
}

export function checkAtLeast(name: string, value: string | null, least: number): number | null {
  if (value === null) return null;
  const number = Number(value);
  if (Number.isInteger(number) && number >= least) return number;
  throw new Refusal(400, `Invalid ${name} of ${number}: allowed is a whole number from ${least}`);
}

export function decode(encoded: string): string {
  try {
    return decodeURIComponent(encoded);
  } catch {
    throw new Refusal(400, "Not percent-encoded UTF-8");
  }
}
