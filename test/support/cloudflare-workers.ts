/** The module `cloudflare:workers` for tests of the authority in Node. */
export class DurableObject<Env> {
  readonly ctx: DurableObjectState;
  readonly env: Env;
  constructor(ctx: DurableObjectState, env: Env) {
    this.ctx = ctx;
    this.env = env;
  }
}
