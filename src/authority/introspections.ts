/**
 * What the origin, or an introspection endpoint, has said about the tenant's credentials, and who is to ask again.
 * Synchronous and without a clock of its own, like the leases that rest on it.
 */
import type { CredentialRecord } from "./credential-record.ts";
import type { Testimony } from "./protocol.ts";

/** What of the configuration bears on introspection. */
export interface IntrospectionRule {
  readonly introspectionTtlMs: number;
  readonly introspectionStaleIfErrorMs: number;
  readonly introspectionTimeoutMs: number;
  readonly authorityTimeoutMs: number;
}

export type Standing =
  | {
      readonly is: "usable";
      /** Instant at which the answer ends; null where it does not age. */
      readonly untilMs: number | null;
      readonly stale: boolean;
      /** Whoever asked is to get a new answer before this one ends. */
      readonly refresh: boolean;
    }
  /** There is no answer that may be used. `appointed`: whoever asked is to get one; otherwise somebody is at it. */
  | { readonly is: "to_be_asked"; readonly appointed: boolean }
  | { readonly is: "refused" }
  /** Nobody can be asked at the moment, and there is no last good answer. */
  | { readonly is: "unavailable"; readonly retryInMs: number };

interface Row extends Record<string, SqlStorageValue> {
  /** 1 or 0; null before the first answer. */
  readonly active: number | null;
  readonly obtained_at_ms: number;
  readonly expires_at_ms: number | null;
  readonly generation: number;
  /** In a row. */
  readonly refusals: number;
  readonly ask_after_ms: number;
  readonly appointed_until_ms: number;
  readonly mirrored_at_ms: number;
}

const NEVER_ASKED: Row = {
  active: null,
  obtained_at_ms: 0,
  expires_at_ms: null,
  generation: 0,
  refusals: 0,
  ask_after_ms: 0,
  appointed_until_ms: 0,
  mirrored_at_ms: 0,
};

/** A busy credential gets a new answer in the last tenth of the old one's life. */
const REFRESH_FROM = 0.9;
/** Whoever gave no answer is left alone for that long. */
const UNANSWERED_PAUSE_MS = 5_000;
const REFUSED_PAUSE_MIN_MS = 10_000;
const REFUSED_PAUSE_MAX_MS = 300_000;
/** The mirror in KV is for when nobody can be asked: it need not be younger. */
const MIRROR_EVERY_MS = 300_000;

export class Introspections {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Grows whenever an answer changes: a testimony about an earlier state of things counts for nothing. */
  generation(digest: string): number {
    return this.#row(digest)?.generation ?? 0;
  }

  /** May appoint whoever asks. Tokens live on answers that age; keys are good until somebody says no. */
  standing(digest: string, kind: CredentialRecord["kind"], rule: IntrospectionRule, nowMs: number): Standing {
    const ages = kind === "oauth_token";
    const row = this.#row(digest) ?? (ages ? NEVER_ASKED : null);
    if (row === null) return USABLE;
    if (!ages && row.active !== 0) return USABLE;
    const expired = row.expires_at_ms !== null && nowMs >= row.expires_at_ms;
    if (row.active !== 1 || expired) return this.#standingWithoutAnswer(digest, row, rule, nowMs);
    return this.#standingOfAnswer(digest, row, rule, nowMs);
  }

  /** Appoints whoever asks to ask again, if nobody is at it and it is not too early. */
  appoint(digest: string, rule: IntrospectionRule, nowMs: number): boolean {
    const row = this.#row(digest) ?? NEVER_ASKED;
    if (row.appointed_until_ms > nowMs || row.ask_after_ms > nowMs) return false;
    const untilMs = nowMs + rule.introspectionTimeoutMs + rule.authorityTimeoutMs;
    this.#write(digest, { ...row, appointed_until_ms: untilMs });
    return true;
  }

  /** Whether the testimony counts, and whether KV is to hear of it. */
  record(testimony: Testimony, nowMs: number): { readonly counts: boolean; readonly mirror: boolean } {
    const { digest, active, expiresAtMs } = testimony;
    const row = this.#row(digest) ?? NEVER_ASKED;
    if (testimony.generation !== row.generation) return { counts: false, mirror: false };
    if (active === null) {
      this.#write(digest, { ...row, appointed_until_ms: 0, ask_after_ms: nowMs + UNANSWERED_PAUSE_MS });
      return { counts: true, mirror: false };
    }
    const alive = active && (expiresAtMs === null || nowMs < expiresAtMs);
    const changed = row.active !== (alive ? 1 : 0);
    const mirror = changed || nowMs - row.mirrored_at_ms > MIRROR_EVERY_MS;
    const refusals = alive ? 0 : row.refusals + 1;
    this.#write(digest, {
      active: alive ? 1 : 0,
      obtained_at_ms: Math.max(row.obtained_at_ms, nowMs - testimony.ageMs),
      expires_at_ms: alive ? expiresAtMs : null,
      // A first yes contradicts nobody.
      generation: changed && !(alive && row.active === null) ? row.generation + 1 : row.generation,
      refusals,
      ask_after_ms: alive
        ? 0
        : nowMs + Math.min(REFUSED_PAUSE_MIN_MS * 2 ** (refusals - 1), REFUSED_PAUSE_MAX_MS),
      appointed_until_ms: 0,
      mirrored_at_ms: mirror ? nowMs : row.mirrored_at_ms,
    });
    return { counts: true, mirror };
  }

  #standingOfAnswer(digest: string, row: Row, rule: IntrospectionRule, nowMs: number): Standing {
    const { obtained_at_ms: obtainedAtMs, expires_at_ms: expiresAtMs } = row;
    const endOf = (lifeMs: number) =>
      Math.min(obtainedAtMs + lifeMs, expiresAtMs ?? Number.POSITIVE_INFINITY);
    const untilMs = endOf(rule.introspectionTtlMs);
    if (nowMs < untilMs) {
      const isLate = nowMs - obtainedAtMs >= REFRESH_FROM * rule.introspectionTtlMs;
      return { is: "usable", untilMs, stale: false, refresh: isLate && this.appoint(digest, rule, nowMs) };
    }
    if (this.appoint(digest, rule, nowMs)) return { is: "to_be_asked", appointed: true };
    if (row.ask_after_ms <= nowMs) return { is: "to_be_asked", appointed: false };
    const staleUntilMs = endOf(rule.introspectionStaleIfErrorMs);
    if (nowMs < staleUntilMs) return { is: "usable", untilMs: staleUntilMs, stale: true, refresh: false };
    return { is: "unavailable", retryInMs: row.ask_after_ms - nowMs };
  }

  #standingWithoutAnswer(digest: string, row: Row, rule: IntrospectionRule, nowMs: number): Standing {
    if (this.appoint(digest, rule, nowMs)) return { is: "to_be_asked", appointed: true };
    if (row.active !== null) return { is: "refused" };
    if (row.ask_after_ms <= nowMs) return { is: "to_be_asked", appointed: false };
    return { is: "unavailable", retryInMs: row.ask_after_ms - nowMs };
  }

  #row(digest: string): Row | null {
    return this.#sql.exec<Row>("SELECT * FROM introspection WHERE digest = ?", digest).toArray()[0] ?? null;
  }

  #write(digest: string, row: Row): void {
    this.#sql.exec(
      `INSERT INTO introspection (digest, active, obtained_at_ms, expires_at_ms, generation, refusals,
         ask_after_ms, appointed_until_ms, mirrored_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (digest) DO UPDATE SET active = excluded.active, obtained_at_ms = excluded.obtained_at_ms,
         expires_at_ms = excluded.expires_at_ms, generation = excluded.generation, refusals = excluded.refusals,
         ask_after_ms = excluded.ask_after_ms, appointed_until_ms = excluded.appointed_until_ms,
         mirrored_at_ms = excluded.mirrored_at_ms`,
      digest,
      row.active,
      row.obtained_at_ms,
      row.expires_at_ms,
      row.generation,
      row.refusals,
      row.ask_after_ms,
      row.appointed_until_ms,
      row.mirrored_at_ms,
    );
  }
}

const USABLE: Standing = { is: "usable", untilMs: null, stale: false, refresh: false };
