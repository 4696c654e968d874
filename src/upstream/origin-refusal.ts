/** The origin's refusal of what the gateway let in: read for what it is about, and passed on all the same. */
import { deny, pass, type Result } from "../denial.ts";
import { TimeoutError, within } from "../timeout.ts";
import { refusalIn } from "./ask-origin.ts";
import { lengthOf } from "./request-body.ts";

/** Postiz's are shorter. */
const MAX_BYTES = 256;

export interface HeardAnswer {
  /** As it came; its body can still be read. */
  readonly response: Response;
  readonly about: ReturnType<typeof refusalIn>;
}

/** `timeoutMs`: how long the origin may take for the few bytes. */
export async function hearRefusal(response: Response, timeoutMs: number): Promise<Result<HeardAnswer>> {
  const { status, headers, body } = response;
  const length = lengthOf(headers);
  const isShort = body !== null && length !== null && length <= MAX_BYTES && !headers.has("Content-Encoding");
  if (status !== 401 || !isShort) return pass({ response, about: null });
  try {
    const bytes = await within(timeoutMs, response.arrayBuffer());
    const about = refusalIn(status, new TextDecoder().decode(bytes));
    return pass({ response: new Response(bytes, response), about });
  } catch (error) {
    return error instanceof TimeoutError
      ? deny("origin_timeout", `The origin did not finish its answer within ${timeoutMs} ms`)
      : deny("origin_invalid", "The origin's answer broke off");
  }
}
