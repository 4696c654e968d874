/** What the README promises to list, it lists. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { VARIABLES } from "../../src/config.ts";
import { DENIAL_SPECS } from "../../src/denial.ts";

const readme = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
const rows = readme.split("\n").filter((line) => line.startsWith("| "));
const firstCells = rows.map((row) => row.split(" | ")[0] ?? "").join("\n");

it.each(VARIABLES)("the README's table of variables has %s", (name) => {
  expect(firstCells).toContain(`\`${name}\``);
});

it.each(Object.entries(DENIAL_SPECS))(
  "the README's table of errors has %s, with its status",
  (reason, { status }) => {
    expect(rows.some((row) => row.startsWith(`| \`${reason}\` | ${status} |`))).toBe(true);
  },
);
