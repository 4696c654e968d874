import { join } from "node:path";
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    // A core less than there are would be half of a small machine.
    maxWorkers: "100%",
    reporters: ["default", ["json", { outputFile: "dist/test-report.json" }]],
    projects: [
      {
        // The authority's own code runs in Node there.
        resolve: {
          alias: { "cloudflare:workers": join(import.meta.dirname, "test/support/cloudflare-workers.ts") },
        },
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/conformance/*.test.ts"],
          setupFiles: ["test/support/setup.ts"],
          // Only against what hangs: their time is virtual, and the machine may be busy.
          testTimeout: 30_000,
          sequence: { groupOrder: 1 },
        },
      },
      // One workerd at a time: several starve each other on a small machine.
      {
        test: {
          name: "runtime",
          include: ["test/worker/**/*.test.ts", "test/local/**/*.test.ts", "test/conformance/wire/*.test.ts"],
          globalSetup: ["test/support/global-setup.ts"],
          setupFiles: ["test/support/setup.ts"],
          fileParallelism: false,
          testTimeout: 30_000,
          hookTimeout: 60_000,
          sequence: { groupOrder: 2 },
        },
      },
      // Last, because it reads what all the others have written.
      { test: { name: "leaks", include: ["test/leaks.test.ts"], sequence: { groupOrder: 3 } } },
    ],
  },
});
