/**
 * One reading of the request target. The origin's proxies and frameworks decode, collapse and lower-case paths
 * each in their own way; whatever two of them could read differently is refused here, and everything after this
 * step, the decision and the forward alike, works on the path this step returns.
 */
import { deny, pass, type Result } from "../denial.ts";

export interface Target {
  /** `http` or `https`, as the client connected. */
  readonly protocol: string;
  /** Host and port as the client sent them, checked for shape only. */
  readonly host: string;
  /** As sent, up to the query. */
  readonly rawPath: string;
  /** Canonical: no empty or dot segments, no trailing slash, unreserved characters decoded. */
  readonly path: string;
  /** With its question mark, byte for byte; empty where there is none. */
  readonly query: string;
}

const HOST = /^(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?$/;
/** `pchar` and "/" of RFC 3986 §3.3, less ";", which servers with path parameters cut at. */
const PATH = /^(?:[A-Za-z0-9\-._~!$&'()*+,=:@/]|%[0-9A-Fa-f]{2})+$/;
/** Paths in which nothing needs decoding, collapsing or refusing: nearly all. */
const PLAIN = /^(?:\/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+$/;
/** Encoded delimiters of a URL, percent sign and control bytes: two readings, depending on who decodes when. */
const TWO_READINGS = /%(?:2f|5c|25|3b|3f|23|[01][0-9a-f]|7f)/i;

/**
 * Splits without `new URL`, which would resolve dot segments and backslashes before anyone has looked. The runtime
 * puts the URL together from the Host field and the request target, so that a path in the first would seem to
 * be one in the second. `protocol`: where it is known better than from the URL.
 */
export function readTarget(
  url: string,
  hostField: string | null,
  protocol = url.slice(0, url.indexOf("://")),
): Result<Target> {
  const authorityStart = url.indexOf("://") + 3;
  const pathStart = url.indexOf("/", authorityStart);
  const queryStart = url.indexOf("?", authorityStart);
  const pathEnd = queryStart === -1 ? url.length : queryStart;
  const host = url.slice(authorityStart, pathStart === -1 || pathStart > pathEnd ? pathEnd : pathStart);
  if (!HOST.test(host) || !HOST.test(hostField ?? host)) {
    return deny("request_malformed", "The request must have one Host with a valid name, and a path");
  }
  const rawPath = pathStart === -1 || pathStart > pathEnd ? "/" : url.slice(pathStart, pathEnd);
  const path = canonicalPath(rawPath);
  if (!path.ok) return path;
  return pass({ protocol, host, rawPath, path: path.value, query: url.slice(pathEnd) });
}

export function canonicalPath(rawPath: string): Result<string> {
  if (PLAIN.test(rawPath)) return pass(rawPath);
  if (!PATH.test(rawPath)) {
    return ambiguous(
      "a character that RFC 3986 does not allow in a path, a semicolon, or a broken percent-encoding",
    );
  }
  if (TWO_READINGS.test(rawPath)) {
    return ambiguous('an encoded "/", "\\", "%", ";", "?", "#" or control character');
  }
  if (!isUtf8(rawPath)) return ambiguous("percent-encoded bytes that are not valid UTF-8");
  const decoded = rawPath.replace(/%[0-9A-Fa-f]{2}/g, decodeUnreserved).replace(/\/{2,}/g, "/");
  if (/\/\.{1,2}(?:\/|$)/.test(decoded)) return ambiguous('a "." or ".." segment');
  return pass(decoded.length > 1 && decoded.endsWith("/") ? decoded.slice(0, -1) : decoded);
}

/** RFC 3986 §2.3: encoded or not, an unreserved character means the same. §2.1: hex digits in upper case. */
function decodeUnreserved(encoded: string): string {
  const character = String.fromCharCode(Number.parseInt(encoded.slice(1), 16));
  return /[A-Za-z0-9\-._~]/.test(character) ? character : encoded.toUpperCase();
}

function isUtf8(path: string): boolean {
  try {
    decodeURIComponent(path);
    return true;
  } catch {
    return false;
  }
}

function ambiguous(what: string): Result<never> {
  return deny("path_ambiguous", `The path holds ${what}`);
}
