/** Objects beside a busy tenant's own, each of which counts the requests of some of its keys. */
import { digestOf } from "../credential/credential.ts";
import { isTag, type Tag } from "./tag.ts";

export type BranchName = `${Tag}.${string}`;

/**
 * All secrets of a key share a limit, so they share a branch. There are 256: its name is the tenant's tag and the first two
 * digits of the SHA-256 of the key's id.
 */
export function branchOf(tag: Tag, keyId: string): BranchName {
  return `${tag}.${digestOf(keyId).slice(0, 2)}`;
}

export const isBranch = (name: Tag | BranchName): name is BranchName => name.includes(".");

/** Name of the tenant's own object. */
export function tenantTagOf(name: BranchName): Tag {
  const tag = name.slice(0, name.indexOf("."));
  if (!isTag(tag)) throw new Error(`"${name}" is no branch of any tenant`);
  return tag;
}
