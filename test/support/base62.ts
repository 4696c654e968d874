/** The digits and the checksum of gateway keys, written down a second time, as a scanner or an auditor would. */
import { crc32 } from "node:zlib";

export const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

export function base62(value: number, length: number): string {
  let text = "";
  for (let rest = value; text.length < length; rest = Math.floor(rest / 62)) text = DIGITS[rest % 62] + text;
  return text;
}

/** `body`: all of a key before its last underscore. */
export function withCrc(body: string): string {
  return `${body}_${base62(crc32(body), 6)}`;
}
