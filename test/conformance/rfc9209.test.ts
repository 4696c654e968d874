/** RFC 9209, Proxy-Status: why the gateway, and not the origin, has answered; read by `structured-headers`. */
import { type BareItem, type List, parseList, serializeList, Token } from "structured-headers";
import { describe, expect, it } from "vitest";
import { denialResponse } from "../../src/answer/denial-response.ts";
import { speakForApi } from "../../src/answer/relayed-response.ts";
import { DENIAL_SPECS, type DenialReason } from "../../src/denial.ts";
import { context, denialFor, quota, REASONS, shownAs } from "../support/refusals.ts";

/** §2.3: the types registered there that the gateway uses, each with the statuses that it may stand on. */
const REGISTERED: Readonly<Record<string, readonly number[]>> = {
  http_request_error: [400, 404, 405, 413, 429],
  // "403" is recommended; §2.3.24 speaks of whoever denies for reasons of policy, which a credential is.
  http_request_denied: [401, 403, 503],
  destination_unavailable: [502, 503],
  http_protocol_error: [502],
  http_response_timeout: [504],
  proxy_internal_error: [500, 503],
  proxy_configuration_error: [500, 503],
  proxy_loop_detected: [502, 508],
};

const fieldOf = (reason: DenialReason): string =>
  denialResponse(denialFor(reason), context).headers.get("Proxy-Status") ?? "";

function onlyMember(list: List): [unknown, [string, BareItem][]] {
  const [member, ...others] = list;
  if (member === undefined || others.length > 0) throw new Error(`${list.length} members`);
  return [member[0], [...member[1]]];
}

describe("RFC 9209 §2, Proxy-Status of", () => {
  it.each(REASONS)(
    "%s is a list of this gateway alone, with a registered error and its reason",
    (reason, wire) => {
      expect(onlyMember(parseList(fieldOf(reason)))).toEqual([
        new Token("postiz-gateway"),
        [
          ["error", new Token(wire.proxyError)],
          ["details", shownAs(reason)],
        ],
      ]);
      expect(REGISTERED[wire.proxyError]).toContain(DENIAL_SPECS[reason].status);
    },
  );

  it.each(REASONS)(
    "%s is written as RFC 9651 §4.1 writes it, but for the spaces that §4.2.3.2 lets stand",
    (reason) => {
      expect(serializeList(parseList(fieldOf(reason)))).toBe(fieldOf(reason).replaceAll("; ", ";"));
    },
  );

  it.each(REASONS)("%s names no credential, tenant or key (§4)", (reason) => {
    const denial = { ...denialFor(reason), owner: { tenantId: "tenant-x", keyId: "key-x" } };
    expect(denialResponse(denial, context).headers.get("Proxy-Status")).toBe(fieldOf(reason));
  });

  it.each([
    ['postiz-gateway; error=http_request_denied; details="key_unknown"', null],
    ["cdn.example; error=connection_timeout", "cdn.example; error=connection_timeout"],
  ])(
    "an answer of the origin's, %s, is not the gateway's word (§2: who adds one names itself)",
    (sent, kept) => {
      const answer = new Response(null, { headers: { "Proxy-Status": sent } });
      speakForApi(answer, quota("api"));
      expect(answer.headers.get("Proxy-Status")).toBe(kept);
    },
  );
});
