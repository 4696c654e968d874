/** Prints `N passed, N failed` from the test runner's report; fails where a test failed or none ran. */
import { readFileSync } from "node:fs";

const report = JSON.parse(readFileSync(process.argv[2] ?? "dist/test-report.json", "utf8"));
const { numPassedTests: passed, numFailedTests: failed, success } = report;
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = success && failed === 0 && passed > 0 ? 0 : 1;
