/** Everything that a report is made of: the sample, its half for comparison, and the hot tenants. */
import { type Hot, type Plan, playHot, playSample, requestsOf, requestsOfHot } from "./experiment.ts";
import { type Agreement, agreementsOf, type Findings, findingsOf, strataToPlay } from "./findings.ts";
import { type Kind, kindOfHot, type Stratum, strataOf } from "./population.ts";
import { DEMANDS } from "./tally.ts";

export interface Report {
  readonly findings: Findings;
  /** The same at twice the scale, half of the tenants. */
  readonly half: Findings;
  readonly agreements: readonly Agreement[];
}

interface Stage {
  readonly stratum: number;
  readonly kind: Kind;
}

/** `progress`: is told the share that is done. */
export async function run(plan: Plan, progress: (share: number) => void): Promise<Report> {
  const halfPlan = { ...plan, scale: 2 * plan.scale };
  const strata = strataOf(plan.size, halfPlan.scale);
  const ranked = strataToPlay(halfPlan).map((stratum) => ({ stratum, kind: kindOfHot(stratum, plan.seed) }));
  const pressing = pressedOf(strata, ranked);
  const stages = [...ranked, ...pressing.filter((stage) => !ranked.includes(stage))];
  const expected =
    requestsOf(plan, true) * SAMPLE_COST +
    requestsOf(halfPlan, false) * SAMPLE_COST +
    stages.reduce((sum, { stratum, kind }) => sum + requestsOfStage(halfPlan, strata[stratum], kind), 0);
  let [done, count, requests] = [0, 0, 0];
  const counting = (cost: number) => () => {
    requests++;
    done += cost;
    if (++count % PROGRESS_EVERY === 0) progress(Math.min(1, done / expected));
  };
  const played = new Map<Stage, Hot>();
  for (const stage of stages)
    played.set(stage, await playHot(halfPlan, stage.stratum, stage.kind, counting(1)));
  const hotOf = (some: readonly Stage[]) => some.flatMap((stage) => played.get(stage) ?? []);
  const [hot, pressed] = [hotOf(ranked), hotOf(pressing)];
  const whole = await playSample(plan, counting(SAMPLE_COST), true);
  const isHot = ({ stratum }: Hot) => (strata[stratum]?.from ?? 1) < plan.scale;
  const findings = findingsOf(plan, { whole, hot: hot.filter(isHot), pressed, requests });
  const halfWhole = await playSample(halfPlan, counting(SAMPLE_COST), false);
  const half = findingsOf(halfPlan, { whole: halfWhole, hot, pressed, requests });
  return { findings, half, agreements: agreementsOf(findings, half) };
}

const requestsOfStage = (plan: Plan, stratum: Stratum | undefined, kind: Kind): number =>
  stratum === undefined ? 0 : requestsOfHot(plan, stratum, kind);

/** The two busiest that can be played several times, at each demand; as they were played already where that is the same. */
function pressedOf(strata: readonly Stratum[], ranked: readonly Stage[]): Stage[] {
  const perSecond = ({ stratum }: Stage) => {
    const { from = 1, to = 1, perSecond: all = 0 } = strata[stratum] ?? {};
    return all / (to - from + 1);
  };
  const busiest = ranked.filter((stage) => perSecond(stage) <= MAX_PRESSED_PER_SECOND).slice(0, PRESSED);
  return busiest.flatMap((stage) =>
    DEMANDS.map((demand) => {
      const { kind, stratum } = stage;
      return !kind.isToken && kind.demand === demand ? stage : { stratum, kind: { demand, isToken: false } };
    }),
  );
}

const PRESSED = 2;
const MAX_PRESSED_PER_SECOND = 10_000;
/** A request of the sample is mostly one that asks somebody; a hot tenant's mostly is not. */
const SAMPLE_COST = 12;
const PROGRESS_EVERY = 1_000;
