/** What operators have done to a tenant: who, when, what, before and after. Never a secret; it outlives the tenant. */
export interface AuditEntry {
  /** RFC 3339, UTC. */
  readonly at: string;
  readonly actor: string;
  /** Such as `key.rotate`. */
  readonly action: string;
  readonly tenantId: string;
  /** Null where it was about the tenant itself. */
  readonly keyId: string | null;
  /** What is shown of it; null where there was nothing, or where nothing is to be shown. */
  readonly before: object | null;
  readonly after: object | null;
}

/** Who does something, and when. */
export interface By {
  readonly actor: string;
  readonly nowMs: number;
}

/** With its number within the tenant. */
export interface NumberedEntry {
  readonly id: number;
  readonly entry: AuditEntry;
}

interface Row extends Record<string, SqlStorageValue> {
  readonly id: number;
  readonly entry: string;
}

export class Audit {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Call inside the transaction of the change. */
  record({ actor, nowMs }: By, what: Omit<AuditEntry, "at" | "actor">): void {
    const entry: AuditEntry = { at: new Date(nowMs).toISOString(), actor, ...what };
    this.#sql.exec("INSERT INTO audit (entry) VALUES (?)", JSON.stringify(entry));
  }

  /** The newest first; `before`: the number that the last page ended with. */
  page(before: number, limit: number): NumberedEntry[] {
    return this.#read("WHERE id < ? ORDER BY id DESC LIMIT ?", before, limit);
  }

  /** What the operators' own log has not acknowledged yet, the oldest first. */
  untold(limit: number): NumberedEntry[] {
    return this.#read("WHERE told = 0 ORDER BY id LIMIT ?", limit);
  }

  told(upTo: number): void {
    this.#sql.exec("UPDATE audit SET told = 1 WHERE told = 0 AND id <= ?", upTo);
  }

  #read(where: string, ...values: SqlStorageValue[]): NumberedEntry[] {
    const rows = this.#sql.exec<Row>(`SELECT id, entry FROM audit ${where}`, ...values).toArray();
    return rows.map(({ id, entry }) => ({ id, entry: JSON.parse(entry) as AuditEntry }));
  }
}
