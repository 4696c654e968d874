/**
 * The first thing every command runs, on whatever Node the machine has, with nothing installed yet: so plain
 * JavaScript, nothing but Node's own modules, nothing newer than Node 20.
 *
 *   node scripts/bootstrap.mjs                   installs what is missing
 *   node scripts/bootstrap.mjs FILE.ts [args…]   and then runs FILE.ts with the project's own Node
 *
 * What it runs ends with it, however it ends: signals are forwarded, and the channel to the child closes even
 * when this process is killed outright.
 */
import { spawn } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const PROJECT_NODE = join(ROOT, "node_modules/node/bin/node");
const FORWARDED_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"];
const PARENT_POLL_MS = 200;

const project = readJson("package.json");
let running = null;
let ending = false;
endWithParent();
process.exitCode = await main(process.argv.slice(2));

async function main([file, ...args]) {
  if (!satisfies(process.versions.node, project.engines.node)) {
    return fail(
      `${project.name} needs Node 20.19 or newer (${project.engines.node}); this is Node ${process.versions.node}, ${process.execPath}.`,
    );
  }
  const before = whatIsMissing();
  if (before !== null) {
    const code = await install(before);
    if (code !== 0 || ending) return code || 1;
    const after = whatIsMissing();
    if (after !== null) return fail(incomplete(after));
  }
  return file === undefined
    ? 0
    : run(PROJECT_NODE, [file, ...args], ["inherit", "inherit", "inherit", "ipc"]);
}

/** Ranges as package.json's `engines` has them: `^a.b.c` and `>=a.b.c`, joined by `||`. */
function satisfies(version, range) {
  const found = version.split(".").map(Number);
  return range.split("||").some((part) => {
    const [, operator, ...digits] = /^(\^|>=)(\d+)\.(\d+)\.(\d+)$/.exec(part.trim()) ?? [];
    const least = digits.map(Number);
    const first = found.findIndex((number, i) => number !== least[i]);
    const notOlder = operator !== undefined && (first === -1 || found[first] > least[first]);
    return notOlder && (operator === ">=" || found[0] === least[0]);
  });
}

/** Why `npm ci` has to run, or null. All versions in package.json are exact, so equality is enough. */
function whatIsMissing() {
  // npm writes this file last: without it an installation was never finished.
  if (!existsSync(join(ROOT, "node_modules/.package-lock.json"))) return "nothing is installed yet";
  for (const [name, wanted] of Object.entries({ ...project.dependencies, ...project.devDependencies })) {
    const manifest = `node_modules/${name}/package.json`;
    if (!existsSync(join(ROOT, manifest))) return `${name} ${wanted} is not installed`;
    const { version } = readJson(manifest);
    if (version !== wanted) return `${name} is ${version}, wanted is ${wanted}`;
  }
  return existsSync(PROJECT_NODE) ? null : "the project's own Node is not installed";
}

function incomplete(missing) {
  return `npm ci ended well, and yet ${missing}. If "npm config get ignore-scripts" says true, the packages' install scripts did not run: set it to false for this project.`;
}

function install(reason) {
  console.error(`Installing the dependencies of ${project.name} with npm ci: ${reason}.`);
  const npm = process.env.npm_execpath;
  // Under another package manager npm_execpath is that one's, which knows no `ci`.
  const [command, ...start] =
    npm !== undefined && basename(npm) === "npm-cli.js" ? [process.execPath, npm] : ["npm"];
  // No warnings that packages want a newer Node than this one: they run with the project's own.
  const args = [...start, "ci", "--loglevel=error"];
  // To stderr: the standard output belongs to what was asked for.
  return run(command, args, ["inherit", 2, 2]);
}

/** Runs a program to its end; resolves to the exit code to leave with. */
function run(command, args, stdio) {
  const child = spawn(command, args, { cwd: ROOT, stdio });
  const owned = new Set();
  running = child;
  child.on("message", ({ started, ended }) => {
    if (started) owned.add(started);
    if (ended) owned.delete(ended);
  });
  return new Promise((resolve) => {
    child.on("error", (error) => resolve(fail(`${command} could not be started: ${error.message}`)));
    child.on("exit", (code) => {
      running = null;
      // Killed outright, it could not end what it had started.
      for (const pid of owned) kill(pid);
      resolve(code ?? 1);
    });
  });
}

/** npm forwards SIGINT and SIGTERM, but not SIGHUP, and can be killed: then this process gets a new parent. */
function endWithParent() {
  for (const signal of FORWARDED_SIGNALS) process.on(signal, () => endRunning(signal));
  if (process.env.npm_lifecycle_event === undefined) return;
  const parent = process.ppid;
  setInterval(() => process.ppid !== parent && endRunning("SIGTERM"), PARENT_POLL_MS).unref();
}

function endRunning(signal) {
  ending = true;
  if (running === null) process.exit(1);
  running.kill(signal);
}

function kill(pid) {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has ended in the meantime.
  }
}

function readJson(path) {
  return JSON.parse(readFileSync(join(ROOT, path), "utf8"));
}

function fail(message) {
  console.error(message);
  return 1;
}
