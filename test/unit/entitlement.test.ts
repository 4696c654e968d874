import { describe, expect, it } from "vitest";
import { entitle } from "../../src/entitlement/entitle.ts";
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
  const principal = (held: Subscription, verdict: "granted" | "subscription_inactive" = "granted") => ({
    tenantId: "acme",
    keyId: "k1",
    tag: "t",
    digest: "d",
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
    expect(passed(entitle(held, required, END_MS - 1)).principal).toBe(held);
    expect(denialOf(entitle(held, required, END_MS))).toEqual({
      reason: "subscription_inactive",
      detail: 'The organization\'s subscription is "canceled"',
    });
  });

  it("never overrules the authority's refusal", () => {
    const refused = principal(subscription("active"), "subscription_inactive");
    expect(denialOf(entitle(refused, required, 0)).reason).toBe("subscription_inactive");
  });
});
