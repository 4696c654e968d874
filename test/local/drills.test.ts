/** The drills, as an operator runs them. They take minutes, and are run by `npm run test:full`. */
import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { ROOT } from "../../local/project.ts";

const ALL = readdirSync(join(ROOT, "drills")).filter((file) => file.endsWith(".sh") && file !== "lib.sh");
const CHOSEN = process.env["DRILLS"] === "all" ? ALL : [];

it("each drill is explained in docs/drills.md", () => {
  const explained = readFileSync(join(ROOT, "docs/drills.md"), "utf8").matchAll(/drills\/([a-z-]+\.sh)\)/g);
  expect([...explained].map(([, file]) => file).toSorted()).toEqual(ALL.toSorted());
});

it.each(CHOSEN)(
  "%s goes as it says",
  async (file) => {
    // Ends with an error where something is not as it is to be.
    const run = promisify(execFile)("bash", [join(ROOT, "drills", file)], { timeout: 240_000 });
    const { stdout } = await run.catch(({ message, stdout }) => expect.fail(`${message}\n${stdout}`));
    expect(stdout).toContain("\n== What to do");
  },
  250_000,
);
