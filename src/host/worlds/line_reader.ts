/** Cuts the output of another process into lines. */
import { WorldError } from "../../core/errors.js";

/** Longest line that is believed, in bytes. Real ones stay below a megabyte. */
const MAX_LINE = 64 << 20;

/** Cuts a stream of bytes into lines; characters may be split between chunks. */
export class LineReader {
  #chunks: Buffer[] = [];
  #length = 0;

  /** @param place for messages */
  constructor(readonly place: string) {}

  /** Lines that the chunk completes, without their ends. @throws WorldError when a line gets too long or is not UTF-8 */
  push(chunk: Buffer): string[] {
    const found: string[] = [];
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      this.#add(chunk.subarray(start, end));
      found.push(this.#take());
      start = end + 1;
    }
    this.#add(chunk.subarray(start));
    return found;
  }

  #add(part: Buffer): void {
    if (part.length === 0) return;
    this.#chunks.push(part);
    this.#length += part.length;
    if (this.#length > MAX_LINE) {
      throw new WorldError(
        `[${this.place}] line too long: got more than ${MAX_LINE} bytes, expected one answer. Restart the program.`,
      );
    }
  }

  #take(): string {
    const bytes = Buffer.concat(this.#chunks);
    this.#chunks = [];
    this.#length = 0;
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
    } catch (cause) {
      throw new WorldError(`[${this.place}] line is not UTF-8: expected text. Restart the program.`, {
        cause,
      });
    }
  }
}
