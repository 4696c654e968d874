/** The command-line program as a process of its own, and what to import with it. */
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { ROOT } from "../../local/project.ts";
import { record } from "./record.ts";

/** As it is published; `npm run build:cli` makes it. */
export const BUNDLE = join(ROOT, "dist/cli/postiz-gateway.mjs");

export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** Null: its end does not come. */
  readonly input?: string | null;
  /** The standard output shows a new key, this once. */
  readonly showsKey?: boolean;
}

export interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  readonly stderr: () => string;
  readonly ended: Promise<Ran>;
}

/** Nothing of this process's environment but the path: what is not said is not set. */
export function startCli(args: readonly string[], options: RunOptions = {}): Running {
  const { env = {}, input = "", showsKey = false } = options;
  const child = spawn(process.execPath, [BUNDLE, ...args], {
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  let [stdout, stderr] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (text) => {
    stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text) => {
    stderr += text;
  });
  // It need not read what it is given.
  child.stdin.on("error", () => {});
  if (input !== null) child.stdin.end(input);
  const ended = once(child, "close").then(([code]): Ran => {
    record("console", showsKey ? stderr : `${stdout}${stderr}`);
    return { code, stdout, stderr };
  });
  return { child, stderr: () => stderr, ended };
}

export const digest = (text: string): string => createHash("sha256").update(text).digest("hex");

/** As they are exported: `tenants` tenants with `keys` keys between them, a line each, tenant by tenant. */
export function* importLines(prefix: string, tenants: number, keys: number): Generator<string> {
  for (let t = 0; t < tenants; t++) {
    const id = `${prefix}${t}`;
    const limits = { postsPerHour: null, apiPerMinute: null };
    yield JSON.stringify({ type: "tenant", id, name: `Tenant ${id}`, limits, shadowPolicies: [] });
    const paid = { status: "active", tier: "PRO", currentPeriodEnd: null };
    yield JSON.stringify({ type: "subscription", tenantId: id, ...paid });
    for (let k = 0; k < keys / tenants; k++) {
      const terms = { expiresAt: null, apiPerMinute: null, scopes: ["*"], allowedNetworks: [] };
      const about = { keyId: `k${k}`, name: `key ${k}`, ...terms, disabled: false };
      const key = { type: "api_key", digest: digest(`key ${k} of ${id}`), ...about, tenantId: id };
      yield JSON.stringify(key);
    }
  }
}
