/** What is counted. Of each stratum by itself: together they are weighed by their traffic. */

/** What the platform charges for. */
export class Usage {
  authorityCalls = 0;
  kvReads = 0;
  kvWrites = 0;
  rowsRead = 0;
  rowsWritten = 0;
  /** How long objects were at work. */
  activeMs = 0;
}

export const USED = ["authorityCalls", "kvReads", "kvWrites", "rowsRead", "rowsWritten", "activeMs"] as const;

/** Logarithmic: 40 steps a decade from a hundredth of a millisecond on; and what took no time. */
export class Histogram {
  readonly counts = new Float64Array(241);
  total = 0;

  add(ms: number, weight = 1): void {
    const step = ms < 0.01 ? 0 : Math.min(240, 1 + Math.floor(40 * Math.log10(ms / 0.01)));
    this.counts[step] = (this.counts[step] ?? 0) + weight;
    this.total += weight;
  }

  merge(other: Histogram, weight: number): void {
    for (let i = 0; i < this.counts.length; i++)
      this.counts[i] = (this.counts[i] ?? 0) + weight * (other.counts[i] ?? 0);
    this.total += weight * other.total;
  }

  /** Milliseconds; null where nothing was counted. */
  quantile(share: number): number | null {
    if (this.total === 0) return null;
    let sum = 0;
    for (let i = 0; i < this.counts.length; i++) {
      sum += this.counts[i] ?? 0;
      if (sum >= share * this.total) return i === 0 ? 0 : 0.01 * 10 ** (i / 40);
    }
    return 0.01 * 10 ** 6;
  }
}

/** How a request was decided: after asking, on what was in hand, or on what is past its time. */
export const WAYS = ["cold", "warm", "stale"] as const;
export type Way = (typeof WAYS)[number];

/** How a key's traffic stands to its limit: a third of it at most, four fifths, or a fifth more than it. */
export const DEMANDS = ["far", "near", "beyond"] as const;
export type Demand = (typeof DEMANDS)[number];

/** Of one design and one stratum. */
export class Tally {
  requests = 0;
  admitted = 0;
  /** Beyond a limit. */
  over = 0;
  /** Only together with what isolates let in that could not ask. */
  overDegraded = 0;
  /** Of requests of policy `api`: what somebody who sees everything would have admitted, and what was. */
  readonly limited: Readonly<Record<Demand, { ideal: number; admitted: number }>> = {
    far: { ideal: 0, admitted: 0 },
    near: { ideal: 0, admitted: 0 },
    beyond: { ideal: 0, admitted: 0 },
  };
  /** Questions to the origin, about credentials that nobody made. */
  probes = 0;
  readonly usage = new Usage();
  readonly refused = new Map<string, number>();
  readonly latency: Readonly<Record<Way, Histogram>> = {
    cold: new Histogram(),
    warm: new Histogram(),
    stale: new Histogram(),
  };

  refuse(reason: string): void {
    this.refused.set(reason, (this.refused.get(reason) ?? 0) + 1);
  }

  add(other: Tally): void {
    for (const name of ["requests", "admitted", "over", "overDegraded", "probes"] as const)
      this[name] += other[name];
    for (const demand of DEMANDS) {
      this.limited[demand].ideal += other.limited[demand].ideal;
      this.limited[demand].admitted += other.limited[demand].admitted;
    }
    for (const name of USED) this.usage[name] += other.usage[name];
    for (const [reason, count] of other.refused)
      this.refused.set(reason, (this.refused.get(reason) ?? 0) + count);
    for (const way of WAYS) this.latency[way].merge(other.latency[way], 1);
  }
}

export const DESIGNS = ["leases", "every request", "KV only"] as const;
export type Design = (typeof DESIGNS)[number];

/** By design, then by stratum. */
export type Tallies = Readonly<Record<Design, readonly Tally[]>>;

export function newTallies(strata: number): Tallies {
  const some = () => Array.from({ length: strata }, () => new Tally());
  return { leases: some(), "every request": some(), "KV only": some() };
}
