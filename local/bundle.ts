/** Turns sources into the modules that workerd loads. */
import { execFile } from "node:child_process";
import { readdir } from "node:fs/promises";
import { extname, join } from "node:path";
import * as esbuild from "esbuild";
import type { Module } from "./capnp.ts";
import { ROOT, UserError } from "./project.ts";

const WRANGLER = join(ROOT, "node_modules/wrangler/bin/wrangler.js");

/** How wrangler's default rules treat the files that it leaves beside the main module. */
const MODULE_KINDS: Readonly<Record<string, Module["kind"]>> = {
  ".js": "esModule",
  ".mjs": "esModule",
  ".txt": "text",
  ".html": "text",
  ".sql": "text",
  ".bin": "data",
  ".wasm": "wasm",
};

/** The gateway as it would be deployed: wrangler builds it, so that what runs here is what runs there. */
export async function bundleGateway(stateDir: string, signal: AbortSignal): Promise<Module[]> {
  const folder = "bundles/gateway";
  const outdir = join(stateDir, folder);
  await wrangler(["deploy", "--dry-run", "--outdir", outdir], signal);
  const files = await readdir(outdir, { recursive: true });
  const modules = files.flatMap((name) => {
    const kind = MODULE_KINDS[extname(name)];
    return kind === undefined ? [] : [{ name, kind, path: `${folder}/${name}` }];
  });
  // workerd starts the first module, wrangler names it after its source.
  return modules.sort((a, b) => Number(b.name === "index.js") - Number(a.name === "index.js"));
}

/** Each a Worker of one file. `entries`: name → source. */
export async function bundleWorkers<Name extends string>(
  stateDir: string,
  entries: Readonly<Record<Name, string>>,
): Promise<Record<Name, Module[]>> {
  const names = Object.keys(entries) as Name[];
  await esbuild.build({
    absWorkingDir: ROOT,
    entryPoints: { ...entries },
    outdir: join(stateDir, "bundles"),
    bundle: true,
    format: "esm",
    target: "es2024",
    conditions: ["workerd", "worker"],
    external: ["cloudflare:*", "node:*"],
    logLevel: "warning",
  });
  // It would otherwise stay for as long as this process does.
  await esbuild.stop();
  const modules = names.map((name): [Name, Module[]] => [
    name,
    [{ name: `${name}.js`, kind: "esModule", path: `bundles/${name}.js` }],
  ]);
  return Object.fromEntries(modules) as Record<Name, Module[]>;
}

function wrangler(args: readonly string[], signal: AbortSignal): Promise<void> {
  const env = {
    ...process.env,
    // A start on one machine needs nobody else: no usage figures, no look for a newer version, no sample request.
    WRANGLER_SEND_METRICS: "false",
    WRANGLER_HIDE_BANNER: "true",
    CLOUDFLARE_CF_FETCH_ENABLED: "false",
  };
  return new Promise((resolve, reject) => {
    execFile(process.execPath, [WRANGLER, ...args], { cwd: ROOT, env, signal }, (error, stdout, stderr) => {
      if (error === null) resolve();
      else
        reject(new UserError(`wrangler could not build the gateway:\n${stdout}${stderr || error.message}`));
    });
  });
}
