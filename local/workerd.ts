/** Runs one workerd, and makes sure that it never outlives this process. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { renderConfig, type WorkerdConfig } from "./capnp.ts";
import { UserError } from "./project.ts";

export interface Workerd {
  /** The port each socket listens on; 0 for one in the file system. */
  readonly ports: ReadonlyMap<string, number>;
  readonly pid: number;
  /** Resolves when the process has ended, to how, in words. */
  readonly exited: Promise<string>;
  /** Resolves when it has ended. */
  stop(): Promise<void>;
}

interface Options {
  readonly stateDir: string;
  /** Of the generated configuration, in `stateDir`. */
  readonly fileName: string;
  readonly config: WorkerdConfig;
  /** Stops workerd, at any time. */
  readonly signal?: AbortSignal;
  /** How long (ms) requests under way have to come to their end, once it is to stop. */
  readonly drainMs?: number;
  /** To be done before workerd hears that it is to stop, and, what it resolves to, after; a failure does not keep it. */
  readonly aroundStop?: () => Promise<() => void>;
  /** What becomes of what the Workers write to the console. */
  readonly output?: "inherit" | "ignore";
}

const DRAIN_MS = 5_000;
const CONTROL_FD = 3;

/** Resolves when every socket listens. */
export async function startWorkerd({
  stateDir,
  fileName,
  config,
  signal,
  drainMs = DRAIN_MS,
  aroundStop = async () => () => {},
  output = "inherit",
}: Options): Promise<Workerd> {
  const configPath = join(stateDir, fileName);
  await mkdir(config.storagePath, { recursive: true });
  // Variables may be secrets.
  await writeFile(configPath, renderConfig(config), { mode: 0o600 });
  signal?.throwIfAborted();

  const child = spawn(workerdBinary(), ["serve", `--control-fd=${CONTROL_FD}`, configPath], {
    stdio: ["ignore", output, "inherit", "pipe"],
  });
  const exited = endOf(child);
  const stop = async () => {
    const afterwards = await aroundStop().catch((error: Error) => {
      console.error(`The last events may be missing: workerd could not be held (${error.message}).`);
      return () => {};
    });
    const stopped = stopChild(child, exited, drainMs);
    afterwards();
    await stopped;
  };
  signal?.addEventListener("abort", stop, { once: true });
  const ports = await Promise.race([listening(child, config.sockets.length), exited]);
  if (typeof ports === "string") throw new UserError(`workerd ended before it listened: ${ports}`);
  return { ports, pid: child.pid ?? 0, exited, stop };
}

/** The platform's own binary, not the script around it: signals have to reach it. */
function workerdBinary(): string {
  // Not a dependency of ours: wrangler decides which workerd belongs to it.
  const fromWrangler = createRequire(createRequire(import.meta.url).resolve("wrangler"));
  return fromWrangler("workerd").default;
}

function endOf(child: ChildProcess): Promise<string> {
  const kill = () => child.kill("SIGKILL");
  // Whatever ends this process ends workerd; and when it gets no chance, the bootstrap process does it.
  process.once("exit", kill);
  tellBootstrap({ started: child.pid });
  return new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => {
      process.off("exit", kill);
      tellBootstrap({ ended: child.pid });
      resolve(signal ?? `exit code ${code}`);
    });
  });
}

/** A parent that has gone needs no telling; why it went is for others to see. */
function tellBootstrap(message: object): void {
  if (process.connected) process.send?.(message, undefined, undefined, () => {});
}

/** workerd reports each socket, as a line of JSON, when it listens. */
function listening(child: ChildProcess, sockets: number): Promise<Map<string, number>> {
  const ports = new Map<string, number>();
  const lines = createInterface({ input: child.stdio[CONTROL_FD] as Readable });
  return new Promise((resolve) => {
    lines.on("line", (line) => {
      const { event, socket, port } = JSON.parse(line);
      if (event === "listen") ports.set(socket, port);
      if (ports.size === sockets) resolve(ports);
    });
  });
}

async function stopChild(child: ChildProcess, exited: Promise<string>, drainMs: number): Promise<void> {
  const deadline = setTimeout(() => {
    console.error(`Requests were still under way after ${drainMs / 1_000} s: ended, without their events.`);
    child.kill("SIGKILL");
  }, drainMs);
  child.kill("SIGTERM");
  await exited;
  clearTimeout(deadline);
}
