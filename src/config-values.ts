/** One variable at a time: its text, or what is wrong with it. */
import { Buffer } from "node:buffer";
import type { Env } from "./env.ts";

const MIN_SECRET_BYTES = 32;

/** A variable that can't be used: which, what it held (never of a secret), what it may hold. */
export interface ConfigProblem {
  readonly variable: string;
  readonly found: string;
  readonly allowed: string;
}

export class InvalidVariable extends Error {
  readonly problem: ConfigProblem;
  constructor(variable: string, found: string, allowed: string) {
    super(variable);
    this.problem = { variable, found, allowed };
  }
}

export type Variable = {
  [Name in keyof Env]: Env[Name] extends string | undefined ? Name : never;
}[keyof Env] &
  string;

/**
 * Text of a variable, or null where it is not set. Empty means not set: dashboards and shells cannot easily say
 * the difference. wrangler.toml may hold numbers, which arrive as such.
 */
export function textOf(env: Env, name: Variable): string | null {
  const value: unknown = env[name];
  if (value === undefined || value === "") return null;
  if (typeof value === "string") return value;
  if (typeof value === "number") return String(value);
  throw new InvalidVariable(name, value === null ? "null" : `a value of type ${typeof value}`, "text");
}

export const quoted = (text: string): string => (text === "" ? "nothing" : JSON.stringify(text));

export function httpUrl(env: Env, name: Variable): string | null {
  const text = textOf(env, name);
  if (text === null) return null;
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url !== null && /^https?:$/.test(url.protocol) && !url.username && !url.password) return text;
  const found = text.includes("@") ? 'something with an "@"' : quoted(text);
  throw new InvalidVariable(name, found, "an absolute http(s) URL without a user name");
}

/** For secrets: what was found is never said. */
export function visibleAscii(env: Env, name: Variable): string | null {
  const text = textOf(env, name);
  if (text !== null && !/^[\x21-\x7e]+$/.test(text)) {
    throw new InvalidVariable(name, `a value of ${text.length} characters`, "visible ASCII characters only");
  }
  return text;
}

export function integer(
  env: Env,
  name: Variable,
  { byDefault, min, max }: { byDefault: number; min: number; max: number },
): number {
  const text = textOf(env, name);
  if (text === null) return byDefault;
  const parsed = /^\d{1,16}$/.test(text) ? Number(text) : Number.NaN;
  if (parsed >= min && parsed <= max) return parsed;
  throw new InvalidVariable(name, quoted(text), `a whole number from ${min} to ${max}`);
}

/** The first of `allowed` is the default. */
export function oneOf<T extends string>(env: Env, name: Variable, allowed: readonly [T, ...T[]]): T {
  const text = textOf(env, name);
  const found = text === null ? allowed[0] : allowed.find((candidate) => candidate === text);
  if (found !== undefined) return found;
  throw new InvalidVariable(name, quoted(text ?? ""), allowed.map(quoted).join(" or "));
}

/** What is separated by commas. */
export function entriesOf(env: Env, name: Variable): readonly string[] {
  return (
    textOf(env, name)
      ?.split(",")
      .map((entry) => entry.trim()) ?? []
  );
}

export function someOf<T extends string>(env: Env, name: Variable, allowed: readonly T[]): readonly T[] {
  return entriesOf(env, name).map((entry) => {
    const found = allowed.find((candidate) => candidate === entry);
    if (found !== undefined) return found;
    throw new InvalidVariable(
      name,
      quoted(entry),
      `some of ${allowed.map(quoted).join(", ")}, separated by commas`,
    );
  });
}

/** A secret of some length: what is short can be guessed. */
export function longSecret(env: Env, name: Variable): string | null {
  const text = visibleAscii(env, name);
  if (text === null || text.length >= MIN_SECRET_BYTES) return text;
  const allowed = `at least ${MIN_SECRET_BYTES} visible ASCII characters, such as from "openssl rand -base64 32"`;
  throw new InvalidVariable(name, `a value of ${text.length} characters`, allowed);
}

export function aes256Key(env: Env, name: Variable): Uint8Array | null {
  const text = textOf(env, name);
  if (text === null) return null;
  const bytes = Buffer.from(text, "base64");
  if (bytes.byteLength === 32 && /^[A-Za-z0-9+/]{43}=$/.test(text)) return new Uint8Array(bytes);
  const allowed = '32 bytes in base64, such as from "openssl rand -base64 32"';
  throw new InvalidVariable(name, `a value of ${text.length} characters`, allowed);
}
