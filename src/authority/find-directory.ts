/** Which directory object to ask. */
import type { Env } from "../env.ts";
import type { Directory } from "./directory.ts";

const OPERATORS = "operators";

type WithDirectory = Pick<Env, "DIRECTORY">;

/** Who owns a credential; one of 256. `digest`: SHA-256 hex. */
export function shardOf({ DIRECTORY }: WithDirectory, digest: string): DurableObjectStub<Directory> {
  return DIRECTORY.getByName(digest.slice(0, 2));
}

/** What operators see of all tenants at once. */
export function operatorsOf({ DIRECTORY }: WithDirectory): DurableObjectStub<Directory> {
  return DIRECTORY.getByName(OPERATORS);
}
