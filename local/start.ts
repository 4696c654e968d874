/**
 * `npm start`: the gateway on bare workerd in front of the stand-in Postiz. Two runs of workerd, because a port
 * that answers must already know the demo tenants: the first listens in the file system only, says whether the
 * configuration is good, and seeds; the second serves.
 */
import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { readConfig } from "../src/config.ts";
import type { Env } from "../src/env.ts";
import type { Socket, WorkerService } from "./capnp.ts";
import * as demo from "./demo.ts";
import { type Build, buildAll, gatewayServices } from "./gateway.ts";
import { readOptions, type StartOptions, USAGE, UsageError } from "./options.ts";
import { findPorts } from "./ports.ts";
import { ROOT, UserError } from "./project.ts";
import { startWorkerd, type Workerd } from "./workerd.ts";

/** What both runs of workerd have in common. */
interface Run {
  readonly stateDir: string;
  readonly build: Build;
  readonly services: readonly WorkerService[];
  readonly signal: AbortSignal;
}

/** When a signal goes to the whole group, workerd may be the first to end. */
const SIGNAL_GRACE_MS = 100;
/** The path of a socket has room for about a hundred. */
const MAX_SOCKET_PATH_BYTES = 90;

process.exit(await main(endSignal()));

/** Aborts on the signals that end a program, and when the bootstrap process goes without a word. */
function endSignal(): AbortSignal {
  const end = new AbortController();
  for (const event of ["SIGINT", "SIGTERM", "SIGHUP", "disconnect"]) process.on(event, () => end.abort());
  return end.signal;
}

async function main(signal: AbortSignal): Promise<number> {
  try {
    const options = readOptions(process.argv.slice(2), process.env);
    if (!options.help) return await start(options, signal);
    console.log(USAGE);
    return 0;
  } catch (error) {
    if (signal.aborted) return 0;
    if (!(error instanceof UserError)) throw error;
    console.error(error instanceof UsageError ? `${error.message}\n\n${USAGE}` : error.message);
    return error instanceof UsageError ? 2 : 1;
  }
}

async function start(options: StartOptions, signal: AbortSignal): Promise<number> {
  const { port, origin } = options;
  const standIn = (originPort: number) => `http://127.0.0.1:${originPort}`;
  const originPort = await findPorts(port);
  const vars = { ...demo.DEMO_VARS, ORIGIN_URL: origin ?? standIn(originPort), ...options.vars };
  requireValid(vars);
  const stateDir = await prepareState(options);
  console.log("Building the gateway …");
  const build = await buildAll(stateDir, demo.DEMO_WORKERS, signal);

  const run: Run = { stateDir, build, services: gatewayServices(build, vars), signal };
  const address = `127.0.0.1:${port}`;
  await seed(run, address);
  const workerd = await serve(run, address, origin === null ? originPort : null);
  console.log(demo.banner(`http://${address}`, vars.ORIGIN_URL, vars.ORIGIN_URL === standIn(originPort)));

  const how = await workerd.exited;
  if (!signal.aborted) await delay(SIGNAL_GRACE_MS);
  if (signal.aborted) return 0;
  console.error(`workerd ended by itself: ${how}.`);
  return 1;
}

/** The gateway would say the same at its first request, but only to its log. */
function requireValid(vars: Readonly<Record<string, string>>): void {
  const bindings = {
    CREDENTIALS: {},
    INTROSPECTION: {},
    TENANT_AUTHORITY: {},
    DIRECTORY: {},
  } as unknown as Env;
  const result = readConfig({ ...bindings, ...vars });
  if (result.ok) return;
  const { variable, found, allowed } = result.problem;
  throw new UserError(`${variable} is ${found}: allowed is ${allowed}.`);
}

/** A folder for each port, so that two gateways on one machine do not share one. */
async function prepareState({ port, keep }: StartOptions): Promise<string> {
  const stateDir = join(ROOT, ".state/demo", String(port));
  if (!keep) await rm(stateDir, { recursive: true, force: true });
  await mkdir(stateDir, { recursive: true });
  // The variables may be secrets, and whoever can open the sockets may seed.
  await chmod(stateDir, 0o700);
  return stateDir;
}

async function seed({ stateDir, build, services, signal }: Run, address: string): Promise<void> {
  const socketDir = await prepareSocketDir(stateDir);
  const health = join(socketDir, "health.sock");
  const seeder = join(socketDir, "seeder.sock");
  const sockets: Socket[] = [
    { name: "health", about: "To ask for its health.", address: `unix:${health}`, service: "gateway" },
    { name: "seeder", about: "To seed the demo tenants.", address: `unix:${seeder}`, service: "seeder" },
  ];
  const about = "The gateway while npm start seeds its demo tenants: no port is open.";
  const workers = [...services, demo.seederService(build)];
  const config = { about, workers, sockets, storagePath: join(stateDir, "storage") };
  try {
    const workerd = await startWorkerd({ stateDir, fileName: "seed.capnp", config, signal });
    try {
      await demo.checkHealth(health, address, signal);
      await demo.seed(seeder, signal);
    } finally {
      await workerd.stop();
    }
  } finally {
    await rm(socketDir, { recursive: true, force: true });
  }
}

async function prepareSocketDir(stateDir: string): Promise<string> {
  const socketDir = join(stateDir, "sockets");
  if (Buffer.byteLength(socketDir) > MAX_SOCKET_PATH_BYTES - "/seeder.sock".length) {
    return mkdtemp(join(tmpdir(), "postiz-gateway-"));
  }
  await rm(socketDir, { recursive: true, force: true });
  await mkdir(socketDir);
  return socketDir;
}

/** `originPort`: of the stand-in, or null for none. */
async function serve(run: Run, address: string, originPort: number | null): Promise<Workerd> {
  const { stateDir, build, services, signal } = run;
  const gateway = { name: "gateway", about: "Where clients come in.", address };
  const sockets: Socket[] = [{ ...gateway, service: "gateway" }];
  const workers = [...services];
  if (originPort !== null) {
    workers.push(demo.originService(build));
    sockets.push(demo.originSocket(originPort));
  }
  const about = "The gateway as npm start serves it.";
  const config = { about, workers, sockets, storagePath: join(stateDir, "storage") };
  return startWorkerd({ stateDir, fileName: "workerd.capnp", config, signal });
}
