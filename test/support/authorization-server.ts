/** A real OAuth server on loopback: oidc-provider, with introspection plain and signed (RFC 7662, RFC 9701). */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { exportJWK, generateKeyPair } from "jose";
import Provider from "oidc-provider";
import { recordSecret } from "./record.ts";

export interface AuthorizationServer {
  readonly issuer: string;
  readonly introspectionUrl: string;
  readonly jwksUrl: string;
  /** Requests to the introspection endpoint so far. */
  introspections(): number;
  /** A `pos_` token of an organization, good for `seconds`. */
  issue(token: string, organization: string | null, seconds?: number): Promise<void>;
  revoke(token: string): Promise<void>;
  stop(): Promise<void>;
}

export const CLIENT = { id: "the gateway", secret: "secret: of+the gateway/%" } as const;

export async function startAuthorizationServer(): Promise<AuthorizationServer> {
  recordSecret(CLIENT.secret);
  const server: Server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const issuer = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const { privateKey } = await generateKeyPair("ES256", { extractable: true });
  const organizations = new Map<string, string>();
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: CLIENT.id,
        client_secret: CLIENT.secret,
        token_endpoint_auth_method: "client_secret_basic",
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
        id_token_signed_response_alg: "ES256",
        introspection_signed_response_alg: "ES256",
      },
    ],
    jwks: { keys: [{ ...(await exportJWK(privateKey)), use: "sig", alg: "ES256", kid: "1" }] },
    enabledJWA: { introspectionSigningAlgValues: ["ES256"] },
    extraTokenClaims: (_ctx: unknown, { jti }: { jti: string }) => ({
      organization_id: organizations.get(jti),
    }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      introspection: { enabled: true },
      jwtIntrospection: { enabled: true },
    },
  });
  let introspections = 0;
  const callback = provider.callback();
  server.on("request", (request, response) => {
    if (request.url?.startsWith("/token/introspection")) introspections++;
    callback(request, response);
  });
  return {
    issuer,
    introspectionUrl: `${issuer}/token/introspection`,
    jwksUrl: `${issuer}/jwks`,
    introspections: () => introspections,
    issue: async (token, organization, seconds = 3_600) => {
      recordSecret(token);
      if (organization !== null) organizations.set(token, organization);
      const client = await provider.Client.find(CLIENT.id);
      if (client === undefined) throw new Error("the client is not registered");
      // As the token endpoint does it, but for the token's form.
      const issued = new provider.ClientCredentials({ client, ...{ expiresIn: seconds } });
      Object.assign(issued, { format: "opaque", generateTokenId: () => token });
      await issued.save();
    },
    revoke: async (token) => {
      await (await provider.ClientCredentials.find(token))?.destroy();
    },
    stop: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
