/**
 * What happened, as each side saw it: what the clients sent and got, what reached the origin, what the gateway says in its
 * events, what the operator was told. Nothing here comes from the gateway's own code but its words.
 */
import type { GatewayEvent } from "../src/telemetry/event.ts";

export type PolicyName = "posts" | "api";

/** How a secret stands over time: each phase lasts until the next begins. */
export interface Phase {
  readonly fromMs: number;
  /** `good`: must not be refused; `ended`: must not pass; `between`: either. */
  readonly is: "good" | "between" | "ended";
  /** Of refusals that are right from then on. */
  readonly reasons: readonly string[];
}

export interface Secret {
  readonly name: string;
  readonly tenant: string;
  readonly keyId: string;
  /** What the client sends. */
  readonly value: string;
  readonly phases: Phase[];
  /** Until then, a Worker that can't ask the tenant's object may let it in: such an event says `degraded`. */
  degradedUntilMs: number;
}

export type Manner =
  | "plain"
  | "slow body"
  | "slow read"
  | "leaves before"
  | "leaves in body"
  | "leaves in answer";

/** `whole`: all of the answer; `cut`: it broke off; `left`: the client did; `broken`: no answer; `unreached`: never sent. */
type ClientEnd = "whole" | "cut" | "left" | "broken" | "unreached" | "hung" | "under way";

export interface Sent {
  readonly id: number;
  readonly kind: string;
  readonly manner: Manner;
  readonly method: string;
  readonly path: string;
  readonly policy: PolicyName;
  /** Null where there is none that could be good. */
  readonly secret: Secret | null;
  /** The reasons of which one has to refuse it, whatever the secret; null: none has to. */
  readonly refusedFor: readonly string[] | null;
  readonly bodyBytes: number;
  readonly sentAtMs: number;
  doneAtMs: number;
  end: ClientEnd;
  status: number;
  requestId: string;
  /** As `Proxy-Status` has it; empty where the answer is the origin's. */
  reason: string;
  /** Whether a whole answer was the one that the origin gave to this request. */
  intact: boolean;
}

export const FAULTS = ["slow", "hang", "reset", "error", "early", "cut", "stall"] as const;
export type Fault = (typeof FAULTS)[number];

/** One request at the origin. */
export interface Seen {
  /** The client's own number; 0 where there is none. */
  readonly id: number;
  readonly requestId: string;
  readonly atMs: number;
  /** Whose credential it came with; empty for none that the origin knows. */
  readonly tenant: string;
  readonly fault: Fault | null;
  status: number;
  /** `whole`: answered to the end; `failed`: as its fault has it; `closed`: the other side went; `down`: the origin did. */
  end: "whole" | "failed" | "closed" | "down" | "under way";
  endedAtMs: number;
  body: "none" | "whole" | "wrong" | "broken";
}

export interface Interval {
  readonly fromMs: number;
  readonly untilMs: number;
}

/** When there was no gateway: after a SIGKILL, or while one version ended in order and the next began. */
export interface GatewayDown extends Interval {
  readonly by: "kill" | "rollout";
}

/** How the gateway ended when it was told to. */
export interface Stop {
  readonly tookMs: number;
  /** Null for a signal. */
  readonly exitCode: number | null;
}

/** What the operator asked. */
export interface Asked {
  /** Method and path. */
  readonly what: string;
  /** 0 for no answer. */
  readonly status: number;
  readonly sentAtMs: number;
  readonly doneAtMs: number;
}

/** What a tenant may use, and its keys, where that is not far beyond what they do. */
export interface Limit {
  readonly policy: PolicyName;
  readonly tenant: string;
  /** Empty for the tenant as a whole. */
  readonly keyId: string;
  readonly limit: number;
  readonly windowMs: number;
}

/** What the gateway says of a limit at the end. */
export interface Usage {
  readonly limit: Limit;
  readonly atMs: number;
  readonly remaining: number;
  readonly outstanding: number;
}

export interface Ledger {
  readonly sent: readonly Sent[];
  readonly seen: readonly Seen[];
  readonly events: readonly GatewayEvent[];
  readonly limits: readonly Limit[];
  readonly usages: readonly Usage[];
  /** Of every key and tenant that is not among `limits`. */
  readonly defaults: Readonly<Record<PolicyName, number>>;
  /** From each kill or SIGTERM until the gateway served again. */
  readonly gatewayDowns: readonly GatewayDown[];
  readonly stops: readonly Stop[];
  readonly asked: readonly Asked[];
  /** When the origin was not there. */
  readonly downs: readonly Interval[];
}

/** How `secret` stood from the one instant to the other: `between` where that changed. */
export function standing({ phases }: Secret, fromMs: number, untilMs: number): Phase["is"] {
  const first = phases.findLast((phase) => phase.fromMs <= fromMs) ?? phases[0];
  const last = phases.findLast((phase) => phase.fromMs <= untilMs) ?? phases[0];
  return first !== undefined && first === last ? first.is : "between";
}

/** Reasons that were right at any time from the one instant to the other. */
export function rightReasons({ phases }: Secret, fromMs: number, untilMs: number): string[] {
  return phases.flatMap(({ reasons, fromMs: beginsMs }, i) => {
    const endsMs = phases[i + 1]?.fromMs ?? Number.POSITIVE_INFINITY;
    return beginsMs <= untilMs && endsMs >= fromMs ? reasons : [];
  });
}

export interface Fullest {
  readonly count: number;
  /** Index of the first of them. */
  readonly from: number;
}

/** The most of `timesMs`, ascending, in any interval of that length, its end excluded. */
export function fullestWindow(timesMs: readonly number[], windowMs: number): Fullest {
  let fullest: Fullest = { count: 0, from: 0 };
  let from = 0;
  timesMs.forEach((time, i) => {
    while (time - (timesMs[from] ?? time) >= windowMs) from++;
    if (i - from + 1 > fullest.count) fullest = { count: i - from + 1, from };
  });
  return fullest;
}
