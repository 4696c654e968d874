/** Uploads are counted and digested while they stream, so that tests can compare; nothing is kept. */
import { badRequest, json } from "./answers.ts";
import { type Arrival, countBytes } from "./log.ts";
import type { Call } from "./routing.ts";

/** Each read leaves some garbage behind, however much it reads: few large ones keep the runtime small. */
const CHUNK_BYTES = 262_144;

/** Bytes and digest are those of the raw request body, multipart framing included: what was on the wire. */
export async function upload({ request, arrival }: Call): Promise<Response> {
  if (request.body === null) return json(400, { msg: "No file provided" });
  const sha256 = await digest(request.body, arrival);
  arrival.lastByteAt = Date.now();
  arrival.sha256 = sha256;
  const id = crypto.randomUUID();
  const media = { id, name: id, path: `https://uploads.postiz.example/${id}` };
  return json(201, { ...media, bytes: arrival.bytes ?? 0, sha256 });
}

export function uploadFromUrl({ body }: Call): Response {
  const url = typeof body === "object" && body !== null ? Reflect.get(body, "url") : undefined;
  if (typeof url !== "string" || !URL.canParse(url)) return badRequest(["url must be a URL address"]);
  // Nothing is fetched: a demo server that fetches what it is told to would be a hole in someone's network.
  const id = crypto.randomUUID();
  return json(201, { id, name: id, path: url });
}

async function digest(body: ReadableStream<Uint8Array>, arrival: Arrival): Promise<string> {
  const sink = new crypto.DigestStream("SHA-256");
  const writer = sink.getWriter();
  const reader = body.getReader({ mode: "byob" });
  // The very first bytes are reported at once; after them, in large pieces.
  let atLeastBytes = 1;
  let buffer = new Uint8Array(CHUNK_BYTES);
  for (;;) {
    const { done, value } = await reader.readAtLeast(atLeastBytes, buffer);
    if (done || !value) break;
    countBytes(arrival, value.byteLength);
    await writer.write(value);
    // The read took the buffer away and hands it back: reusing it keeps memory flat.
    buffer = new Uint8Array(value.buffer);
    atLeastBytes = CHUNK_BYTES;
  }
  await writer.close();
  return hex(await sink.digest);
}

function hex(bytes: ArrayBuffer): string {
  return [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
