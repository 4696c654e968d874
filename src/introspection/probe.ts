/** Introspection without an introspection endpoint: the origin is asked with the credential itself. */
import { refusalIn } from "../upstream/ask-origin.ts";
import { readText } from "../upstream/read-text.ts";
import { type Answer, INACTIVE, UNKNOWN } from "./answer.ts";

const MAX_BYTES = 1_024;

/**
 * Postiz answers `{"connected":true}`, or one of its exact refusals. Anything else says nothing about the
 * credential: an empty 401 is what Postiz answers when its database is down.
 */
export async function readProbe(response: Response): Promise<Answer> {
  const text = await readText(response, MAX_BYTES);
  if (response.status === 200)
    return isConnected(text) ? { ...UNKNOWN, active: true, subscribed: true } : UNKNOWN;
  switch (refusalIn(response.status, text)) {
    case "credential":
      return INACTIVE;
    case "subscription":
      return { ...UNKNOWN, active: true, subscribed: false };
    case null:
      return UNKNOWN;
  }
}

function isConnected(text: string | null): boolean {
  try {
    return (JSON.parse(text ?? "") as { connected?: unknown } | null)?.connected === true;
  } catch {
    return false;
  }
}
