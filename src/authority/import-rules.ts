/** What both sides of an import hold to. */

/** A call. */
export const MAX_LINES = 500;
/** Of a line that nothing is wrong with. */
export const BRING_AGAIN = "the tenant's authority did not answer: bring the line again";
