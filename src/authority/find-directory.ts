/** Which directory object to ask. */
import { createHash } from "node:crypto";
import type { Env } from "../env.ts";
import type { Directory } from "./directory.ts";
import { isHostKey } from "./host-names.ts";

const OPERATORS = "operators";

type WithDirectory = Pick<Env, "DIRECTORY">;

/** Who owns a credential, or a host name; one of 256. `name`: SHA-256 hex of the credential, or `host:<name>`. */
export function shardOf({ DIRECTORY }: WithDirectory, name: string): DurableObjectStub<Directory> {
  const digest = isHostKey(name) ? createHash("sha256").update(name).digest("hex") : name;
  return DIRECTORY.getByName(digest.slice(0, 2));
}

/** What operators see of all tenants at once. */
export function operatorsOf({ DIRECTORY }: WithDirectory): DurableObjectStub<Directory> {
  return DIRECTORY.getByName(OPERATORS);
}
