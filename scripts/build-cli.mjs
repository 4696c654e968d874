/** Makes the command-line program: one file, and beside it the licences of what was built in. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const FOLDER = "dist/cli";

const { metafile } = await build({
  absWorkingDir: ROOT,
  entryPoints: ["cli/main.ts"],
  outfile: `${FOLDER}/postiz-gateway.mjs`,
  bundle: true,
  metafile: true,
  platform: "node",
  format: "esm",
  target: "node20.19",
  logLevel: "warning",
  // Some packages are CommonJS, and ask for Node's own modules.
  banner: { js: "import{createRequire}from'node:module';const require=createRequire(import.meta.url);" },
});
writeFileSync(join(ROOT, FOLDER, "NOTICES.txt"), noticesOf(packagesOf(metafile)));

/** The folders of all packages that something was taken from. */
function packagesOf({ outputs }) {
  const inputs = Object.values(outputs).flatMap((output) => Object.entries(output.inputs));
  const taken = inputs.filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([path]) => path);
  const folders = taken.map((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]);
  return [...new Set(folders.filter((folder) => folder !== undefined))].sort();
}

function noticesOf(folders) {
  const heading = "postiz-gateway.mjs has parts of these packages in it, each under its own licence:\n";
  const notices = folders.map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(join(ROOT, folder, "package.json"), "utf8"));
    const files = readdirSync(join(ROOT, folder)).filter((file) => /^licen[cs]e(?:[.-]|$)/i.test(file));
    // Nothing is given away without the notice that its licence asks for.
    if (files.length === 0) throw new Error(`${folder} has no licence file.`);
    const texts = files.map((file) => readFileSync(join(ROOT, folder, file), "utf8").trim());
    return `${name} ${version} (${license})\n\n${texts.join("\n\n")}\n`;
  });
  return [heading, ...notices].join(`\n${"-".repeat(80)}\n\n`);
}
