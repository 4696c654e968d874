/** Builds what the tests run, once: the gateway exactly as it is deployed, and the Workers around it. */
import { execFileSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { RECORD_DIR, SECRETS_FILE } from "./record.ts";

const root = join(import.meta.dirname, "../..");

export default async function setup(): Promise<void> {
  rmSync(RECORD_DIR, { recursive: true, force: true });
  rmSync(SECRETS_FILE, { force: true });
  execFileSync("wrangler", ["deploy", "--dry-run", "--outdir", "dist"], {
    cwd: root,
    env: { ...process.env, WRANGLER_SEND_METRICS: "false", CLOUDFLARE_CF_FETCH_ENABLED: "false" },
    stdio: ["ignore", "ignore", "inherit"],
  });
  await build({
    absWorkingDir: root,
    entryPoints: { origin: "demo/origin.ts", faults: "test/support/faults.ts" },
    outdir: "dist/test",
    bundle: true,
    format: "esm",
    external: ["cloudflare:*", "node:*"],
  });
}
