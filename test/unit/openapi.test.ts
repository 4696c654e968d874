/** The document that the gateway serves, and the routes that it is about. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { openApiText } from "../../local/openapi.ts";
import { admin } from "../../src/admin/app.ts";

const path = join(import.meta.dirname, "../../src/admin/openapi.json");
const document = JSON.parse(readFileSync(path, "utf8")) as {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, { responses: object }>>>>;
};

it("the document is what the routes make it today: npm run openapi", async () => {
  expect(await openApiText()).toBe(readFileSync(path, "utf8"));
});

it("every route is in the document, and nothing else is", () => {
  const routed = admin.routes
    .filter(({ method }) => method !== "ALL")
    .map(({ method, path }) => `${method} ${path.replaceAll(/:(\w+)/g, "{$1}").replace(/\/$/, "")}`);
  const documented = Object.entries(document.paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`),
  );
  expect([...new Set(documented)].sort()).toEqual([...new Set(routed)].sort());
  expect(document.openapi).toBe("3.1.0");
});

it("every operation has a name for people and says what it answers", () => {
  for (const operations of Object.values(document.paths)) {
    for (const operation of Object.values(operations)) {
      expect(operation).toMatchObject({
        summary: expect.any(String),
        responses: { default: expect.anything() },
      });
      expect(Object.keys(operation.responses).filter((status) => /^20[01]$/.test(status))).toHaveLength(1);
    }
  }
});
