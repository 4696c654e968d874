/**
 * Answers that come before the request's body has ended. Closing a connection with bytes unread resets it, and the
 * client may lose an answer it has not read yet (RFC 9112 §9.6): a 401 or 413 in the middle of an upload would
 * look like a network failure. So the answer is sent at once, and its end withheld while the rest is thrown away.
 */
import { relay } from "../upstream/relay.ts";
import { lengthOf, type RequestBody } from "../upstream/request-body.ts";

export function lingering(response: Response, body: RequestBody | null): Response {
  if (body === null || body.readToItsEnd || response.body === null) return response;
  const { status, statusText, headers } = response;
  const beforeEnd = () => body.discardRest();
  const { readable } = relay(response.body, lengthOf(headers), { beforeEnd });
  return new Response(readable, { status, statusText, headers, encodeBody: "manual" });
}
