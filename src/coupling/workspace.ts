/** Scratch memory and small tables of one backward pass. */
import { Tensor } from "../autograd/tensor.js";
import type { KernelFacts } from "../gpu/runtime.js";
import type { ArrayView, DType } from "../kernels/engine/op.js";
import type { Launcher } from "../kernels/index.js";
import type { KernelRunner } from "../kernels/matmul/matmul_into.js";

/** Launches kernels and lends memory. */
export class Workspace implements KernelRunner {
  readonly facts: KernelFacts;
  readonly run: KernelRunner["run"];
  readonly #tables = new Map<string, Tensor>();
  #lent: Tensor[] = [];

  constructor(readonly launcher: Launcher) {
    this.facts = launcher.facts;
    this.run = (unit, views, scalars, accumulate) => launcher.run(unit, views, scalars, accumulate);
  }

  /** Memory until the next `giveBack`. */
  scratch(name: string, shape: readonly number[], dtype: DType = "f32"): ArrayView {
    const tensor = Tensor.empty(this.launcher.runtime, shape, dtype, `coupling.${name}`);
    this.#lent.push(tensor);
    return tensor;
  }

  giveBack(): void {
    for (const tensor of this.#lent.splice(0)) tensor.release();
  }

  /** Gives back what a body borrows, at its end. */
  within(body: () => void): void {
    const before = this.#lent;
    this.#lent = [];
    try {
      body();
    } finally {
      this.giveBack();
      this.#lent = before;
    }
  }

  /** Whole numbers on the GPU, uploaded once; kept until `release`. */
  table(values: ArrayLike<number>): Tensor {
    const key = Array.prototype.join.call(values, ",");
    let table = this.#tables.get(key);
    if (!table) {
      const data = Uint32Array.from(values);
      table = Tensor.from(this.launcher.runtime, data, undefined, { label: "coupling.table" });
      this.#tables.set(key, table);
    }
    return table;
  }

  release(): void {
    this.giveBack();
    for (const table of this.#tables.values()) table.release();
    this.#tables.clear();
  }
}
