/** The origin's refusal of what the gateway let in: looked at for what it is about, and passed on all the same. */
import { refusalIn } from "./ask-origin.ts";
import { MAX_REFUSAL_BYTES, type OriginAnswer } from "./forward.ts";

export function refusalOf({ response, body }: OriginAnswer): ReturnType<typeof refusalIn> {
  const { status, headers } = response;
  if (status !== 401 || body?.head?.byteLength !== body?.length) return null;
  const isText = body !== null && body.head !== null && !headers.has("Content-Encoding");
  if (!isText || body.head.byteLength > MAX_REFUSAL_BYTES) return null;
  return refusalIn(status, new TextDecoder().decode(body.head));
}
