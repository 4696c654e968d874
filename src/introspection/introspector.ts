/** Asks whoever knows about a credential: bounded in time, never an exception. */
import type { Config } from "../config.ts";
import type { Credential } from "../credential/credential.ts";
import { within } from "../timeout.ts";
import { askOrigin } from "../upstream/ask-origin.ts";
import type { FetchOrigin } from "../upstream/forward.ts";
import { type Answer, UNKNOWN } from "./answer.ts";
import { readProbe } from "./probe.ts";
import { Rfc7662Endpoint } from "./rfc7662.ts";

type IntrospectionConfig = Pick<Config, "originBase" | "originAccess" | "rfc7662" | "introspectionTimeoutMs">;

export class Introspector {
  readonly #config: IntrospectionConfig;
  readonly #fetchOrigin: FetchOrigin;
  /** Null: tokens are tried at the origin, as keys always are. */
  readonly #endpoint: Rfc7662Endpoint | null;

  constructor(config: IntrospectionConfig, fetchOrigin: FetchOrigin) {
    this.#config = config;
    this.#fetchOrigin = fetchOrigin;
    this.#endpoint = config.rfc7662 && new Rfc7662Endpoint(config.rfc7662, config.introspectionTimeoutMs);
  }

  /** Whether the credential is active. */
  introspect(credential: Credential): Promise<Answer> {
    const isToken = credential.kind === "oauth_token";
    return this.#bounded(
      isToken && this.#endpoint !== null
        ? this.#endpoint.ask(credential.secret)
        : this.#probe(credential.secret),
    );
  }

  async #probe(secret: string): Promise<Answer> {
    const { introspectionTimeoutMs } = this.#config;
    return readProbe(await askOrigin(this.#config, this.#fetchOrigin, secret, introspectionTimeoutMs));
  }

  async #bounded(work: Promise<Answer>): Promise<Answer> {
    try {
      return await within(this.#config.introspectionTimeoutMs, work);
    } catch (error) {
      console.error(JSON.stringify({ event: "introspection_failed", error: String(error) }));
      return UNKNOWN;
    }
  }
}
