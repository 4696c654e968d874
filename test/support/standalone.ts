/** `npm run standalone` as a process, on a port of its own. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, vi } from "vitest";
import { freePort } from "../../local/ports.ts";
import { ROOT } from "../../local/project.ts";
import { record } from "./record.ts";

const START_TIMEOUT_MS = 60_000;

export interface Standalone {
  readonly npm: ChildProcess;
  readonly dataDir: string;
  readonly url: string;
  readonly output: () => string;
  readonly ended: Promise<unknown>;
}

/** Resolves when it serves. */
export async function startStandalone(
  dataDir: string,
  originUrl: string,
  ...args: string[]
): Promise<Standalone> {
  const port = await freePort();
  const npm = spawn(
    "npm",
    ["run", "standalone", "--", "--port", String(port), "--data", dataDir, "--origin", originUrl, ...args],
    { cwd: ROOT, detached: true, stdio: ["ignore", "pipe", "pipe"] },
  );
  let output = "";
  for (const stream of [npm.stdout, npm.stderr]) {
    stream.setEncoding("utf8").on("data", (text) => {
      output += text;
    });
  }
  const ended = once(npm, "exit").then(([code, signal]) => {
    record("console", output);
    return code ?? signal;
  });
  const standalone = { npm, dataDir, url: `http://127.0.0.1:${port}`, output: () => output, ended };
  await vi.waitFor(
    async () => {
      if (npm.exitCode !== null) return;
      expect((await fetch(`${standalone.url}/_gateway/health`)).status).toBe(200);
    },
    { timeout: START_TIMEOUT_MS, interval: 50 },
  );
  expect(npm.exitCode, output).toBeNull();
  return standalone;
}

/** Whatever is left of it, killed. */
export async function endStandalone({ npm, dataDir, ended }: Standalone): Promise<void> {
  if (npm.exitCode === null && npm.signalCode === null) process.kill(-(npm.pid ?? 0), "SIGKILL");
  await ended;
  for (const file of readdirSync(dataDir, { recursive: true, withFileTypes: true }))
    if (file.isFile()) record("disk", readFileSync(join(file.parentPath, file.name), "latin1"));
}

/** Id of its process. */
export function workerdOf({ npm }: Standalone): number {
  const processes = execFileSync("ps", ["-eo", "pid=,pgid=,args="], { encoding: "utf8" });
  const line = processes
    .split("\n")
    .find((each) => each.includes(` ${npm.pid} `) && each.includes("workerd serve"));
  return Number(line?.trim().split(/\s+/)[0]);
}
