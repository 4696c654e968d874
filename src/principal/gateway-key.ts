/**
 * The gateway's own keys: they name their tenant's authority themselves, and are refused without asking anyone where they
 * were not made here.
 */
import { type Credential, digestOf } from "../credential/credential.ts";
import { deny, pass, type Result } from "../denial.ts";
import { authenticityOf, type GatewayKey, type MacSecrets, readGatewayKey } from "../gateway-key/format.ts";
import type { Holding } from "../lease/desk.ts";
import { type Asker, type ClaimFinder, findClaim } from "./find-claim.ts";

export interface GatewayKeyReader extends ClaimFinder {
  readonly macSecrets: MacSecrets | null;
}

export async function findGatewayKey(
  credential: Credential,
  asker: Asker,
  using: GatewayKeyReader,
): Promise<Result<Holding>> {
  const known = using.credentials.recall(credential);
  if (known !== undefined) {
    asker.onDecision("authority");
    return pass(known);
  }
  const read = readKey(credential);
  if (!read.ok) return read;
  const key = read.value;
  const authenticity = authenticityOf(key, using.macSecrets);
  // Nobody can say here whether it was ever made; so it is looked for like a key of Postiz's own.
  if (authenticity === "retired") return findClaim(credential, asker, using);
  asker.onDecision(authenticity === "forged" ? "memory" : "authority");
  if (authenticity === "forged") return deny("key_unknown", "This gateway has issued no such key");
  return pass({ tenantId: null, tag: key.tag, digest: digestOf(credential.secret) });
}

export function readKey({ secret }: Credential): Result<GatewayKey> {
  const key = readGatewayKey(secret);
  if (key !== null) return pass(key);
  return deny("credential_malformed", "The key has the wrong form or checksum: was it mistyped, or cut off?");
}
