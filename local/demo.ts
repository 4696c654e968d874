/** The demo around the gateway: the stand-in origin, the seeding, and what to try. */
import { type RequestOptions, request } from "node:http";
import { DEMO, DEMO_SECRETS } from "../demo/tenants.ts";
import type { Socket, WorkerService } from "./capnp.ts";
import { type Build, durableObjectBinding, kvBinding, varBindings, workerService } from "./gateway.ts";
import { UserError } from "./project.ts";

/** To bundle beside the gateway, name → source. */
export const DEMO_WORKERS = { origin: "demo/origin.ts", seeder: "demo/seeder.ts" };

/** What the demo sets, over wrangler.toml and under the command line. */
export const DEMO_VARS = {
  SUBSCRIPTIONS: "required",
  API_LIMIT: "30",
  KEY_MAC_SECRET: DEMO_SECRETS.keyMac,
  SEALING_KEY: DEMO_SECRETS.sealing,
};

const REQUEST_TIMEOUT_MS = 10_000;

export function originService(build: Build): WorkerService {
  const { acme, lapsed } = DEMO;
  const bindings = varBindings({
    ACCEPTED_CREDENTIALS: [acme.apiKey, acme.token].join(","),
    UNSUBSCRIBED_CREDENTIALS: lapsed.apiKey,
  });
  return { ...workerService(build, "origin", "The stand-in Postiz."), bindings };
}

export function originSocket(port: number): Socket {
  return { name: "origin", about: "The stand-in Postiz.", address: `127.0.0.1:${port}`, service: "origin" };
}

export function seederService(build: Build): WorkerService {
  const bindings = [durableObjectBinding("TENANT_AUTHORITY", "TenantAuthority"), kvBinding("CREDENTIALS")];
  return { ...workerService(build, "seeder", "Seeds the demo tenants."), bindings };
}

/**
 * Asks the gateway itself before anything rests on it: it knows best what is wrong with its configuration. `host` is
 * the name that clients will use, which the gateway compares with its origin's.
 */
export async function checkHealth(socketPath: string, host: string, signal: AbortSignal): Promise<void> {
  const { status, body } = await askOverSocket(
    { socketPath, path: "/_gateway/health", headers: { host } },
    signal,
  );
  if (status !== 200) throw new UserError(`The gateway is not healthy: ${detailOf(body)}`);
}

export async function seed(socketPath: string, signal: AbortSignal): Promise<void> {
  const { status, body } = await askOverSocket({ socketPath, method: "POST" }, signal);
  if (status !== 204)
    throw new UserError(`The demo tenants could not be seeded: ${body || `status ${status}`}`);
}

/** `standIn`: whether the origin is ours; another Postiz does not know the demo keys, whatever the gateway says. */
export function banner(gateway: string, origin: string, standIn: boolean): string {
  const { acme, lapsed } = DEMO;
  const post = `{"type":"draft","date":"2026-01-01T00:00:00.000Z","shortLink":false,"tags":[],"posts":[{"integration":{"id":"demo-x"},"value":[{"content":"Hello","image":[]}],"settings":{"__type":"x"}}]}`;
  const get = (key: string) => `curl -i ${gateway}/public/v1/integrations -H 'Authorization: ${key}'`;
  const create = `curl -i ${gateway}/public/v1/posts -H 'Authorization: ${acme.apiKey}' -H 'Content-Type: application/json' -d '${post}'`;
  const answer = (status: number) =>
    standIn ? status : "passes the gateway; your Postiz does not know the key";
  return `
The gateway is at ${gateway}, in front of ${standIn ? "the stand-in Postiz at " : ""}${origin}

Try it:

# the channels of the demo tenant acme (${answer(200)})
${get(acme.apiKey)}

# a post (${answer(201)})
${create}

# a key that was revoked (401)
${get(acme.revokedApiKey)}

# a tenant without a subscription (401)
${get(lapsed.apiKey)}

Ctrl-C ends it.
`;
}

function detailOf(body: string): string {
  try {
    const { detail } = JSON.parse(body);
    return typeof detail === "string" ? detail : body;
  } catch {
    return body;
  }
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

/** fetch() can't: it knows no sockets in the file system. */
function askOverSocket(options: RequestOptions, stopSignal: AbortSignal): Promise<Answer> {
  const signal = AbortSignal.any([stopSignal, AbortSignal.timeout(REQUEST_TIMEOUT_MS)]);
  return new Promise((resolve, reject) => {
    const asked = request({ ...options, signal }, async (response) => {
      try {
        const chunks = await response.setEncoding("utf8").toArray();
        resolve({ status: response.statusCode ?? 0, body: chunks.join("") });
      } catch (error) {
        reject(error);
      }
    });
    asked.on("error", reject).end();
  });
}
