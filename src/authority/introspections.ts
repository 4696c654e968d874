/**
 * What the origin, or an introspection endpoint, has said about the tenant's credentials, and who is to ask again.
 * Synchronous and without a clock of its own, like the leases that rest on it.
 */
import type { CredentialRecord } from "./credential-record.ts";
import { CLOCK_MARGIN_MS, type Testimony } from "./protocol.ts";

/** What of the configuration bears on introspection. */
export interface IntrospectionRule {
  readonly introspectionTtlMs: number;
  readonly introspectionStaleIfErrorMs: number;
  readonly introspectionTimeoutMs: number;
  readonly authorityTimeoutMs: number;
}

export type Standing = Usability & {
  /** Grows with every answer: a testimony from before the last one counts for nothing. */
  readonly generation: number;
};

type Usability =
  | {
      readonly is: "usable";
      /** Instant at which the answer ends; null where it does not age. */
      readonly untilMs: number | null;
      readonly stale: boolean;
      /** From when on whoever asks may be appointed to get a new one; null where it does not age. */
      readonly renewAtMs: number | null;
      /** Whoever asked is to get a new answer before this one ends. */
      readonly refresh: boolean;
    }
  /** There is no answer that may be used. `appointed`: whoever asked is to get one; otherwise somebody is at it. */
  | { readonly is: "to_be_asked"; readonly appointed: boolean }
  | { readonly is: "refused" }
  /** Nobody can be asked at the moment, and there is no last good answer. */
  | { readonly is: "unavailable"; readonly retryInMs: number };

export interface Recorded {
  readonly counts: boolean;
  /** What was decided on before does not hold. */
  readonly flipped: boolean;
  /** KV is to hear of it. */
  readonly mirror: boolean;
  /** The current one. */
  readonly generation: number;
}

/** What is known about a credential. */
export interface IntrospectionRow extends Record<string, SqlStorageValue> {
  /** 1 or 0; null before the first answer. */
  readonly active: number | null;
  readonly obtained_at_ms: number;
  readonly expires_at_ms: number | null;
  readonly generation: number;
  /** In a row. */
  readonly refusals: number;
  readonly ask_after_ms: number;
  readonly appointed_until_ms: number;
  /** Nonce of the ask that was appointed. */
  readonly appointed_to: string;
  readonly mirrored_at_ms: number;
}

const NEVER_ASKED: IntrospectionRow = {
  active: null,
  obtained_at_ms: 0,
  expires_at_ms: null,
  generation: 0,
  refusals: 0,
  ask_after_ms: 0,
  appointed_until_ms: 0,
  appointed_to: "",
  mirrored_at_ms: 0,
};

/** A busy credential gets a new answer in the last tenth of the old one's life. */
const REFRESH_FROM = 0.9;
/** Most of an answer's life that is kept back for grants on their way. */
const MAX_MARGIN = 0.25;
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

  /**
   * Tokens live on answers that age; keys are good until somebody says no. Appoints whoever asks (`nonce`) if there
   * is something to find out; nobody where there is no nonce.
   */
  standing(
    digest: string,
    kind: CredentialRecord["kind"],
    nonce: string | null,
    rule: IntrospectionRule,
    nowMs: number,
  ): Standing {
    const ages = kind === "oauth_token";
    const row = this.#row(digest) ?? NEVER_ASKED;
    const { generation } = row;
    if (!ages && row.active !== 0) return keysStand(generation);
    const appoint = () => nonce !== null && this.#appoint(digest, row, nonce, rule, nowMs);
    const isActive = row.active === 1 && (row.expires_at_ms === null || nowMs < row.expires_at_ms);
    const found = isActive
      ? standingOfAnswer(row, rule, nowMs, appoint)
      : standingWithoutAnswer(row, nowMs, appoint);
    return { ...found, generation };
  }

  /**
   * Takes a testimony down. Whether it counts: one about an earlier state of things does not; that nobody answered says
   * nothing about the state.
   */
  record(testimony: Testimony, nowMs: number): Recorded {
    const { digest, active } = testimony;
    const row = this.#row(digest) ?? NEVER_ASKED;
    const { generation } = row;
    if (active === null) {
      const askAfterMs = Math.max(row.ask_after_ms, nowMs + UNANSWERED_PAUSE_MS);
      this.#write(digest, { ...row, appointed_until_ms: 0, ask_after_ms: askAfterMs });
      return { counts: true, flipped: false, mirror: false, generation };
    }
    if (testimony.generation !== generation)
      return { counts: false, flipped: false, mirror: false, generation };
    // On a first yes nothing has rested yet, and keys are good without one.
    const flipped = active ? row.active === 0 : row.active !== 0;
    const mirror = row.active !== Number(active) || nowMs - row.mirrored_at_ms > MIRROR_EVERY_MS;
    const refusals = active ? 0 : row.refusals + 1;
    const pauseMs = Math.min(REFUSED_PAUSE_MIN_MS * 2 ** (refusals - 1), REFUSED_PAUSE_MAX_MS);
    this.#write(digest, {
      active: Number(active),
      // The testimony may have been long on its way: then the asker's own clock is the better witness.
      obtained_at_ms: Math.min(nowMs - testimony.ageMs, testimony.askedAtMs + CLOCK_MARGIN_MS),
      expires_at_ms: testimony.expiresAtMs,
      generation: generation + 1,
      refusals,
      ask_after_ms: active ? 0 : nowMs + pauseMs,
      appointed_until_ms: 0,
      appointed_to: "",
      mirrored_at_ms: mirror ? nowMs : row.mirrored_at_ms,
    });
    return { counts: true, flipped, mirror, generation: generation + 1 };
  }

  /** For the tenant that takes the credential over. */
  handOver(digest: string): IntrospectionRow | null {
    return this.#row(digest);
  }

  /** Unless something newer is known here already. */
  takeOver(digest: string, row: IntrospectionRow): void {
    const known = this.#row(digest);
    if (known === null || known.generation < row.generation) this.#write(digest, row);
  }

  /** What was said so far counts no more: it has to be said anew. Whether there was anything. */
  forget(digest: string): boolean {
    const row = this.#row(digest);
    if (row === null) return false;
    this.#write(digest, { ...NEVER_ASKED, generation: row.generation + 1 });
    return true;
  }

  /** Whether whoever asks is to introspect: nobody is at it, and it is not too early. An ask that is repeated stays so. */
  #appoint(
    digest: string,
    row: IntrospectionRow,
    nonce: string,
    rule: IntrospectionRule,
    nowMs: number,
  ): boolean {
    if (row.appointed_until_ms > nowMs) return row.appointed_to === nonce;
    if (row.ask_after_ms > nowMs) return false;
    const untilMs = nowMs + rule.introspectionTimeoutMs + rule.authorityTimeoutMs;
    this.#write(digest, { ...row, appointed_until_ms: untilMs, appointed_to: nonce });
    return true;
  }

  #row(digest: string): IntrospectionRow | null {
    return (
      this.#sql.exec<IntrospectionRow>("SELECT * FROM introspection WHERE digest = ?", digest).toArray()[0] ??
      null
    );
  }

  #write(digest: string, row: IntrospectionRow): void {
    this.#sql.exec(
      `INSERT INTO introspection (digest, active, obtained_at_ms, expires_at_ms, generation, refusals,
         ask_after_ms, appointed_until_ms, appointed_to, mirrored_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (digest) DO UPDATE SET active = excluded.active, obtained_at_ms = excluded.obtained_at_ms,
         expires_at_ms = excluded.expires_at_ms, generation = excluded.generation, refusals = excluded.refusals,
         ask_after_ms = excluded.ask_after_ms, appointed_until_ms = excluded.appointed_until_ms,
         appointed_to = excluded.appointed_to, mirrored_at_ms = excluded.mirrored_at_ms`,
      digest,
      row.active,
      row.obtained_at_ms,
      row.expires_at_ms,
      row.generation,
      row.refusals,
      row.ask_after_ms,
      row.appointed_until_ms,
      row.appointed_to,
      row.mirrored_at_ms,
    );
  }
}

/** An answer is used no longer than it lives, and a grant on it is not cut off on its way to the isolate. */
function standingOfAnswer(
  row: IntrospectionRow,
  rule: IntrospectionRule,
  nowMs: number,
  appoint: () => boolean,
): Usability {
  const { obtained_at_ms: obtainedAtMs, expires_at_ms: expiresAtMs } = row;
  const marginMs = Math.min(rule.authorityTimeoutMs, MAX_MARGIN * rule.introspectionTtlMs);
  const lifeMs = rule.introspectionTtlMs - marginMs;
  const endOf = (ms: number) => Math.min(obtainedAtMs + ms, expiresAtMs ?? Number.POSITIVE_INFINITY);
  if (nowMs < endOf(lifeMs)) {
    const renewAtMs = obtainedAtMs + REFRESH_FROM * lifeMs;
    return {
      is: "usable",
      untilMs: endOf(rule.introspectionTtlMs),
      stale: false,
      renewAtMs,
      refresh: nowMs >= renewAtMs && appoint(),
    };
  }
  if (appoint()) return { is: "to_be_asked", appointed: true };
  if (row.ask_after_ms <= nowMs) return { is: "to_be_asked", appointed: false };
  const staleUntilMs = endOf(rule.introspectionStaleIfErrorMs);
  if (nowMs < staleUntilMs)
    return { is: "usable", untilMs: staleUntilMs, stale: true, renewAtMs: row.ask_after_ms, refresh: false };
  return { is: "unavailable", retryInMs: row.ask_after_ms - nowMs };
}

function standingWithoutAnswer(row: IntrospectionRow, nowMs: number, appoint: () => boolean): Usability {
  if (appoint()) return { is: "to_be_asked", appointed: true };
  if (row.active !== null) return { is: "refused" };
  if (row.ask_after_ms <= nowMs) return { is: "to_be_asked", appointed: false };
  return { is: "unavailable", retryInMs: row.ask_after_ms - nowMs };
}

/** Of a key that nobody has said no to. */
export const keysStand = (generation: number): Standing => ({ ...USABLE, generation });

const USABLE: Usability = { is: "usable", untilMs: null, stale: false, renewAtMs: null, refresh: false };
