/** Numbers in digits, upper case and lower case, in this order. */
export const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/** Most significant digit first, padded with zeros; `value` must fit. */
export function base62(value: bigint, length: number): string {
  let rest = value;
  let text = "";
  for (let i = 0; i < length; i++) {
    text = (BASE62[Number(rest % 62n)] ?? "") + text;
    rest /= 62n;
  }
  return text;
}
