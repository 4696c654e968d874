/** How far an import is: a bar that is drawn over at a terminal, a line now and then where there is none. */
const BAR_COLUMNS = 20;
const REDRAW_MS = 100;
const LINE_EVERY_MS = 5_000;
const CLEAR = "\r\u001b[K";

export class Progress {
  readonly #stream: NodeJS.WriteStream;
  /** Null where nobody knows how long the input is. */
  readonly #totalBytes: () => number | null;
  readonly #beganAtMs = performance.now();
  #shownAtMs = performance.now();
  #lines = 0;
  #bytes = 0;

  constructor(stream: NodeJS.WriteStream, totalBytes: () => number | null) {
    this.#stream = stream;
    this.#totalBytes = totalBytes;
  }

  advance(lines: number, bytes: number): void {
    this.#lines += lines;
    this.#bytes += bytes;
    const nowMs = performance.now();
    if (nowMs - this.#shownAtMs < (this.#stream.isTTY ? REDRAW_MS : LINE_EVERY_MS)) return;
    this.#shownAtMs = nowMs;
    this.#stream.write(this.#stream.isTTY ? `${CLEAR}${this.#render()}` : `${this.#render()}\n`);
  }

  note(text: string): void {
    this.clear();
    this.#stream.write(`${text}\n`);
  }

  clear(): void {
    if (this.#stream.isTTY) this.#stream.write(CLEAR);
  }

  /** `100,000 lines in 2:05, 800/s`. */
  summary(): string {
    const seconds = this.#seconds();
    const taken = seconds < 10 ? `${seconds.toFixed(1)} s` : duration(seconds);
    return `${counted(this.#lines)} in ${taken}, ${number(this.#rate())}/s`;
  }

  #render(): string {
    const sofar = `${counted(this.#lines)}  ${number(this.#rate())}/s`;
    const total = this.#totalBytes();
    if (total === null || total <= 0) return sofar;
    const share = Math.min(this.#bytes / total, 1);
    const filled = Math.round(share * BAR_COLUMNS);
    const bar = `${"#".repeat(filled)}${".".repeat(BAR_COLUMNS - filled)}`;
    const left = share === 0 ? "" : `  ${duration((this.#seconds() * (1 - share)) / share)} left`;
    return `[${bar}] ${String(Math.floor(share * 100)).padStart(3)} %  ${sofar}${left}`;
  }

  #seconds(): number {
    return (performance.now() - this.#beganAtMs) / 1_000;
  }

  #rate(): number {
    return this.#lines / Math.max(this.#seconds(), 0.001);
  }
}

export const number = (value: number): string => Math.round(value).toLocaleString("en-US");

export const counted = (lines: number): string => `${number(lines)} ${lines === 1 ? "line" : "lines"}`;

function duration(seconds: number): string {
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3_600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (part: number) => String(part).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}
