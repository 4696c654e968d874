/** As many keys as a big installation has, through the program, in `npm run test:full`. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { createWriteStream, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ROOT } from "../../local/project.ts";
import { digest, importLines, type Running, startCli } from "../support/cli.ts";
import { recordSecret } from "../support/record.ts";
import { endStandalone, type Standalone, startStandalone, workerdOf } from "../support/standalone.ts";

const KEYS = Number(process.env["KEYS"] ?? 0);
const TENANTS = KEYS / 100;
const SAMPLE_MS = 250;
/** Flat: what the second half needs at most, of the first half's. */
const GROWTH = 1.3;
const ADMIN_TOKEN = digest("admin token of the many");

let folder: string;
let file: string;
let standalone: Standalone;

describe.runIf(KEYS > 0)(`${KEYS} keys over ${TENANTS} tenants`, { timeout: 3_600_000 }, () => {
  beforeAll(async () => {
    recordSecret(ADMIN_TOKEN);
    execFileSync("npm", ["run", "-s", "build:cli"], { cwd: ROOT });
    folder = mkdtempSync(join(tmpdir(), "many-keys-"));
    file = join(folder, "many.ndjson");
    await pipeline(Readable.from(lines()), createWriteStream(file));
    const vars = ["--var", `ADMIN_TOKEN:${ADMIN_TOKEN}`];
    standalone = await startStandalone(join(folder, "data"), "http://127.0.0.1:1/api", ...vars);
  });
  afterAll(async () => {
    await endStandalone(standalone);
    rmSync(folder, { recursive: true, force: true });
  });

  it("go in steadily, can be interrupted and gone on with, and are all there; memory is flat on both sides", async () => {
    const interrupted = run("import", file);
    // Its own reports tell how far it is.
    while (!/ [3-9]\d %/.test(interrupted.stderr())) await once(interrupted.child.stderr, "data");
    interrupted.child.kill("SIGINT");
    const { code, stderr } = await interrupted.ended;
    expect([code, stderr]).toEqual([130, expect.stringContaining("Go on with:")]);

    const importing = run("import", file);
    const [program, gateway] = await Promise.all([
      residentBytes(importing, importing.child.pid ?? 0),
      residentBytes(importing, workerdOf(standalone)),
    ]);
    const ended = await importing.ended;
    expect([ended.code, ended.stderr]).toEqual([0, expect.stringContaining(" 0 rejected.")]);
    const sizes = `program ${describeSizes(program)}, gateway ${describeSizes(gateway)}`;
    console.log(`${ended.stderr.trim().split("\n").at(-1)} RSS at most, first and second half: ${sizes}`);
    for (const [first, second] of [program, gateway]) expect(second).toBeLessThan(first * GROWTH);
    expect(await exported()).toEqual(digestOf(lines()));
  });

  it("the same again changes nothing", async () => {
    const { code, stderr } = await run("import", file).ended;
    expect([code, stderr]).toEqual([0, expect.stringContaining(": 0 created, 0 updated, ")]);
    console.log(stderr.trim().split("\n").at(-1));
    expect(await exported()).toEqual(digestOf(lines()));
  });
});

function* lines(): Generator<string> {
  for (const line of importLines("many-", TENANTS, KEYS)) yield `${line}\n`;
}

const run = (...args: string[]): Running =>
  startCli(args, { env: { GATEWAY_URL: standalone.url, GATEWAY_ADMIN_TOKEN: ADMIN_TOKEN } });

async function exported() {
  const { code, stdout } = await run("export").ended;
  expect(code).toBe(0);
  return digestOf(stdout.split(/(?<=\n)/));
}

/** In whatever order they come. */
function digestOf(all: Iterable<string>) {
  const sorted = [...all].sort();
  return { lines: sorted.length, digest: createHash("sha256").update(sorted.join("")).digest("hex") };
}

/** At most, in the first and in the second half of a run. */
async function residentBytes({ child }: Running, pid: number): Promise<readonly [number, number]> {
  const samples: number[] = [];
  const timer = setInterval(() => {
    const kilobytes = /VmRSS:\s+(\d+)/.exec(readStatus(pid))?.[1];
    if (kilobytes !== undefined) samples.push(Number(kilobytes) * 1_024);
  }, SAMPLE_MS);
  await once(child, "exit");
  clearInterval(timer);
  const half = Math.floor(samples.length / 2);
  return [Math.max(...samples.slice(0, half)), Math.max(...samples.slice(half))];
}

function readStatus(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    // It has ended.
    return "";
  }
}

const describeSizes = (sizes: readonly [number, number]): string =>
  sizes.map((bytes) => `${Math.round(bytes / 2 ** 20)} MiB`).join(" and ");
