/** Of requests to the gateway's own paths. */
export const MAX_BODY_BYTES = 1_048_576;
