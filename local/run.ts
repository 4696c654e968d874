/** What `npm start` and `npm run standalone` have in common: one gateway on bare workerd, from signal to signal. */
import { chmod, mkdir, mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { readConfig } from "../src/config.ts";
import type { Env } from "../src/env.ts";
import type { Socket, WorkerService } from "./capnp.ts";
import * as demo from "./demo.ts";
import type { Build } from "./gateway.ts";
import { UsageError } from "./options.ts";
import { UserError } from "./project.ts";
import { startWorkerd, type Workerd } from "./workerd.ts";

export interface Run {
  readonly stateDir: string;
  readonly build: Build;
  /** The gateway, and what it needs. */
  readonly services: readonly WorkerService[];
  readonly signal: AbortSignal;
}

/** When a signal goes to the whole group, workerd may be the first to end. */
const SIGNAL_GRACE_MS = 100;
/** The path of a socket has room for about a hundred. */
const MAX_SOCKET_PATH_BYTES = 90;

/** A machine that stands still for longer loses the last second's events. */
const HOLD_TIMEOUT_MS = 5_000;

/** Runs a command to its end; resolves to the exit code to leave with. */
export async function runCommand(
  usage: string,
  command: (signal: AbortSignal) => Promise<number>,
): Promise<number> {
  const signal = endSignal();
  try {
    return await command(signal);
  } catch (error) {
    if (signal.aborted) return 0;
    if (!(error instanceof UserError)) throw error;
    console.error(error instanceof UsageError ? `${error.message}\n\n${usage}` : error.message);
    return error instanceof UsageError ? 2 : 1;
  }
}

/** Aborts on the signals that end a program, and when the bootstrap process goes without a word. */
function endSignal(): AbortSignal {
  const end = new AbortController();
  for (const event of ["SIGINT", "SIGTERM", "SIGHUP", "disconnect"]) process.on(event, () => end.abort());
  return end.signal;
}

/** The gateway would say the same at its first request, but only to its log. */
export function requireValid(vars: Readonly<Record<string, string>>): void {
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

/** Variables may be secrets, and whoever can open the sockets may seed: for this user only. */
export async function preparePrivate(stateDir: string): Promise<void> {
  try {
    await mkdir(stateDir, { recursive: true });
    await chmod(stateDir, 0o700);
  } catch (error) {
    throw new UserError(
      `The data folder ${stateDir} can't be used: ${(error as Error).message}. Allowed is a folder of this user's, or a path where one can be made.`,
    );
  }
}

/**
 * Puts the demo tenants in place before any port is open, because a port that answers must know them. `address`: where
 * clients will reach the gateway.
 */
export async function seedDemo({ stateDir, build, services, signal }: Run, address: string): Promise<void> {
  const socketDir = await prepareSocketDir(stateDir);
  const health = join(socketDir, "health.sock");
  const seeder = join(socketDir, "seeder.sock");
  const sockets: Socket[] = [
    { name: "health", about: "To ask for its health.", address: `unix:${health}`, service: "gateway" },
    { name: "seeder", about: "To seed the demo tenants.", address: `unix:${seeder}`, service: "seeder" },
  ];
  const about = "The gateway while its demo tenants are seeded: no port is open.";
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

/** `extra`: Workers and sockets beside the gateway's. Resolves when every socket listens. */
export async function serve(
  { stateDir, services, signal }: Run,
  address: string,
  extra: {
    readonly workers: readonly WorkerService[];
    readonly sockets: readonly Socket[];
    readonly drainMs?: number;
  },
): Promise<Workerd> {
  const socketDir = await prepareSocketDir(stateDir);
  const holdPath = join(socketDir, "hold.sock");
  const gateway = { name: "gateway", about: "Where clients come in.", address, service: "gateway" };
  const holder = { name: "hold", about: "To end in order.", address: `unix:${holdPath}`, service: "hold" };
  const config = {
    about: "The gateway on one machine.",
    workers: [...services, ...extra.workers],
    sockets: [gateway, holder, ...extra.sockets],
    storagePath: join(stateDir, "storage"),
  };
  const { drainMs } = extra;
  const workerd = await startWorkerd({
    stateDir,
    fileName: "workerd.capnp",
    config,
    signal,
    aroundStop: () => hold(holdPath),
    ...(drainMs && { drainMs }),
  });
  const removed = () => rm(socketDir, { recursive: true, force: true });
  return { ...workerd, exited: workerd.exited.finally(removed) };
}

/** Resolves, when workerd is held, to what lets it go as soon as everything is recorded. */
function hold(socketPath: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method: "POST", timeout: HOLD_TIMEOUT_MS }, (response) => {
      // It is to be silent for a while, longer than it may take to begin.
      asked.setTimeout(0);
      response.on("error", () => {}).resume();
      resolve(() => asked.end());
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer"))).on("error", reject);
    asked.flushHeaders();
  });
}

/** Waits for the end; resolves to the exit code to leave with. */
export async function untilEnd({ exited }: Workerd, signal: AbortSignal): Promise<number> {
  const how = await exited;
  if (!signal.aborted) await delay(SIGNAL_GRACE_MS);
  if (signal.aborted) return 0;
  console.error(`workerd ended by itself: ${how}.`);
  return 1;
}
