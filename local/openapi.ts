/** `npm run openapi`: writes the document that the gateway serves, from the routes themselves. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { generateSpecs } from "hono-openapi";
import manifest from "../package.json" with { type: "json" };
import { admin } from "../src/admin/app.ts";
import { ROOT } from "./project.ts";

const info = {
  title: "postiz-gateway admin API",
  version: manifest.version,
  description:
    "For operators; `/me` is for tenants, with a key of their own. Errors are RFC 9457 problem details.",
};

export async function openApiText(): Promise<string> {
  const document = await generateSpecs(admin, {
    documentation: {
      openapi: "3.1.0",
      info,
      security: [{ bearer: [] }],
      components: { securitySchemes: { bearer: { type: "http", scheme: "bearer" } } },
    },
  });
  return `${JSON.stringify(document, null, 2)}\n`;
}

if (import.meta.main) writeFileSync(join(ROOT, "src/admin/openapi.json"), await openApiText());
