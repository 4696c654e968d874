/** Credentials of the benchmark, derived so that both sides know them. */
import { createHash } from "node:crypto";
import { tenantIdOf } from "../src/authority/tenant-id.ts";

export const TENANT = tenantIdOf("bench");
const hex = (text: string): string => createHash("sha256").update(text).digest("hex");

export const keyOf = (i: number): string => hex(`bench key ${i}`);
export const TOKEN = `pos_${hex("bench token").slice(0, 40)}`;
