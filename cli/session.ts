/** What every command begins with: options, environment, a connection. */
import { type Command, InvalidArgumentError } from "commander";
import { IDENTIFIER } from "../src/authority/tenant-id.ts";
import { type Api, connect } from "./client.ts";
import { WrongUse } from "./failures.ts";

export const DEFAULT_URL = "http://127.0.0.1:8787";

/** npm runs scripts in the project's folder, under their names. */
export const isScript = process.env["npm_lifecycle_event"] === "gateway";

export interface Session {
  readonly api: Api;
  readonly json: boolean;
  /** How to call the program so that it talks to the same gateway in the same way. */
  readonly call: string;
}

interface GlobalOptions {
  readonly url?: string;
  readonly json?: boolean;
}

export function openSession(command: Command): Session {
  const token = process.env["GATEWAY_ADMIN_TOKEN"] ?? "";
  if (!/^[\x21-\x7e]+$/.test(token)) {
    const found = token === "" ? "not set" : "no text of visible ASCII characters";
    throw new WrongUse(
      `GATEWAY_ADMIN_TOKEN is ${found}: allowed is the ADMIN_TOKEN that the gateway was given.`,
    );
  }
  const { url, json, isUrlGiven } = readGlobals(command);
  const call = [
    isScript ? "npm run -s gateway --" : "postiz-gateway",
    // From the environment as well: it may have been set for this one call.
    ...(isUrlGiven ? [`--url ${url}`] : []),
    ...(json ? ["--json"] : []),
  ];
  return { api: connect(url, token).api, json, call: call.join(" ") };
}

/** For what anybody may ask. */
export function openWithoutToken(command: Command) {
  const { url, json } = readGlobals(command);
  return { ...connect(url, null), url, json };
}

interface Globals {
  readonly url: string;
  readonly isUrlGiven: boolean;
  readonly json: boolean;
}

function readGlobals(command: Command): Globals {
  const { url, json = false } = command.optsWithGlobals<GlobalOptions>();
  const [name, given] = url === undefined ? ["GATEWAY_URL", process.env["GATEWAY_URL"]] : ["--url", url];
  return { url: baseOf(name, given || DEFAULT_URL), isUrlGiven: Boolean(given), json };
}

function baseOf(name: string, text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  const isBase =
    url !== null && /^https?:$/.test(url.protocol) && url.pathname === "/" && url.search + url.hash === "";
  if (isBase && url.username + url.password === "") return url.origin;
  // What is not understood may hold a secret.
  const found =
    url !== null && url.username + url.password !== "" ? "a URL with a user name" : JSON.stringify(text);
  throw new WrongUse(
    `${name} is ${found}: allowed is the gateway's address, such as https://postiz-api.example.com or ${DEFAULT_URL}.`,
  );
}

/** An id becomes part of a path. */
export function identifier(text: string): string {
  if (IDENTIFIER.test(text)) return text;
  throw new InvalidArgumentError('Allowed are 1 to 64 of A-Z, a-z, 0-9, "_" and "-".');
}

export function time(text: string): string {
  const isTime = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text);
  if (isTime && !Number.isNaN(Date.parse(text))) return text;
  throw new InvalidArgumentError("Allowed is a time of RFC 3339, such as 2027-01-31T12:00:00Z.");
}

export function count(text: string): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (value > 0) return value;
  throw new InvalidArgumentError("Allowed is a whole number from 1 to 999999999.");
}

/** For the end of a command's help. */
export const examples = (...lines: readonly string[]): string =>
  `\nExamples:\n${lines.map((line) => `  ${line}`).join("\n")}\n`;
