/** The simulation: the same seed gives the same report, and its oracles see what is wrong. */
import { describe, expect, it } from "vitest";
import { CALL_MS, CONFIRM_MS, IDLE_MS, WAKE_MS } from "../../simulate/authorities.ts";
import type { Plan } from "../../simulate/experiment.ts";
import { figuresOf } from "../../simulate/figures.ts";
import { Geography } from "../../simulate/geography.ts";
import type { Isolate } from "../../simulate/isolates.ts";
import { EveryRequest } from "../../simulate/naive.ts";
import { Network } from "../../simulate/network.ts";
import { LimitOracle, RevocationOracle } from "../../simulate/oracles.ts";
import { daily, kindOfHot, strataOf, tenantsOf } from "../../simulate/population.ts";
import { costOf, PRICES, sumOf } from "../../simulate/prices.ts";
import { Random } from "../../simulate/random.ts";
import { asJson, asMarkdown } from "../../simulate/report.ts";
import { run } from "../../simulate/run.ts";
import { Histogram, Tally } from "../../simulate/tally.ts";
import { VirtualTime } from "../../simulate/virtual-time.ts";
import { World } from "../../simulate/world.ts";

const TINY: Plan = {
  size: { tenants: 64, requestsPerSecond: 60, locations: 4, maxIsolates: 2 },
  scale: 2,
  seed: "tiny",
  minutes: 1,
};

/** In a world of one location. */
function oneTenant(perSecond: number) {
  const geography = new Geography(new Random("place"), 1, 1);
  const time = new VirtualTime();
  const network = new Network(time, geography, new Random("network"));
  const stratum = { from: 1, to: 1, perSecond, sample: 1, isHot: true };
  const [tenant] = tenantsOf(stratum, 0, geography, "seed", 15);
  if (tenant === undefined) throw new Error("nobody lives there");
  return { time, geography, network, tenant };
}

const played = run(TINY, () => {});

describe("a run", () => {
  it("is the same for the same seed, byte for byte, and another one for another", async () => {
    const textOf = (report: Awaited<typeof played>) => [
      asMarkdown(report),
      asJson(report),
      ...figuresOf(report.findings).map(({ svg }) => svg),
    ];
    const first = textOf(await played);
    expect(textOf(await run(TINY, () => {}))).toEqual(first);
    expect(textOf(await run({ ...TINY, seed: "another" }, () => {}))).not.toEqual(first);
  }, 60_000);

  it("sees that leases admit nothing beyond a limit, and that counting in isolates does", async () => {
    const { findings } = await played;
    expect(findings.over).toBe(0);
    expect(findings.troubles.map(({ over }) => over)).toEqual(findings.troubles.map(() => 0));
    expect(findings.designs["every request"].overPerThousand).toBe(0);
    expect(findings.designs["KV only"].overPerThousand).toBeGreaterThan(0);
  }, 60_000);

  it("sees that no revocation is later than announced, and how late one by KV is", async () => {
    const { revocations } = (await played).findings;
    expect(revocations.leases.count).toBeGreaterThan(20);
    expect(revocations.leases.late).toBe(0);
    expect(revocations.leases.mostMs).toBeLessThanOrEqual(revocations.leases.longestBoundMs);
    expect(revocations["KV only"].mostMs).toBeGreaterThan(20_000);
    expect(revocations["KV only"].mostMs).toBeLessThanOrEqual(60_000);
  }, 60_000);

  it("plays two hot tenants at each demand, and revokes keys of hot ones", async () => {
    const { pressed, hotRevocations } = (await played).findings;
    expect(pressed.map(({ demand, isToken }) => [demand, isToken])).toEqual(
      ["far", "near", "beyond", "far", "near", "beyond"].map((demand) => [demand, false]),
    );
    expect(hotRevocations.leases.count).toBeGreaterThan(pressed.length);
    expect(hotRevocations.leases.late).toBe(0);
    expect(hotRevocations["KV only"].mostMs).toBeGreaterThan(20_000);
  }, 60_000);

  it("asks somebody on every request in the naive design, and seldom on leases", async () => {
    const { designs } = (await played).findings;
    expect(designs["every request"].perThousand.authorityCalls).toBeCloseTo(1_000, 0);
    expect(designs.leases.perThousand.authorityCalls).toBeLessThan(700);
    expect(designs["KV only"].perThousand.authorityCalls).toBe(0);
  }, 60_000);
});

describe("oracles", () => {
  it("a limit is exceeded by the request that is one too many in any window, and by no other", () => {
    const oracle = new LimitOracle(2, 1_000);
    const found = [0, 500, 999, 1_000, 1_500].map((atMs) => oracle.admitted(atMs));
    expect(found).toEqual(["within", "within", "over", "over", "over"]);
    const ideal = [0, 500, 999, 1_000, 1_400].map((atMs) => oracle.comes(atMs));
    expect(ideal).toEqual([true, true, false, true, false]);
  });

  it("what is let in by who can't ask counts against nobody else, and is seen", () => {
    const oracle = new LimitOracle(1, 1_000);
    expect([oracle.admitted(0, true), oracle.admitted(1), oracle.admitted(2)]).toEqual([
      "within",
      "over degraded",
      "over",
    ]);
  });

  it("a revocation is late where somebody was admitted after its bound, each by the bound that is theirs", () => {
    const oracle = new RevocationOracle();
    const receipt = { answeredAtMs: 100, effectiveByMs: 200, degradedUntilMs: 1_000 };
    for (const digest of ["never", "in time", "late", "cut off", "cut off late"])
      oracle.revoked(digest, receipt);
    oracle.admitted("in time", 200, false);
    oracle.admitted("late", 201, false);
    oracle.admitted("cut off", 1_000, true);
    oracle.admitted("cut off late", 1_001, true);
    oracle.admitted("somebody else", 9_999, false);
    expect(oracle.late).toBe(2);
    expect(oracle.delaysMs()).toEqual([0, 100, 101, 900, 901]);
  });
});

describe("models", () => {
  it("a way is as long as the way back, and none is shorter than within a location", () => {
    const geography = new Geography(new Random("places"), 30, 10);
    for (const { index: a } of geography.locations) {
      for (const { index: b } of geography.locations) {
        expect(geography.oneWayMs(a, b)).toBeCloseTo(geography.oneWayMs(b, a), 9);
        expect(geography.oneWayMs(a, b)).toBeGreaterThanOrEqual(geography.oneWayMs(a, a));
        // Half around the earth.
        expect(geography.oneWayMs(a, b)).toBeLessThan(102);
      }
    }
  });

  it("strata hold all tenants and all traffic, whatever the scale", () => {
    const size = { tenants: 1_000, requestsPerSecond: 5_000, locations: 1, maxIsolates: 1 };
    for (const scale of [4, 64]) {
      const strata = strataOf(size, scale);
      expect(strata.reduce((sum, { from, to }) => sum + to - from + 1, 0)).toBe(1_000);
      expect(strata.reduce((sum, { perSecond }) => sum + perSecond, 0)).toBeCloseTo(5_000, 6);
    }
    const hours = Array.from({ length: 24 }, (_, hour) => daily(hour));
    expect(hours.reduce((a, b) => a + b, 0)).toBeCloseTo(24, 9);
  });

  it("of ten hot tenants one is near its limit, one beyond it, and one uses tokens, whatever the seed", () => {
    for (const seed of ["1", "2", "another"]) {
      const kinds = Array.from({ length: 10 }, (_, stratum) => kindOfHot(stratum, seed));
      expect(kinds.map(({ demand }) => demand).sort()).toEqual([
        "beyond",
        ...new Array(8).fill("far"),
        "near",
      ]);
      expect(kinds.filter(({ isToken }) => isToken)).toHaveLength(1);
    }
  });

  it("an answer waits until what was written is confirmed, and an object that sleeps has to wake", async () => {
    const { time, geography, tenant } = oneTenant(1);
    const restore = time.install();
    try {
      const { authorities } = new World(time, { seed: "seed", geography, strata: 1, tenants: [tenant] });
      const authority = authorities.from(0, false).getByName(tenant.tag);
      const line = { type: "tenant", tenantId: tenant.id, name: "" } as const;
      const tookMs = async (postsPerHour: number) => {
        const beganAtMs = time.nowMs;
        let ms = Number.NaN;
        void authority.import(tenant.id, [{ ...line, postsPerHour }], "simulation").then(() => {
          ms = time.nowMs - beganAtMs;
        });
        await time.runUntil(time.nowMs + 500);
        return ms;
      };
      expect(await tookMs(1)).toBeGreaterThan(WAKE_MS + CALL_MS + CONFIRM_MS);
      const awakeMs = await tookMs(2);
      expect(awakeMs).toBeGreaterThan(CALL_MS + CONFIRM_MS);
      expect(awakeMs).toBeLessThan(WAKE_MS);
      await time.runUntil(time.nowMs + IDLE_MS + 1);
      expect(await tookMs(3)).toBeGreaterThan(WAKE_MS + CALL_MS + CONFIRM_MS);
    } finally {
      restore();
    }
  });

  it("nobody waits for the object that is asked on every request longer than a second", async () => {
    const { time, network, tenant } = oneTenant(1_000);
    const tally = new Tally();
    const [key] = tenant.keys;
    if (key === undefined) throw new Error("a tenant has keys");
    const naive = new EveryRequest(
      network,
      () => tally,
      () => key,
    );
    let admitted = 0;
    // Two seconds of twice what it can do.
    for (let i = 0; i < 2_000; i++) {
      if (naive.request(key, { location: 0 } as Isolate)) admitted++;
      await time.runUntil(time.nowMs + 1);
    }
    expect(tally.latency.cold.quantile(1)).toBeLessThan(1_100);
    expect(tally.refused.get("authority_unavailable")).toBe(2_000 - admitted);
    expect(admitted).toBeGreaterThan(900);
    expect(admitted).toBeLessThan(2_000);
  });

  it("time passes from event to event, in their order, what was cleared left out", async () => {
    const time = new VirtualTime();
    const seen: string[] = [];
    time.after(20, () => seen.push("b"));
    time.after(10, () => seen.push("a"));
    time.after(20, () => seen.push("c"));
    time.after(15, () => seen.push("never")).work = null;
    await time.runUntil(time.nowMs + 30);
    expect([seen.join(""), time.passedMs]).toEqual(["abc", 30]);
  });

  it("a histogram's quantiles are off by no more than a step, a seventeenth", () => {
    const histogram = new Histogram();
    for (let ms = 1; ms <= 1_000; ms++) histogram.add(ms);
    for (const share of [0.5, 0.99]) {
      expect(Math.abs((histogram.quantile(share) ?? 0) / (1_000 * share) - 1)).toBeLessThan(0.06);
    }
    expect(new Histogram().quantile(0.5)).toBeNull();
  });
});

it("a million requests cost what their parts cost", () => {
  const used = {
    authorityCalls: 500,
    kvReads: 200,
    kvWrites: 10,
    rowsRead: 1_000,
    rowsWritten: 2_000,
    activeMs: 1_000,
  };
  const cost = costOf(used, 0.5);
  const { perMillion } = PRICES;
  expect(cost.requests).toBe(0.3);
  expect(cost.CPU).toBeCloseTo(0.01, 9);
  expect(cost.KV).toBeCloseTo(0.2 * perMillion.kvReads + 0.01 * perMillion.kvWrites, 9);
  expect(cost["Durable Object requests"]).toBeCloseTo(0.075, 9);
  // A second of work for each thousand: 1,000 s with an eighth of a gigabyte.
  expect(cost["Durable Object duration"]).toBeCloseTo(1_000 * 0.128 * 12.5e-6, 9);
  expect(cost.rows).toBeCloseTo(2.001, 9);
  expect(sumOf(cost)).toBeCloseTo(0.3 + 0.01 + 0.15 + 0.075 + 0.0016 + 2.001 + 0.25, 6);
});
