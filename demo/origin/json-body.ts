/** The JSON body parser that Postiz runs before it routes or authenticates anything. */
import { badRequest, json } from "./answers.ts";
import { type Arrival, countBytes } from "./log.ts";

/** `100kb`, the parser's default. */
const MAX_JSON_BYTES = 102_400;

type Body =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly refusal: Response };

export async function readJson(request: Request, arrival: Arrival): Promise<Body> {
  const mediaType = request.headers.get("Content-Type")?.split(";")[0]?.trim().toLowerCase();
  if (request.body === null || mediaType !== "application/json") return { ok: true, value: undefined };

  const text = await readText(request.body, arrival);
  if (text === undefined) {
    return { ok: false, refusal: json(413, { statusCode: 413, message: "request entity too large" }) };
  }
  return parse(text);
}

/** Undefined when there is more than the parser takes; the rest is not read. */
async function readText(stream: ReadableStream<Uint8Array>, arrival: Arrival): Promise<string | undefined> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    countBytes(arrival, chunk.byteLength);
    if ((arrival.bytes ?? 0) > MAX_JSON_BYTES) return undefined;
    text += decoder.decode(chunk, { stream: true });
  }
  arrival.lastByteAt = Date.now();
  return text + decoder.decode();
}

function parse(text: string): Body {
  if (text === "") return { ok: true, value: {} };
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value === "object" && value !== null) return { ok: true, value };
    return { ok: false, refusal: badRequest(`Unexpected token, "${text}" is not valid JSON`) };
  } catch (error) {
    return { ok: false, refusal: badRequest(error instanceof Error ? error.message : "Invalid JSON") };
  }
}
