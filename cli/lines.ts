/** The lines of an input of any size, one at a time: no more of it is in memory than a line and a chunk. */
import { MAX_BODY_BYTES } from "../src/own/limits.ts";

const NEWLINE = 0x0a;
/** One more would be its newline. */
export const MAX_LINE_BYTES = MAX_BODY_BYTES - 1;

export interface Line {
  /** In the input, from 1. */
  readonly number: number;
  /** Null: longer than any call may be. */
  readonly text: string | null;
  /** Of the input that this line and empty ones before it took. */
  readonly bytes: number;
}

export class LineReader {
  readonly #input: AsyncIterable<Uint8Array>;
  readonly #fromLine: number;
  /** Before `fromLine`. */
  skippedBytes = 0;
  /** Empty ones and those before `fromLine` as well, as far as they were read. */
  linesRead = 0;

  constructor(input: AsyncIterable<Uint8Array>, fromLine: number) {
    this.#input = input;
    this.#fromLine = fromLine;
  }

  /** Empty lines have a number, but are not given out. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Line> {
    let bytes = 0;
    for await (const { text, size } of this.#split()) {
      const number = ++this.linesRead;
      bytes += size;
      if (number < this.#fromLine) {
        this.skippedBytes += size;
        bytes = 0;
      } else if (text?.trim() !== "") {
        yield { number, text, bytes };
        bytes = 0;
      }
    }
  }

  async *#split(): AsyncGenerator<{ readonly text: string | null; readonly size: number }> {
    let held: Uint8Array[] = [];
    let size = 0;
    const take = (part: Uint8Array) => {
      size += part.length;
      // What is too long is not kept, only measured.
      if (size > MAX_LINE_BYTES + 1) held = [];
      else held.push(part);
    };
    const line = () => {
      const text = size > MAX_LINE_BYTES + 1 ? null : Buffer.concat(held).toString("utf8").trim();
      const found = { text, size };
      held = [];
      size = 0;
      return found;
    };
    for await (const chunk of this.#input) {
      let start = 0;
      for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
        take(chunk.subarray(start, end + 1));
        start = end + 1;
        yield line();
      }
      if (start < chunk.length) take(chunk.subarray(start));
    }
    if (size > 0) yield line();
  }
}
