/** What the README promises to list, it lists; what a page claims to be tested, is. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { VARIABLES } from "../../src/config.ts";
import { DENIAL_SPECS } from "../../src/denial.ts";

const root = join(import.meta.dirname, "../..");
const readme = readFileSync(join(root, "README.md"), "utf8");
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

const claims = ["SECURITY.md", "docs/standards.md"].flatMap((page) =>
  [...readFileSync(join(root, page), "utf8").matchAll(/\[([^\]]+)\]\((?:\.\.\/)?(test\/[^)]+\.ts)\)/g)].map(
    ([, title = "", file = ""]) => [page, title.replace(/\s+/g, " "), file] as const,
  ),
);

it("claims are linked to tests", () => {
  for (const page of ["SECURITY.md", "docs/standards.md"])
    expect(claims.filter(([from]) => from === page).length, page).toBeGreaterThan(10);
});

it.each(claims)("%s: %s is a test in %s", (_, title, file) => {
  expect(existsSync(join(root, file))).toBe(true);
  const source = readFileSync(join(root, file), "utf8");
  // A title as it stands between its quotes, or the file itself.
  const isTitle = ['"', "'", "`"].some((quote) => source.includes(quote + title + quote));
  expect(isTitle || file.endsWith(`/${title}`)).toBe(true);
});
