/** Credentials of the benchmark, derived so that both sides know them. */
import { createHash } from "node:crypto";

export const TENANT = "bench";
const hex = (text: string): string => createHash("sha256").update(text).digest("hex");

export const keyOf = (i: number): string => hex(`bench key ${i}`);
export const TOKEN = `pos_${hex("bench token").slice(0, 40)}`;
