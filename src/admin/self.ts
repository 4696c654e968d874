/** What a tenant may ask with a key of its own: about itself and nobody else. */
import { Hono } from "hono";
import { authorityAt } from "../authority/find-authority.ts";
import { isGoodCredential } from "../authority/protocol.ts";
import { type Tag, tagOf } from "../authority/tag.ts";
import { readCredential } from "../credential/credential.ts";
import { deny, pass, type Result } from "../denial.ts";
import { hostNameIn } from "../entitlement/hosts.ts";
import { Refusal } from "../own/refusal.ts";
import { keyRefusal } from "../principal/authenticate.ts";
import { findClaim } from "../principal/find-claim.ts";
import { findGatewayKey } from "../principal/gateway-key.ts";
import { type AdminContext, type AdminEnv, failed, gives, lookAt } from "./context.ts";
import * as schemas from "./schemas.ts";

export const self = new Hono<AdminEnv>()
  .get("/", gives("The tenant and the key that asks", schemas.self), async (c) => {
    const { tag, digest } = await caller(c);
    const about = await authorityAt(c.env.env, tag).self(digest);
    return about.ok ? c.json(about.value) : failed(c, about);
  })
  .get("/usage", gives("What is left of the limits", schemas.usage), async (c) => {
    const { tag, digest } = await caller(c);
    const usage = await authorityAt(c.env.env, tag).usage(digest);
    return usage.ok ? c.json(usage.value) : failed(c, usage);
  });

async function caller(c: AdminContext): Promise<{ readonly tag: Tag; readonly digest: string }> {
  const found = await identify(c);
  if (!found.ok) throw new Refusal(found.denial);
  return found.value;
}

/** As a request is, but nothing is counted; whose key it is, it may know, whatever the key may do at Postiz. */
async function identify(c: AdminContext): Promise<Result<{ readonly tag: Tag; readonly digest: string }>> {
  const { deps, context, env, waitUntil } = c.env;
  const credential = readCredential(context.request.headers);
  if (!credential.ok) return credential;
  if (credential.value.kind === "oauth_token") {
    return deny("credential_malformed", "Ask with an API key or a gateway key; tokens are their apps'");
  }
  const asker = { clientAddress: context.clientAddress, waitUntil, onDecision: () => {}, onShadow: () => {} };
  const find = credential.value.kind === "gateway_key" ? findGatewayKey : findClaim;
  const claim = await find(credential.value, asker, deps);
  if (!claim.ok) return claim;
  const host = hostNameIn(context.request.headers.get("Host") ?? "");
  const hostOwner = await deps.hosts.ownerOf(host, waitUntil);
  if (!hostOwner.ok) return hostOwner;
  const { tag, digest, tenantId } = claim.value;
  const grant = await lookAt(env, tag, {
    tenantId,
    digest,
    policy: "api",
    settleWithinMs: 0,
    // So that nothing but the network is left to say no.
    scope: "read",
    clientAddress: context.clientAddress,
    entrance: { host, hostOwner: hostOwner.value },
  });
  if (grant.verdict === "network_not_allowed") {
    return deny(grant.verdict, "The key may not be used from the address that the request came from");
  }
  if (isGoodCredential(grant) && grant.tenantId) return pass({ tag: tagOf(grant.tenantId), digest });
  const owner = { tenantId: grant.tenantId ?? "", keyId: grant.keyId };
  return (
    keyRefusal(grant, credential.value, owner) ??
    deny("introspection_unavailable", "Use the key at Postiz first")
  );
}
