/** What the project is made of, and who may do what while it is put together. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";
import { expect, it } from "vitest";

const root = join(import.meta.dirname, "../..");
const read = (path: string): string => readFileSync(join(root, path), "utf8");

interface Manifest {
  readonly devDependencies: Readonly<Record<string, string>>;
  readonly dependencies?: unknown;
  readonly allowScripts: Readonly<Record<string, boolean>>;
  readonly engines: { readonly node: string };
  readonly scripts: Readonly<Record<string, string>>;
}

interface Locked {
  readonly version: string;
  readonly resolved?: string;
  readonly integrity?: string;
  readonly link?: boolean;
  readonly hasInstallScript?: boolean;
}

const manifest = JSON.parse(read("package.json")) as Manifest;
const { packages } = JSON.parse(read("package-lock.json")) as { packages: Record<string, Locked> };
const locked = Object.entries(packages).filter(([path]) => path !== "");
const nameOf = (path: string): string =>
  path.slice(path.lastIndexOf("node_modules/") + "node_modules/".length);

it("every package of the lock file comes from the registry, with a digest", () => {
  expect(locked.length).toBeGreaterThan(100);
  // Without an address, npm asks the registry that it is set to.
  expect(read(".npmrc")).toContain("omit-lockfile-registry-resolved=true");
  const others = locked.filter(
    ([, { resolved, link, integrity = "" }]) =>
      resolved !== undefined || link === true || !/^sha512-[A-Za-z0-9+/]{86}==$/.test(integrity),
  );
  expect(others.map(([path]) => path)).toEqual([]);
});

it("every version that is asked for is exact, and the one in the lock file", () => {
  expect(manifest.dependencies).toBeUndefined();
  for (const [name, version] of Object.entries(manifest.devDependencies))
    expect([name, packages[`node_modules/${name}`]?.version]).toEqual([name, version]);
});

it("only packages that are allowed to run a script at installation", () => {
  const running = locked.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => nameOf(path));
  const allowed = Object.entries(manifest.allowScripts).filter(([, isAllowed]) => isAllowed);
  expect([...new Set(running)].toSorted()).toEqual(allowed.map(([name]) => name).toSorted());
  expect(read(".npmrc")).toContain("strict-allow-scripts=true");
});

it("the Worker is made of these packages and no others", async () => {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: ["src/index.ts"],
    bundle: true,
    write: false,
    metafile: true,
    format: "esm",
    conditions: ["workerd", "worker"],
    external: ["cloudflare:*", "node:*"],
  });
  const inputs = Object.values(metafile.outputs).flatMap((output) =>
    Object.entries(output.inputs).flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? path : [])),
  );
  const bundled = inputs
    .filter((path) => path.includes("node_modules/"))
    .map((path) => /^(?:@[^/]+\/)?[^/]+/.exec(nameOf(path))?.[0]);
  const listed = /and of no others.*?: (.*)\.$/m.exec(read("SECURITY.md"))?.[1] ?? "";
  expect([...new Set(bundled)].toSorted()).toEqual(
    [...listed.matchAll(/`([^`]+)`/g)].map(([, name]) => name),
  );
});

it("the workflow may read the repository, and runs what everyone runs", () => {
  const files = readdirSync(join(root, ".github/workflows"));
  expect(files).toEqual(["ci.yml"]);
  const workflow = read(".github/workflows/ci.yml");
  expect(workflow.match(/permissions:\n(?: +.*\n)+/g)).toEqual(["permissions:\n  contents: read\n"]);
  expect([...workflow.matchAll(/- run: (.*)/g)].map(([, command]) => command)).toEqual([
    "npm ci",
    "npm test",
  ]);
  expect(workflow).not.toMatch(/pull_request_target|workflow_run|secrets\.|self-hosted|write/);
  for (const [, action] of workflow.matchAll(/uses: (\S+)/g))
    expect(action).toMatch(/^actions\/[a-z-]+@v\d+$/);
  const versions = /node: \[(.*)\]/.exec(workflow)?.[1]?.split(", ") ?? [];
  const floors = manifest.engines.node.split(" || ").map((range) => range.replace(/^\D+/, ""));
  for (const floor of floors) expect(versions).toContain(floor);
});

it("the SBOM is npm's own", () => {
  expect(manifest.scripts["sbom"]).toBe("npm sbom --sbom-format=cyclonedx --sbom-type=application");
});
