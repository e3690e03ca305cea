/** Bytes from the GPU to the host. */
import { alignWord, type BufferRange } from "./buffers.js";

/** Copies ranges into a staging buffer and maps it. One staging buffer is kept; reads that overlap make their own. */
export class Readback {
  #staging: GPUBuffer | undefined;
  #isBusy = false;

  constructor(readonly device: GPUDevice) {}

  /**
   * Bytes of several ranges, in one copy, after everything that is submitted when `submit` has resolved.
   * @param submit submits what is to come before
   * @param settle waits for a promise of the device; throws when the device failed
   */
  async read(
    ranges: readonly BufferRange[],
    submit: () => Promise<void>,
    settle: (work: Promise<unknown>) => Promise<void>,
  ): Promise<ArrayBuffer[]> {
    const total = ranges.reduce((sum, range) => sum + alignWord(range.bytes), 0);
    if (total === 0) return ranges.map(() => new ArrayBuffer(0));
    const staging = this.#take(total);
    try {
      return await this.#readThrough(staging, total, ranges, submit, settle);
    } finally {
      this.#give(staging);
    }
  }

  destroy(): void {
    this.#staging?.destroy();
  }

  async #readThrough(
    staging: GPUBuffer,
    total: number,
    ranges: readonly BufferRange[],
    submit: () => Promise<void>,
    settle: (work: Promise<unknown>) => Promise<void>,
  ): Promise<ArrayBuffer[]> {
    await submit();
    const encoder = this.device.createCommandEncoder({ label: "readback" });
    let at = 0;
    for (const range of ranges) {
      if (range.bytes > 0)
        encoder.copyBufferToBuffer(range.buffer.raw, range.offset, staging, at, alignWord(range.bytes));
      at += alignWord(range.bytes);
    }
    this.device.queue.submit([encoder.finish()]);
    await settle(staging.mapAsync(GPUMapMode.READ, 0, total));
    const mapped = staging.getMappedRange(0, total);
    at = 0;
    const results = ranges.map((range) => {
      const bytes = mapped.slice(at, at + range.bytes);
      at += alignWord(range.bytes);
      return bytes;
    });
    staging.unmap();
    return results;
  }

  #take(bytes: number): GPUBuffer {
    if (this.#staging && !this.#isBusy && this.#staging.size >= bytes) {
      this.#isBusy = true;
      return this.#staging;
    }
    const size = Math.max(65_536, 2 ** Math.ceil(Math.log2(bytes)));
    return this.device.createBuffer({
      size,
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
      label: "staging",
    });
  }

  #give(staging: GPUBuffer): void {
    if (staging === this.#staging) {
      this.#isBusy = false;
    } else if (!this.#staging || (!this.#isBusy && staging.size > this.#staging.size)) {
      this.#staging?.destroy();
      this.#staging = staging;
      this.#isBusy = false;
    } else {
      staging.destroy();
    }
  }
}
