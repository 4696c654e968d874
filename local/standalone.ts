/**
 * `npm run standalone`: the gateway beside a Postiz, on bare workerd, for who has no Cloudflare account. The same
 * bundle that would be deployed; keys, tenants and counters are kept in SQLite below the data folder.
 */
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { GatewayEvent } from "../src/telemetry/event.ts";
import * as demo from "./demo.ts";
import { buildAll, gatewayServices } from "./gateway.ts";
import {
  readEventsOptions,
  readStandaloneOptions,
  STANDALONE_USAGE,
  type StandaloneOptions,
} from "./options.ts";
import { findPorts } from "./ports.ts";
import { readEvents, renderEvent } from "./read-events.ts";
import { preparePrivate, requireValid, runCommand, seedDemo, serve, untilEnd } from "./run.ts";

/** As long as Postiz may take for most answers; systemd itself waits for 90 s. */
const DRAIN_MS = 30_000;

process.exit(await runCommand(STANDALONE_USAGE, main));

async function main(signal: AbortSignal): Promise<number> {
  const args = process.argv.slice(2);
  // npm runs scripts in the project's folder, and says where it was called.
  const cwd = process.env["INIT_CWD"] ?? process.cwd();
  const about = readEventsOptions(args, cwd);
  if (about !== null) {
    await print(readEvents(about.dataDir), about.json ? JSON.stringify : renderEvent);
    return 0;
  }
  const options = readStandaloneOptions(args, cwd);
  if (!options.help) return standalone(options, signal);
  console.log(STANDALONE_USAGE);
  return 0;
}

/** As fast as they are read, however many there are; and all of them, before the process ends. */
async function print(events: Iterable<GatewayEvent>, render: (event: GatewayEvent) => string): Promise<void> {
  const lines = Readable.from(events).map((event: GatewayEvent) => `${render(event)}\n`);
  try {
    await pipeline(lines, process.stdout, { end: false });
    // The process is ended as soon as this is over, whether a slow reader has got everything or not.
    await new Promise((resolve) => process.stdout.write("", resolve));
  } catch (error) {
    // Whoever reads has seen enough.
    if ((error as NodeJS.ErrnoException).code !== "EPIPE") throw error;
  }
}

async function standalone(options: StandaloneOptions, signal: AbortSignal): Promise<number> {
  const { host, port, vars, dataDir } = options;
  await findPorts(host, port, "Give another --port or --host");
  requireValid(vars);
  await preparePrivate(dataDir);
  const build = await buildAll(dataDir, options.demo ? demo.DEMO_WORKERS : {}, signal);
  const run = { stateDir: dataDir, build, services: gatewayServices(build, vars), signal };
  const address = `${host.includes(":") ? `[${host}]` : host}:${port}`;
  if (options.demo) await seedDemo(run, address);
  const workerd = await serve(run, address, { workers: [], sockets: [], drainMs: DRAIN_MS });
  console.log(
    `The gateway is at http://${address}, in front of ${vars["ORIGIN_URL"]}; its data is in ${dataDir}.`,
  );
  return untilEnd(workerd, signal);
}
