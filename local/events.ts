/** Events for bare workerd, which has no Analytics Engine to speak of: kept in SQLite, the oldest deleted in time. */
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import type { GatewayEvent } from "../src/telemetry/event.ts";

interface EventsEnv {
  readonly LOG: DurableObjectNamespace<EventLog>;
}

const KEPT = 1_000_000;

/** What the gateway calls. */
export default class Events extends WorkerEntrypoint<EventsEnv> {
  async append(events: readonly GatewayEvent[]): Promise<void> {
    await this.env.LOG.getByName("events").append(events.map((event) => JSON.stringify(event)));
  }
}

export class EventLog extends DurableObject<EventsEnv> {
  readonly #sql = this.ctx.storage.sql;

  constructor(ctx: DurableObjectState, env: EventsEnv) {
    super(ctx, env);
    this.#sql.exec(
      "CREATE TABLE IF NOT EXISTS event (id INTEGER PRIMARY KEY AUTOINCREMENT, json TEXT NOT NULL)",
    );
  }

  append(lines: readonly string[]): void {
    for (const line of lines) this.#sql.exec("INSERT INTO event (json) VALUES (?)", line);
    this.#sql.exec("DELETE FROM event WHERE id <= (SELECT MAX(id) FROM event) - ?", KEPT);
  }
}
