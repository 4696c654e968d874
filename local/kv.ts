/**
 * Workers KV for bare workerd, which brings the binding but no store: the binding's HTTP protocol on one side, a
 * Durable Object per namespace on the other. Unlike the platform's KV it is strongly consistent, and a value may
 * have 1 MiB, where the platform takes 25: a row of a Durable Object's SQLite holds no more than two.
 */
import { WorkerEntrypoint } from "cloudflare:workers";
import { checkAtLeast, checkKey, checkSize, decode, Refusal } from "./kv-rules.ts";
import type { Entry, KvStore } from "./kv-store.ts";

export { KvStore } from "./kv-store.ts";

interface KvEnv {
  readonly STORE: DurableObjectNamespace<KvStore>;
}

interface BulkGet {
  readonly keys: readonly string[];
  readonly type?: string;
  readonly cacheTtl?: string;
  readonly withMetadata?: boolean;
}

const MAX_METADATA_BYTES = 1024;
const MAX_VALUE_BYTES = 1024 * 1024;
const MIN_TTL_SECONDS = 60;
const MIN_CACHE_TTL_SECONDS = 30;
const MAX_LIST_KEYS = 1000;
const MAX_BULK_KEYS = 100;

/** The binding's props say which namespace it is. */
export default class Kv extends WorkerEntrypoint<KvEnv, { readonly namespace: string }> {
  override async fetch(request: Request): Promise<Response> {
    try {
      return await this.#answer(request, new URL(request.url));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // A body that nobody reads would break the connection, and the caller would see that in place of the reason.
      if (!request.bodyUsed) await request.arrayBuffer();
      return error.response();
    }
  }

  /** A method, so that a test can move the clock. */
  protected nowSeconds(): number {
    return Math.floor(Date.now() / 1000);
  }

  get #store(): DurableObjectStub<KvStore> {
    return this.env.STORE.getByName(this.ctx.props.namespace);
  }

  async #answer(request: Request, { pathname, searchParams: query }: URL): Promise<Response> {
    const route = `${request.method} ${pathname}`;
    if (route === "POST /bulk/get") return this.#getMany(await request.json());
    if (route === "GET /") return this.#list(query);
    const key = checkKey(decode(pathname.slice(1)));
    if (request.method === "GET") return this.#get(key, query);
    if (request.method === "PUT") return this.#put(key, request, query);
    if (request.method !== "DELETE") throw new Refusal(405, `No ${request.method} in the KV protocol`);
    await this.#store.delete(key);
    return new Response();
  }

  async #get(key: string, query: URLSearchParams): Promise<Response> {
    checkAtLeast("cache_ttl", query.get("cache_ttl"), MIN_CACHE_TTL_SECONDS);
    const [entry] = await this.#store.get([key], this.nowSeconds());
    if (!entry) throw new Refusal(404, "Not Found");
    const headers = new Headers();
    if (entry.metadata !== null) headers.set("CF-KV-Metadata", entry.metadata);
    if (entry.expiration !== null) headers.set("CF-Expiration", String(entry.expiration));
    return new Response(entry.value, { headers });
  }

  async #getMany({ keys, type = "text", cacheTtl, withMetadata }: BulkGet): Promise<Response> {
    if (keys.length < 1 || keys.length > MAX_BULK_KEYS) {
      throw new Refusal(400, `${keys.length} keys: allowed are 1 to ${MAX_BULK_KEYS}`);
    }
    checkAtLeast("cache_ttl", cacheTtl ?? null, MIN_CACHE_TTL_SECONDS);
    const entries = await this.#store.get(keys.map(checkKey), this.nowSeconds());
    const values = entries.map((entry) => {
      if (entry === null) return null;
      const value = bulkValue(entry, type);
      return withMetadata ? { value, metadata: JSON.parse(entry.metadata ?? "null") } : value;
    });
    return Response.json(Object.fromEntries(keys.map((key, i) => [key, values[i]])));
  }

  async #put(key: string, request: Request, query: URLSearchParams): Promise<Response> {
    const now = this.nowSeconds();
    const ttl = checkAtLeast("expiration_ttl", query.get("expiration_ttl"), MIN_TTL_SECONDS);
    const expiration = checkAtLeast("expiration", query.get("expiration"), now + MIN_TTL_SECONDS);
    const metadata = request.headers.get("CF-KV-Metadata");
    checkSize("Metadata", new TextEncoder().encode(metadata ?? "").byteLength, MAX_METADATA_BYTES);
    const value = await request.arrayBuffer();
    checkSize("Value", value.byteLength, MAX_VALUE_BYTES);
    await this.#store.put(key, { value, metadata, expiration: ttl === null ? expiration : now + ttl }, now);
    return new Response();
  }

  async #list(query: URLSearchParams): Promise<Response> {
    const limit = checkAtLeast("key_count_limit", query.get("key_count_limit"), 1) ?? MAX_LIST_KEYS;
    if (limit > MAX_LIST_KEYS) throw new Refusal(400, `Limit of ${limit}: allowed are 1 to ${MAX_LIST_KEYS}`);
    const after = decode(query.get("cursor") ?? "");
    const found = await this.#store.list(query.get("prefix") ?? "", after, limit + 1, this.nowSeconds());
    // The binding hands these fields on as they are, and absent is not the same as null there.
    const keys = found.slice(0, limit).map(({ name, expiration, metadata }) => ({
      name,
      ...(expiration !== null && { expiration }),
      ...(metadata !== null && { metadata }),
    }));
    const last = found.length > limit ? keys.at(-1) : undefined;
    return Response.json(
      last
        ? { keys, list_complete: false, cursor: encodeURIComponent(last.name) }
        : { keys, list_complete: true },
    );
  }
}

function bulkValue(entry: Entry, type: string): unknown {
  const text = new TextDecoder().decode(entry.value);
  if (type === "text") return text;
  try {
    if (type === "json") return JSON.parse(text);
  } catch {
    throw new Refusal(400, "At least one of the requested keys corresponds to a non-json value");
  }
  throw new Refusal(400, 'Types other than "text" and "json" are not allowed');
}
