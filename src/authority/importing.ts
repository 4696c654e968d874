/**
 * What an operator brings along, on its way into a tenant: whose each credential is, and what has to be linked first. The
 * lines are written in their order; one that is rejected keeps none of the others out.
 */
import type { Env } from "../env.ts";
import type { SealingKeys } from "../gateway-key/seal.ts";
import { within } from "../timeout.ts";
import type { Audit, By } from "./audit.ts";
import { claim } from "./claims.ts";
import { authorityOf } from "./find-authority.ts";
import {
  type ImportLine,
  type ImportResult,
  type ImportWriter,
  isKeyLine,
  type KeyLine,
  keyIdOf,
  kindOf,
  nameOf,
  rejected,
  UNANSWERED,
} from "./import-writer.ts";
import type { Handing, Handover, Linking } from "./linking.ts";
import type { Registry } from "./registry.ts";
import { type TenantId, unlinkedIdOf } from "./tenant-id.ts";

const HAND_OVER_TIMEOUT_MS = 10_000;
/** What a call may take before the rest of its lines are left for the next one. */
const LINKING_MS = 20_000;

/** What the lines are taken into. */
export interface Taker {
  readonly registry: Registry;
  readonly writer: ImportWriter;
  readonly linking: Linking;
  readonly audit: Audit;
  readonly nowMs: () => number;
  /** All that is written together, and what is to follow from it. */
  readonly commit: <T>(work: () => T) => Promise<T>;
  /** The credential is written down: the directory is told. */
  readonly confirm: (digest: string, tenantId: TenantId) => Promise<void>;
}

/** Whose a line's credential is; null where nobody could say. */
type Owners = ReadonlyMap<string, TenantId | null>;

export class Importing {
  readonly #env: Pick<Env, "DIRECTORY" | "TENANT_AUTHORITY">;
  readonly #into: Taker;

  constructor(env: Pick<Env, "DIRECTORY" | "TENANT_AUTHORITY">, into: Taker) {
    this.#env = env;
    this.#into = into;
  }

  async take(
    tenantId: TenantId,
    lines: readonly ImportLine[],
    sealingKeys: SealingKeys | null,
    by: By,
  ): Promise<ImportResult[]> {
    const { nowMs } = this.#into;
    const endMs = nowMs() + LINKING_MS;
    const owners = await this.#claimAll(tenantId, lines);
    let hasLinked = false;
    const results: ImportResult[] = [];
    let batch: ImportLine[] = [];
    const writeBatch = async () => {
      if (batch.length === 0) return;
      // Linking takes its time, and a claim that is not followed by a write lapses.
      const now = hasLinked ? await this.#claimAll(tenantId, batch) : owners;
      results.push(...(await this.#write(tenantId, batch, now, sealingKeys, by)));
      batch = [];
    };
    for (const line of lines) {
      if (!isKeyLine(line) || owners.get(line.digest) !== unlinkedIdOf(line.digest)) {
        batch.push(line);
        continue;
      }
      await writeBatch();
      hasLinked = true;
      results.push(nowMs() < endMs ? await this.#link(line, by) : UNANSWERED);
    }
    await writeBatch();
    return results;
  }

  /** Whose the lines' credentials are: the tenant's from now on, where they were nobody's. */
  async #claimAll(tenantId: TenantId, lines: readonly ImportLine[]): Promise<Owners> {
    const { registry } = this.#into;
    const isThere = registry.tenant()?.status === "active" || lines.some(({ type }) => type === "tenant");
    const digests = isThere ? new Set(lines.filter(isKeyLine).map(({ digest }) => digest)) : [];
    const claimed = [...digests].map(async (digest): Promise<[string, TenantId | null]> => {
      // One's own need no claiming.
      if (registry.key(digest) !== null) return [digest, tenantId];
      return [digest, await claim(this.#env, digest, tenantId).catch(() => null)];
    });
    return new Map(await Promise.all(claimed));
  }

  async #link(line: ImportLine & KeyLine, by: By): Promise<ImportResult> {
    const { writer, nowMs } = this.#into;
    const refused = writer.refusalOf(line);
    if (refused !== null) return refused;
    const handing = await this.#ask(line, by);
    if (handing === null) return UNANSWERED;
    switch (handing.is) {
      case "anothers":
        return rejected("it belongs to another tenant");
      case "revoked":
        return rejected("it was revoked, for good");
      case "of_another_kind":
        return rejected(`the gateway knows it as ${nameOf(handing.kind)}`);
      case "handed_over": {
        const result = await this.#commit(
          [line],
          (each) => {
            return writer.refusalOf(each) ?? writer.write(each, handing.handover, null, nowMs());
          },
          by,
        );
        // What the old authority has heard until this one knew the credential.
        const late = await this.#ask(line, by);
        if (late?.is === "handed_over") await this.#catchUp(line, late.handover);
        return result[0] ?? UNANSWERED;
      }
    }
  }

  async #catchUp(line: KeyLine, handover: Handover): Promise<void> {
    const { registry, linking, commit } = this.#into;
    await commit(() => {
      if (registry.key(line.digest) !== null) linking.catchUp(line.digest, keyIdOf(line), handover);
    });
  }

  /** Has the old authority let go of it; null without an answer. */
  async #ask(line: ImportLine & KeyLine, { actor }: By): Promise<Handing | null> {
    const from = unlinkedIdOf(line.digest);
    try {
      const want = { digest: line.digest, kind: kindOf(line), to: line.tenantId };
      // The stub's types lose a union.
      const asked = authorityOf(this.#env, from).handOver(want, actor) as Promise<unknown>;
      return (await within(HAND_OVER_TIMEOUT_MS, asked)) as Handing;
    } catch (error) {
      console.error(JSON.stringify({ event: "hand_over_failed", tenant: from, error: String(error) }));
      return null;
    }
  }

  async #write(
    tenantId: TenantId,
    lines: readonly ImportLine[],
    owners: Owners,
    sealingKeys: SealingKeys | null,
    by: By,
  ): Promise<ImportResult[]> {
    const { writer, confirm, nowMs } = this.#into;
    const results = await this.#commit(
      lines,
      (line) => {
        const refused = writer.refusalOf(line);
        if (refused !== null) return refused;
        const owner = isKeyLine(line) ? owners.get(line.digest) : tenantId;
        if (owner === null) return UNANSWERED;
        if (owner !== tenantId) return rejected("it belongs to another tenant");
        return writer.write(line, null, sealingKeys, nowMs());
      },
      by,
    );
    const created = lines
      .filter(isKeyLine)
      .filter((line) => results[lines.indexOf(line)]?.result === "created");
    await Promise.all(created.map(({ digest }) => confirm(digest, tenantId)));
    return results;
  }

  /** All of the lines, and what is noted of them, in one transaction. */
  #commit(
    lines: readonly ImportLine[],
    write: (line: ImportLine) => ImportResult,
    by: By,
  ): Promise<ImportResult[]> {
    return this.#into.commit(() => {
      const results = lines.map(write);
      const changes = results.some(({ result }) => result === "created" || result === "updated");
      const tenantId = lines[0]?.tenantId ?? "";
      const entry = { action: "import", tenantId, keyId: null, before: null, after: countResults(results) };
      if (changes) this.#into.audit.record(by, entry);
      return results;
    });
  }
}

function countResults(results: readonly ImportResult[]): Record<ImportResult["result"], number> {
  const counts = { created: 0, updated: 0, unchanged: 0, rejected: 0 };
  for (const { result } of results) counts[result]++;
  return counts;
}
