/** Postiz's check of the public API's credential: the raw `Authorization` header, never `Bearer`. */
import { json } from "./answers.ts";
import type { OriginEnv } from "./routing.ts";

type Refusal = "No API Key found" | "Invalid API key" | "Invalid OAuth token" | "No subscription found";

type Caller =
  | { readonly ok: true; readonly credential: string }
  | { readonly ok: false; readonly msg: Refusal };

const OAUTH_TOKEN = /^pos_[A-Za-z0-9]{40}$/;
/** Postiz's column is free text; no spaces keeps `Bearer …` out, no comma keeps two joined headers out. */
const API_KEY = /^(?!pos_)[!-+\--~]{1,512}$/;

export function authenticate(headers: Headers, env: OriginEnv): Caller {
  const credential = headers.get("Authorization");
  if (!credential) return { ok: false, msg: "No API Key found" };
  if (list(env.UNSUBSCRIBED_CREDENTIALS).includes(credential)) {
    return { ok: false, msg: "No subscription found" };
  }
  if (isAccepted(credential, env)) return { ok: true, credential };
  return { ok: false, msg: credential.startsWith("pos_") ? "Invalid OAuth token" : "Invalid API key" };
}

/** No `WWW-Authenticate`: Postiz sends none. */
export function unauthorized(msg: Refusal): Response {
  return json(401, { msg });
}

function isAccepted(credential: string, env: OriginEnv): boolean {
  if (env.ACCEPTED_CREDENTIALS === "*") return OAUTH_TOKEN.test(credential) || API_KEY.test(credential);
  return list(env.ACCEPTED_CREDENTIALS).includes(credential);
}

function list(value: string | undefined): readonly string[] {
  return (value ?? "").split(",").map((item) => item.trim());
}
