/**
 * For how long an isolate may go on deciding for a tenant without asking. Whatever it has learnt about the tenant's
 * credentials holds as long as the authority has not changed since, which its epoch tells: one answer about one
 * credential renews all of them. No clock of its own.
 */

/** Part of a lease after which a busy isolate asks for the next one. */
export const RENEW_FROM = 0.6;

export class TenantLease {
  /** The authority as it was; another one says nothing about what was learnt before. */
  #epoch = "";
  #untilMs = 0;
  #renewAtMs = 0;
  #beingRenewedUntilMs = 0;
  /** Its keys are to be asked about at branches of its authority. */
  isBranched = false;

  /** `forMs` counts from before the question: the bound of a revocation rests on that. */
  extend(epoch: string, askedAtMs: number, forMs: number): void {
    const untilMs = askedAtMs + forMs;
    this.#beingRenewedUntilMs = 0;
    if (epoch === this.#epoch && untilMs <= this.#untilMs) return;
    this.#epoch = epoch;
    this.#untilMs = untilMs;
    this.#renewAtMs = askedAtMs + RENEW_FROM * forMs;
  }

  /** Whether what was learnt at `epoch` holds. */
  covers(epoch: string, nowMs: number): boolean {
    return epoch === this.#epoch && nowMs < this.#untilMs;
  }

  /** Milliseconds since it ended; negative while it lasts. What was learnt at another epoch never held under it. */
  overdueMs(epoch: string, nowMs: number): number {
    return epoch === this.#epoch ? nowMs - this.#untilMs : Number.POSITIVE_INFINITY;
  }

  isRenewalDue(nowMs: number): boolean {
    return nowMs >= this.#renewAtMs;
  }

  isBeingRenewed(nowMs: number): boolean {
    return nowMs < this.#beingRenewedUntilMs;
  }

  /** Somebody is asking. */
  beRenewed(untilMs: number): void {
    this.#beingRenewedUntilMs = untilMs;
  }
}
