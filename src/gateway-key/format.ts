/**
 * The gateway's own keys: `pgw_live_<m><tag 16><entropy 27><mac 6>_<crc 6>`, all in base62.
 *
 * - `m` says which MAC secret the key was made under.
 * - `tag` names the tenant's authority, so that a new key works at once, whatever KV has cached.
 * - `entropy`, 160 bits, is what makes it a secret.
 * - `mac` is over all before it, so that a made-up key is refused without asking anyone.
 * - `crc` (CRC-32 of all before its underscore) is for people and for scanners: a key mistyped or cut off shows it.
 */
import { Buffer } from "node:buffer";
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import * as crc32 from "crc-32";
import { customAlphabet } from "nanoid";
import { isTag, type Tag } from "../authority/tag.ts";
import { BASE62, base62 } from "../base62.ts";

/** `KEY_MAC_SECRET`, and the one before it. */
export interface MacSecrets {
  readonly current: string;
  readonly previous: string | null;
}

export interface GatewayKey {
  /** Name of the tenant's authority. */
  readonly tag: Tag;
  /** All that the MAC is over, and the MAC. */
  readonly signed: string;
  readonly mac: string;
  /** Name of the secret. */
  readonly secretName: string;
}

/** `retired`: made under a secret that is not known any more, or never was. */
export type Authenticity = "genuine" | "forged" | "retired";

const KEY =
  /^(?<signed>pgw_(?:live|test)_(?<secretName>[^\W_])(?<tag>[^\W_]{16})[^\W_]{27})(?<mac>[^\W_]{6})_(?<crc>[^\W_]{6})$/;
const MAC_DIGITS = 6;
const CRC_DIGITS = 6;
const entropy = customAlphabet(BASE62, 27);

export function mintGatewayKey(tag: Tag, { current }: MacSecrets): string {
  const signed = `pgw_live_${nameOf(current)}${tag}${entropy()}`;
  const body = signed + macOf(signed, current);
  return `${body}_${crcOf(body)}`;
}

/** Null where the shape or the checksum is wrong. */
export function readGatewayKey(text: string): GatewayKey | null {
  const { signed = "", secretName = "", tag = "", mac = "", crc } = KEY.exec(text)?.groups ?? {};
  if (!isTag(tag) || crc !== crcOf(signed + mac)) return null;
  return { tag, signed, mac, secretName };
}

export function authenticityOf(
  { signed, mac, secretName }: GatewayKey,
  secrets: MacSecrets | null,
): Authenticity {
  const named = [secrets?.current, secrets?.previous].filter(
    (secret): secret is string => typeof secret === "string" && nameOf(secret) === secretName,
  );
  if (named.length === 0) return "retired";
  const found = Buffer.from(mac);
  const isGenuine = named.some((secret) => timingSafeEqual(found, Buffer.from(macOf(signed, secret))));
  return isGenuine ? "genuine" : "forged";
}

/** For people, to tell keys apart: all that is not secret at its beginning, and its last four characters. */
export function hintOf(key: string): string {
  return `${key.slice(0, "pgw_live_".length)}…${key.slice(-4)}`;
}

/** One digit, from the secret itself: nobody has to number them. */
export function nameOf(secret: string): string {
  const digest = createHash("sha256").update(`postiz-gateway key MAC secret ${secret}`).digest();
  return BASE62[(digest[0] ?? 0) % BASE62.length] ?? "";
}

/** The first 35 bits of HMAC-SHA-256. */
function macOf(signed: string, secret: string): string {
  const digest = createHmac("sha256", secret).update(signed).digest("hex");
  return base62(BigInt(`0x${digest.slice(0, 10)}`) >> 5n, MAC_DIGITS);
}

function crcOf(text: string): string {
  return base62(BigInt(crc32.str(text) >>> 0), CRC_DIGITS);
}
