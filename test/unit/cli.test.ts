/** Of the command-line program: which lines go to the gateway together, and from which line on to go on. */
import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Api } from "../../cli/client.ts";
import { Refused } from "../../cli/failures.ts";
import { bringAll, type Round } from "../../cli/import.ts";
import { type Line, LineReader, MAX_LINE_BYTES } from "../../cli/lines.ts";
import { lanesOf, rounds } from "../../cli/rounds.ts";

async function all<T>(values: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const value of values) found.push(value);
  return found;
}

async function* inChunks(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

const reader = (text: string, chunkBytes = 65_536, fromLine = 1) =>
  new LineReader(inChunks(Buffer.from(text), chunkBytes), fromLine);

/** A line of a tenant's, of about as many bytes. */
const lineOf = (number: number, tenantId: string, bytes = 100): Line => {
  const text = JSON.stringify({ type: "subscription", tenantId, number, more: "x".repeat(bytes) });
  return { number, text, bytes };
};

async function* each(lines: readonly Line[]): AsyncGenerator<Line> {
  yield* lines;
}

describe("lines", () => {
  it("are the same however the input is cut, and their bytes are all of it", async () => {
    const text = fc.array(fc.constantFrom("a", "é", "😀", "\u2028", "\n", "\r\n", " "), { maxLength: 40 });
    const check = fc.asyncProperty(text, fc.integer({ min: 1, max: 9 }), async (parts, chunkBytes) => {
      const whole = `${parts.join("")}\nend`;
      const found = await all(reader(whole, chunkBytes));
      const expected = whole.split("\n").map((line, i) => [i + 1, line.trim()]);
      expect(found.map(({ number, text }) => [number, text])).toEqual(
        expected.filter(([, line]) => line !== ""),
      );
      expect(found.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(Buffer.byteLength(whole));
    });
    await fc.assert(check);
  });

  it("begin where they are asked to, under the numbers they have", async () => {
    const lines = reader("one\n\nthree\nfour", 2, 3);
    expect((await all(lines)).map(({ number, text }) => [number, text])).toEqual([
      [3, "three"],
      [4, "four"],
    ]);
    expect(lines.skippedBytes).toBe(5);
  });

  it("that no call can hold are not kept, but counted", async () => {
    const found = await all(reader(`${"x".repeat(MAX_LINE_BYTES)}\n${"x".repeat(MAX_LINE_BYTES + 1)}\nok`));
    expect(found.map(({ text }) => text?.length ?? null)).toEqual([MAX_LINE_BYTES, null, 2]);
  });
});

describe("calls", () => {
  it("hold what the gateway takes; every line is in one, and a tenant's in one lane, in their order", async () => {
    const tenant = fc.integer({ min: 0, max: 12 }).map((n) => `t${n}`);
    const size = fc.oneof({ weight: 50, arbitrary: fc.constant(100) }, fc.constant(300_000));
    const lines = fc.array(fc.tuple(tenant, size), { minLength: 1, maxLength: 1_500, size: "max" });
    const check = fc.asyncProperty(lines, async (wanted) => {
      const given = wanted.map(([tenantId, bytes], i) => lineOf(i + 1, tenantId, bytes));
      const made = await all(rounds(each(given)));
      expect(made.flat()).toEqual(given);
      for (const round of made) {
        const lanes = lanesOf(round);
        expect(lanes.flat(2).length).toBe(round.length);
        for (const call of lanes.flat()) {
          expect(call.length).toBeLessThanOrEqual(500);
          expect(
            call.reduce((sum, { text }) => sum + Buffer.byteLength(text ?? "") + 1, 0),
          ).toBeLessThanOrEqual(1_048_576);
        }
        const homes = new Map<unknown, number>();
        for (const [lane, calls] of lanes.entries()) {
          let last = new Map<unknown, number>();
          for (const { number, text } of calls.flat()) {
            const { tenantId } = JSON.parse(text ?? "");
            expect(homes.get(tenantId) ?? lane).toBe(lane);
            homes.set(tenantId, lane);
            expect(number).toBeGreaterThan(last.get(tenantId) ?? 0);
            last = last.set(tenantId, number);
          }
        }
      }
    });
    await fc.assert(check, { numRuns: 5 });
  });
});

describe("an import that is stopped", () => {
  const given = Array.from({ length: 2_500 }, (_, i) => lineOf(i + 1, `t${i % 7}`));
  const watcher = { answered: () => {}, waiting: () => {} };

  /** An API that answers `calls` calls and then does something else. */
  const api = (calls: number, then: () => void): Api => {
    let made = 0;
    const $post = async (_: object, { init }: { init: { body: string } }) => {
      if (++made > calls) then();
      const count = init.body.trim().split("\n").length;
      return new Response('{"result":"created"}\n'.repeat(count));
    };
    return { import: { $post } } as unknown as Api;
  };
  const bring = (gateway: Api, signal: AbortSignal): Promise<Round[]> =>
    all(bringAll(gateway, each(given), signal, watcher));

  it.each([0, 1, 3, 5])(
    "after %i calls names a line before which every line has its answer",
    async (calls) => {
      const problem = { title: "", status: 401, detail: "", code: "", instance: "", type: "", msg: "" };
      const refused = new Refused(problem, null);
      const refuse = () => {
        throw refused;
      };
      const stop = new AbortController();
      for (const found of [
        await bring(api(calls, refuse), stop.signal),
        await bring(
          api(calls, () => stop.abort()),
          stop.signal,
        ),
      ]) {
        const stoppedAt = found.at(-1)?.stoppedAt ?? 0;
        expect(stoppedAt).toBeGreaterThan(0);
        const answered = new Set(found.flatMap(({ answers }) => answers.map(({ line }) => line)));
        for (let line = 1; line < stoppedAt; line++) expect(answered).toContain(line);
        expect(answered).not.toContain(stoppedAt);
      }
    },
  );

  it("has all answers in the order of the lines where nobody stops it", async () => {
    const found = await bring(
      api(Number.POSITIVE_INFINITY, () => {}),
      new AbortController().signal,
    );
    expect(found.map(({ stoppedAt }) => stoppedAt)).toEqual([null, null]);
    const lines = found.flatMap(({ answers }) => answers.map(({ line }) => line));
    expect(lines).toEqual(given.map(({ number }) => number));
  });
});
