/** `npm run standalone` as a process that can be killed and started again on the same data and port. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { ROOT } from "../local/project.ts";
import type { Stop } from "./ledger.ts";

const START_TIMEOUT_MS = 180_000;
const POLL_MS = 50;
const MAX_LINES = 100;

export interface Setting {
  readonly dataDir: string;
  readonly port: number;
  readonly originUrl: string;
  readonly vars: Readonly<Record<string, string>>;
}

export class Gateway {
  readonly url: string;
  /** Folder of the version that runs, or ran last. */
  root: string = ROOT;
  /** How it has ended, each time that it was told to; or before, by itself. */
  readonly stops: Stop[] = [];
  readonly #setting: Setting;
  #child: ChildProcess | null = null;
  #workerdPid = 0;
  /** What it wrote that is no event: each line, and how often. */
  readonly #lines = new Map<string, number>();

  constructor(setting: Setting) {
    this.#setting = setting;
    this.url = `http://127.0.0.1:${setting.port}`;
  }

  /** Of workerd. */
  get pid(): number {
    return this.#workerdPid;
  }

  get output(): string {
    return [...this.#lines]
      .map(([line, times]) => (times > 1 ? `${line} (${times} times)` : line))
      .join("\n");
  }

  /** The version in that folder. Resolves when it serves. */
  async start(root: string): Promise<void> {
    this.root = root;
    const { dataDir, port, originUrl, vars } = this.#setting;
    const assignments = Object.entries(vars).flatMap(([name, value]) => ["--var", `${name}:${value}`]);
    const args = ["--port", String(port), "--data", dataDir, "--origin", originUrl, ...assignments];
    // With the channel that the bootstrap process has: over it the gateway says which process is workerd, and it ends
    // with this one.
    const child = spawn(process.execPath, [join(root, "local/standalone.ts"), ...args], {
      cwd: root,
      stdio: ["ignore", "pipe", "pipe", "ipc"],
    });
    this.#child = child;
    child.on("message", (message: { started?: number }) => {
      if (message.started !== undefined) this.#workerdPid = message.started;
    });
    for (const stream of [child.stdout, child.stderr]) {
      stream?.setEncoding("utf8").on("data", (text: string) => this.#keep(text));
    }
    const deadline = Date.now() + START_TIMEOUT_MS;
    while (!(await this.#isHealthy())) {
      if (child.exitCode !== null || Date.now() > deadline) {
        throw new Error(`the gateway did not start:\n${this.output}`);
      }
      await delay(POLL_MS);
    }
  }

  /** Resolves when the process has gone. */
  async kill(): Promise<void> {
    const child = this.#running();
    process.kill(this.#workerdPid, "SIGKILL");
    await once(child, "exit");
  }

  /** In order. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    const toldAtMs = Date.now();
    if (child.exitCode === null && child.signalCode === null) {
      child.kill("SIGTERM");
      await once(child, "exit");
    }
    this.stops.push({ tookMs: Date.now() - toldAtMs, exitCode: child.exitCode });
  }

  #running(): ChildProcess {
    if (this.#child === null) throw new Error("the gateway was not started");
    return this.#child;
  }

  async #isHealthy(): Promise<boolean> {
    const answer = await fetch(`${this.url}/_gateway/health`).catch(() => null);
    await answer?.body?.cancel();
    return answer?.status === 200;
  }

  #keep(text: string): void {
    for (const line of text.split("\n")) {
      if (line === "" || line.startsWith('{"v":')) continue;
      if (this.#lines.has(line) || this.#lines.size < MAX_LINES) {
        this.#lines.set(line, (this.#lines.get(line) ?? 0) + 1);
      }
    }
  }
}
