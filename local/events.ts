/** Events for bare workerd, which has no Analytics Engine to speak of: kept in SQLite, the oldest deleted in time. */
import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import type { EventStore } from "../src/telemetry/event-batch.ts";

interface EventsEnv {
  readonly LOG: DurableObjectNamespace<EventLog>;
}

const KEPT = 1_000_000;

/** What the gateway calls. */
export default class Events extends WorkerEntrypoint<EventsEnv> implements EventStore {
  async append(events: string): Promise<void> {
    await this.env.LOG.getByName("events").append(events);
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

  append(events: string): void {
    this.#sql.exec("INSERT INTO event (json) SELECT value FROM json_each(?)", events);
    this.#sql.exec("DELETE FROM event WHERE id <= (SELECT MAX(id) FROM event) - ?", KEPT);
  }
}
