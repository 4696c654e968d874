/** Everything that a report is made of: the sample, its half for comparison, and the hot tenants. */
import { type Hot, type Plan, playHot, playSample, requestsOf, requestsOfHot } from "./experiment.ts";
import { type Agreement, agreementsOf, type Findings, findingsOf, strataToPlay } from "./findings.ts";
import { strataOf } from "./population.ts";

export interface Report {
  readonly findings: Findings;
  /** The same at twice the scale, half of the tenants. */
  readonly half: Findings;
  readonly agreements: readonly Agreement[];
}

/** `progress`: is told the share that is done. */
export async function run(plan: Plan, progress: (share: number) => void): Promise<Report> {
  const halfPlan = { ...plan, scale: 2 * plan.scale };
  const strata = strataOf(plan.size, halfPlan.scale);
  const stages = strataToPlay(halfPlan);
  const expected =
    requestsOf(plan, true) * SAMPLE_COST +
    requestsOf(halfPlan, false) * SAMPLE_COST +
    strata.reduce((sum, stratum) => sum + (stratum.isHot ? requestsOfHot(halfPlan, stratum) : 0), 0);
  let [done, count] = [0, 0];
  const counting = (cost: number) => () => {
    done += cost;
    if (++count % PROGRESS_EVERY === 0) progress(Math.min(1, done / expected));
  };
  const hot: Hot[] = [];
  let hotRequests = 0;
  const countHot = counting(1);
  for (const stage of stages) {
    hot.push(
      await playHot(halfPlan, stage, () => {
        hotRequests++;
        countHot();
      }),
    );
  }
  let requests = 0;
  const countSample = counting(SAMPLE_COST);
  const whole = await playSample(
    plan,
    () => {
      requests++;
      countSample();
    },
    true,
  );
  const halfWhole = await playSample(halfPlan, countSample, false);
  const findings = findingsOf(
    plan,
    whole,
    hot.filter(({ stratum }) => (strata[stratum]?.from ?? 1) < plan.scale),
    requests + hotRequests,
  );
  const half = findingsOf(halfPlan, halfWhole, hot, requests);
  return { findings, half, agreements: agreementsOf(findings, half) };
}

/** A request of the sample is mostly one that asks somebody; a hot tenant's mostly is not. */
const SAMPLE_COST = 12;
const PROGRESS_EVERY = 1_000;
