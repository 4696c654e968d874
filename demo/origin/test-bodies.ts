/** Bodies that a proxy can spoil: encoded, partial, endless. */
import type { Handler } from "./routing.ts";

const BINARY = { "Content-Type": "application/octet-stream" };
const RANGE_BODY = Uint8Array.from({ length: 1000 }, (_, index) => 97 + (index % 26));
const RANGE_ETAG = '"demo-range-1"';
const GZIP_TEXT = `${"All of this is one gzip stream. ".repeat(200)}\n`;
const HUGE_CHUNK_BYTES = 65_536;

export const bodies: Readonly<Record<string, Handler>> = {
  range: ({ request }) => range(request.headers.get("Range")),
  gzip: async () => gzipped(await gzipBytes()),
  // A stream has no length to announce, so it goes out chunked.
  "gzip-chunked": async () =>
    gzipped(new Blob([await gzipBytes()]).stream().pipeThrough(new TransformStream())),
  huge: ({ query }) => new Response(zeros(Number(query.get("bytes") ?? 0)), { headers: BINARY }),
};

function range(header: string | null): Response {
  const headers = { ...BINARY, "Accept-Ranges": "bytes", ETag: RANGE_ETAG };
  const size = RANGE_BODY.byteLength;
  const wanted = parseRange(header, size);
  if (!wanted) return new Response(RANGE_BODY, { headers });

  const { first, last } = wanted;
  if (first >= size) {
    return new Response(null, { status: 416, headers: { ...headers, "Content-Range": `bytes */${size}` } });
  }
  return new Response(RANGE_BODY.slice(first, last + 1), {
    status: 206,
    headers: { ...headers, "Content-Range": `bytes ${first}-${last}/${size}` },
  });
}

/** RFC 9110, section 14.1.2: `a-b`, `a-` or the last `-n` bytes. What is malformed is ignored. */
function parseRange(header: string | null, size: number): { first: number; last: number } | undefined {
  const [, from, to] = /^bytes=(\d*)-(\d*)$/.exec(header ?? "") ?? [];
  if (!from) return to ? { first: Math.max(0, size - Number(to)), last: size - 1 } : undefined;
  const last = to ? Math.min(Number(to), size - 1) : size - 1;
  return to && Number(to) < Number(from) ? undefined : { first: Number(from), last };
}

function gzipped(body: BodyInit): Response {
  // "manual": the bytes are encoded already; otherwise the runtime would do it once more.
  return new Response(body, {
    encodeBody: "manual",
    headers: { "Content-Type": "text/plain", "Content-Encoding": "gzip", Vary: "Accept-Encoding" },
  });
}

function gzipBytes(): Promise<ArrayBuffer> {
  const plain = new Blob([GZIP_TEXT]).stream();
  return new Response(plain.pipeThrough(new CompressionStream("gzip"))).arrayBuffer();
}

function zeros(bytes: number): ReadableStream<Uint8Array> {
  let left = bytes;
  return new ReadableStream({
    pull(controller) {
      if (left > 0) controller.enqueue(new Uint8Array(Math.min(left, HUGE_CHUNK_BYTES)));
      left -= HUGE_CHUNK_BYTES;
      if (left <= 0) controller.close();
    },
  });
}
