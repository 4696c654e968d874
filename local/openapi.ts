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

interface Operation {
  security?: object[];
  parameters?: object[];
  requestBody?: { required?: boolean };
  responses: Record<string, object>;
}

/** What the schemas of a route can't tell. */
function complete(path: string, method: string, operation: Operation): void {
  // Of the library's own making; ours are problem details, as all errors are.
  delete operation.responses["400"];
  if (path.endsWith("/me") || path.endsWith("/me/usage")) operation.security = [{ tenantKey: [] }];
  if (/\/(rotate|reseal)$/.test(path) && operation.requestBody) operation.requestBody.required = false;
  const header = (name: string, description: string) => {
    const parameter = { in: "header", name, required: false, description, schema: { type: "string" } };
    operation.parameters = [...(operation.parameters ?? []), parameter];
  };
  if (method === "patch" || (method === "delete" && path.endsWith("/{tenantId}")))
    header("If-Match", "The ETag of what the change is based on");
  if (method === "post" && /\/(tenants|keys)$/.test(path))
    header("Idempotency-Key", "The same creation again, within a day, is answered with the same record");
}

export async function openApiText(): Promise<string> {
  const document = await generateSpecs(admin, {
    documentation: {
      openapi: "3.1.0",
      info,
      security: [{ bearer: [] }, { access: [] }],
      components: {
        securitySchemes: {
          bearer: { type: "http", scheme: "bearer", description: "The admin token" },
          access: { type: "apiKey", in: "header", name: "Cf-Access-Jwt-Assertion" },
          tenantKey: {
            type: "apiKey",
            in: "header",
            name: "Authorization",
            description: "A tenant's own key",
          },
        },
      },
    },
  });
  for (const [path, operations] of Object.entries(document.paths)) {
    for (const [method, operation] of Object.entries(operations ?? {}))
      complete(path, method, operation as Operation);
  }
  return `${JSON.stringify(document, null, 2)}\n`;
}

if (import.meta.main) writeFileSync(join(ROOT, "src/admin/openapi.json"), await openApiText());
