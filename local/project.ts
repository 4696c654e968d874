/** What the programs of this folder share. */
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

/** The project's folder. */
export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));

/** What whoever started the program can mend: shown as it is, without a stack. */
export class UserError extends Error {}
