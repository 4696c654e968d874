/** RFC 6750, bearer tokens: how a credential is sent, and how its refusal is worded, as `oauth4webapi` reads it. */
import * as oauth from "oauth4webapi";
import { describe, expect, it } from "vitest";
import { bearerChallenge } from "../../src/answer/challenge.ts";
import { denialResponse } from "../../src/answer/denial-response.ts";
import { speakForApi } from "../../src/answer/relayed-response.ts";
import { readCredential } from "../../src/credential/credential.ts";
import { DENIAL_SPECS, type DenialReason } from "../../src/denial.ts";
import { SCOPES } from "../../src/entitlement/scopes.ts";
import { context, denialFor, quota, REASONS } from "../support/refusals.ts";
import { passed, reasonOf } from "../unit/result.ts";

const TOKEN = `pos_${"aZ9".repeat(13)}b`;
const RESOURCE = new URL("https://gateway.test/public/v1/posts");

type Challenges = readonly oauth.WWWAuthenticateChallenge[];

/** What a client of the library learns from an answer: its challenges, or none. */
async function challengesIn(answer: Response): Promise<Challenges | null> {
  const options = { [oauth.customFetch]: async () => answer };
  try {
    await oauth.protectedResourceRequest(TOKEN, "GET", RESOURCE, undefined, undefined, options);
    return null;
  } catch (error) {
    if (error instanceof oauth.WWWAuthenticateChallengeError) return error.cause;
    throw error;
  }
}

const bearer = (more: Record<string, string>): Challenges => [
  { scheme: "bearer", parameters: { realm: "Postiz API", ...more } },
];

/** §3.1: without a credential no error; and a credential that is good is not to be thrown away. */
const BLAMELESS: readonly DenialReason[] = ["credential_missing", "subscription_inactive"];

describe("RFC 6750 §2.1, Authorization", () => {
  it("a request as the library makes it is read", async () => {
    let sent = new Headers();
    const fetched = async (_: string, { headers }: { headers: HeadersInit }) => {
      sent = new Headers(headers);
      return new Response();
    };
    const options = { [oauth.customFetch]: fetched } as unknown as oauth.ProtectedResourceRequestOptions;
    await oauth.protectedResourceRequest(TOKEN, "GET", RESOURCE, undefined, undefined, options);
    expect(sent.get("Authorization")).toBe(`Bearer ${TOKEN}`);
    expect(passed(readCredential(sent))).toEqual({ kind: "oauth_token", secret: TOKEN });
  });

  it.each([
    ["every character of b64token", "AZaz09-._~+/==", "passed"],
    ["the scheme in any case (RFC 9110 §11.1)", `bEARER ${TOKEN}`, "passed"],
    ["several spaces (RFC 9110 §11.4)", `Bearer   ${TOKEN}`, "passed"],
    ["no space", `Bearer${TOKEN}`, "passed"],
    ["a tab", `Bearer\t${TOKEN}`, "credential_malformed"],
    ["no token", "Bearer", "credential_malformed"],
    ["a parameter", `Bearer token="${TOKEN}", x=1`, "credential_malformed"],
    ["two tokens", `Bearer ${TOKEN} ${TOKEN}`, "credential_malformed"],
    ["another scheme", `DPoP ${TOKEN}`, "credential_malformed"],
  ])("%s: %s", (_, authorization, outcome) => {
    expect(reasonOf(readCredential(new Headers({ Authorization: authorization })))).toBe(outcome);
  });

  it("§2.3 and nowhere else: not in a field of another name", () => {
    const headers = new Headers({
      access_token: TOKEN,
      "X-Access-Token": TOKEN,
      Cookie: `access_token=${TOKEN}`,
    });
    expect(reasonOf(readCredential(headers))).toBe("credential_missing");
  });
});

describe("RFC 6750 §3, WWW-Authenticate", () => {
  it.each(REASONS)("%s", async (reason, { status }) => {
    const challenges = await challengesIn(denialResponse(denialFor(reason), context));
    if (reason === "scope_insufficient")
      expect(challenges).toEqual(bearer({ error: "insufficient_scope", scope: "posts:write" }));
    else if (status !== 401) expect(challenges).toBeNull();
    else expect(challenges).toEqual(bearer(BLAMELESS.includes(reason) ? {} : { error: "invalid_token" }));
  });

  it("§3.1 blames nobody for a 401 of the origin's own: it may be about a social channel", async () => {
    const answer = new Response(null, { status: 401 });
    speakForApi(answer, quota("api"));
    expect(await challengesIn(answer)).toEqual(bearer({}));
  });

  it.each(BLAMELESS)("§3.1 on %s blames no token either", (reason) => {
    expect(bearerChallenge({ reason, detail: "", aboutToken: true })).toBe('Bearer realm="Postiz API"');
  });

  it("§3 a scope is written in the characters that it may have, whichever it is", async () => {
    for (const scope of SCOPES) {
      const answer = denialResponse({ ...denialFor("scope_insufficient"), scope }, context);
      const [challenge] = (await challengesIn(answer)) ?? [];
      expect(challenge?.parameters.scope).toMatch(/^[\x21\x23-\x5b\x5d-\x7e]+$/);
      expect(challenge?.parameters.scope).toBe(scope);
    }
  });

  it("§3.1 insufficient_scope is 403, invalid_token 401", () => {
    expect(DENIAL_SPECS.scope_insufficient.status).toBe(403);
    expect(DENIAL_SPECS.token_inactive.status).toBe(401);
  });

  it("§5.3 no refusal is kept by a cache", () => {
    for (const [reason] of REASONS)
      expect(denialResponse(denialFor(reason), context).headers.get("Cache-Control")).toBe("no-store");
  });
});
