import type { Denial } from "../denial.ts";

/** Ends a request from within a handler; rendered where all denials are. */
export class Refusal extends Error {
  readonly denial: Denial;
  constructor(denial: Denial) {
    super(denial.reason);
    this.denial = denial;
  }
}
