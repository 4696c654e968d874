/** What is asked of a person, or read from where a person is not. */
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { WrongUse } from "./failures.ts";

const MAX_SECRET_BYTES = 65_536;

/** From the environment, from a person who types it unseen, or the first line of the standard input. */
export async function readSecret(what: string, variable: string): Promise<string> {
  const given = process.env[variable];
  const secret = given !== undefined && given !== "" ? given : await fromInput(what);
  if (secret.trim() === "") {
    throw new WrongUse(
      `No ${what} was given: allowed is one line on the standard input, or the environment variable ${variable}.`,
    );
  }
  return secret.trim();
}

async function fromInput(what: string): Promise<string> {
  if (process.stdin.isTTY) return typed(`${what} (not shown): `, true);
  let text = "";
  for await (const chunk of process.stdin.setEncoding("utf8")) {
    text += chunk;
    if (text.includes("\n") || text.length > MAX_SECRET_BYTES) break;
  }
  return text.split("\n")[0] ?? "";
}

/** Before what can't be taken back. */
export async function confirm(warning: string, id: string, isAgreed: boolean): Promise<void> {
  if (isAgreed) return;
  if (!process.stdin.isTTY) {
    throw new WrongUse(`${warning} There is nobody to ask: say --yes if that is what you want.`);
  }
  process.stderr.write(`${warning}\n`);
  const answer = await typed(`Type ${JSON.stringify(id)} to go on: `, false);
  if (answer.trim() !== id) throw new WrongUse("Not confirmed: nothing was done.");
}

async function typed(question: string, isSecret: boolean): Promise<string> {
  // Redrawn with every letter where it is shown.
  const prompt = isSecret ? "" : question;
  if (isSecret) process.stderr.write(question);
  const hidden = new Writable({ write: (_chunk, _encoding, done) => done() });
  const output = isSecret ? hidden : process.stderr;
  const lines = createInterface({ input: process.stdin, output, terminal: true });
  const givenUp = new Promise<never>((_, reject) => {
    lines.once("SIGINT", () => reject(new WrongUse("Not answered: nothing was done.")));
    lines.once("close", () => reject(new WrongUse("Not answered: nothing was done.")));
  });
  try {
    return await Promise.race([lines.question(prompt), givenUp]);
  } finally {
    if (isSecret) process.stderr.write("\n");
    lines.close();
  }
}
