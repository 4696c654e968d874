import { describe, expect, it } from "vitest";
import type { Verdict } from "../../src/authority/protocol.ts";
import { tagOf } from "../../src/authority/tag.ts";
import { tenantIdOf } from "../../src/authority/tenant-id.ts";
import { entitle } from "../../src/entitlement/entitle.ts";
import { canonicalNetwork, isAllowedFrom } from "../../src/entitlement/networks.ts";
import { allows } from "../../src/entitlement/scopes.ts";
import {
  isEntitled,
  SUBSCRIPTION_STATUSES,
  type Subscription,
  type SubscriptionRule,
} from "../../src/entitlement/subscription.ts";
import { denialOf, passed } from "./result.ts";

const DAY_MS = 86_400_000;
const END_MS = 1_800_000_000_000;
const required: SubscriptionRule = { subscriptionsRequired: true, subscriptionGraceDays: 0 };
const off: SubscriptionRule = { subscriptionsRequired: false, subscriptionGraceDays: 0 };

const subscription = (status: Subscription["status"], currentPeriodEndMs: number | null = null) => ({
  status,
  currentPeriodEndMs,
});

describe("an entitlement", () => {
  it.each(["active", "trialing", "past_due", "unknown"] as const)(
    "%s lets in, whatever the end of the period",
    (status) => {
      for (const endMs of [null, END_MS, END_MS - 365 * DAY_MS]) {
        expect(isEntitled(subscription(status, endMs), required, END_MS)).toBe(true);
      }
    },
  );

  it("none does not", () => {
    expect(isEntitled(subscription("none"), required, 0)).toBe(false);
    expect(isEntitled(subscription("none", END_MS), required, 0)).toBe(false);
  });

  it.each([0, 1, 14, 3_650])("canceled lets in until the period has ended, and %d days more", (days) => {
    const rule = { ...required, subscriptionGraceDays: days };
    const lastMs = END_MS + days * DAY_MS - 1;
    expect(isEntitled(subscription("canceled", END_MS), rule, lastMs)).toBe(true);
    expect(isEntitled(subscription("canceled", END_MS), rule, lastMs + 1)).toBe(false);
  });

  it("canceled without an end of the period does not let in, even with days of grace", () => {
    expect(isEntitled(subscription("canceled"), { ...required, subscriptionGraceDays: 3_650 }, 0)).toBe(
      false,
    );
  });

  it("nothing is asked where subscriptions are off", () => {
    for (const status of SUBSCRIPTION_STATUSES) {
      expect(isEntitled(subscription(status), off, END_MS)).toBe(true);
    }
  });
});

describe("entitling a principal", () => {
  const ACME = tenantIdOf("acme");
  const principal = (held: Subscription, verdict: Verdict = "granted") => ({
    tenantId: ACME,
    keyId: "k1",
    tag: tagOf(ACME),
    digest: "d",
    originKey: null,
    degraded: false,
    grant: {
      v: 1,
      verdict,
      keyId: "k1",
      subscription: held,
      tokens: 1,
      quota: null,
      usableForMs: 1,
    } as const,
  });

  it("looks at the subscription again, since time has passed after the authority's answer", () => {
    const held = principal(subscription("canceled", END_MS));
    expect(passed(entitle(held, "posts:write", required, END_MS - 1)).principal).toBe(held);
    expect(denialOf(entitle(held, "posts:write", required, END_MS))).toEqual({
      reason: "subscription_inactive",
      detail: 'The organization\'s subscription is "canceled"',
    });
  });

  it("never overrules the authority's refusal", () => {
    const refused = principal(subscription("active"), "subscription_inactive");
    expect(denialOf(entitle(refused, "posts:write", required, 0)).reason).toBe("subscription_inactive");
  });

  it("says which scope was lacking, and that the network was wrong", () => {
    const lacking = principal(subscription("active"), "scope_insufficient");
    expect(denialOf(entitle(lacking, "posts:write", required, 0))).toMatchObject({
      reason: "scope_insufficient",
      scope: "posts:write",
    });
    const elsewhere = principal(subscription("active"), "network_not_allowed");
    expect(denialOf(entitle(elsewhere, "read", required, 0)).reason).toBe("network_not_allowed");
  });
});

describe("scopes", () => {
  it.each([
    [null, "*", true],
    [["*"], "posts:write", true],
    [["*"], "*", true],
    [["read"], "read", true],
    [["read"], "posts:write", false],
    [["posts:write"], "read", false],
    [["read", "posts:write", "media:write", "channels:write"], "*", false],
    [["read", "posts:write", "media:write", "channels:write"], "channels:write", true],
    [[], "read", false],
  ] as const)("a key that holds %j, asked for %s: %s", (held, needed, allowed) => {
    expect(allows(held, needed)).toBe(allowed);
  });
});

describe("allowed networks", () => {
  it.each([
    [[], "192.0.2.1", true],
    [[], null, true],
    [["192.0.2.0/24"], "192.0.2.255", true],
    [["192.0.2.0/24"], "192.0.3.0", false],
    [["192.0.2.0/24"], "::ffff:192.0.2.7", true],
    [["192.0.2.0/24"], "2001:db8::1", false],
    [["2001:db8::/32"], "2001:db8:ffff::1", true],
    [["2001:db8::/32", "192.0.2.7/32"], "192.0.2.7", true],
    [["0.0.0.0/0"], "junk", false],
    [["0.0.0.0/0"], null, false],
  ])("%j, from %s: %s", (networks, address, allowed) => {
    expect(isAllowedFrom(networks, address)).toBe(allowed);
  });

  it.each([
    ["192.0.2.7", "192.0.2.7/32"],
    ["192.0.2.7/24", "192.0.2.0/24"],
    ["2001:db8::1", "2001:db8::1/128"],
    ["2001:DB8::1/32", "2001:db8::/32"],
    ["192.0.2.7/33", null],
    ["192.0.2", null],
    ["3232235777", null],
    ["010.0.0.1", null],
    ["fe80::1%eth0", null],
    ["0x7f.1", null],
    ["everywhere", null],
    ["", null],
  ])("%j is kept as %j", (text, network) => {
    expect(canonicalNetwork(text)).toBe(network);
  });
});
