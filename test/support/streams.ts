/** Streams that remember what was written to them. */
import { Writable } from "node:stream";

export class TextStream extends Writable {
  text = "";

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.text += chunk.toString("utf8");
    done();
  }
}
