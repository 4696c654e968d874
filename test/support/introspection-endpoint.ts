/** The endpoint that is asked about tokens, in place of `fetch`: answers as it is told, and keeps what it was asked. */
import { vi } from "vitest";
import type { Credential } from "../../src/credential/credential.ts";
import { World } from "./world.ts";

export const TOKEN: Credential = { kind: "oauth_token", secret: `pos_${"Tk1".repeat(13)}A` };
export const ISSUER = "https://login.example";
export const AUDIENCE = "https://gateway.example";
const JWKS_URL = `${ISSUER}/jwks`;

interface Question {
  readonly url: string;
  readonly init: RequestInit;
}

export interface Endpoint {
  readonly questions: Question[];
  answer: () => Response | Promise<Response>;
  /** What the gateway makes of the answer: `granted`, or the reason why not. */
  decide(): Promise<string>;
  readonly world: World;
}

/** With `keys`, a JWKS, only signed answers count. */
export function introspectionEndpoint(keys: object | null = null): Endpoint {
  const questions: Question[] = [];
  const world = new World({
    INTROSPECTION_MODE: "rfc7662",
    INTROSPECTION_URL: `${ISSUER}/introspect`,
    INTROSPECTION_CLIENT_ID: "the gateway",
    INTROSPECTION_CLIENT_SECRET: "secret: of+the gateway/%",
    ...(keys !== null && {
      INTROSPECTION_JWKS_URL: JWKS_URL,
      INTROSPECTION_ISSUER: ISSUER,
      INTROSPECTION_AUDIENCE: AUDIENCE,
    }),
  });
  const endpoint: Endpoint = {
    questions,
    answer: () => Response.json({ active: true }),
    world,
    decide: async () => {
      const { result } = await world.ask(world.isolate(), TOKEN);
      return result.ok ? result.value.grant.verdict : result.denial.reason;
    },
  };
  vi.stubGlobal("fetch", async (url: string | URL, init: RequestInit) => {
    if (String(url) === JWKS_URL) return Response.json(keys);
    questions.push({ url: String(url), init });
    return endpoint.answer();
  });
  return endpoint;
}

/** After each test. */
export function restore(): void {
  vi.unstubAllGlobals();
  vi.useRealTimers();
  vi.restoreAllMocks();
}
