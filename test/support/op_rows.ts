/** Every row of the op table as tests, on launchers that the caller opens. */
import { describe, expect, test } from "vitest";
import type { OpDefinition } from "../../src/kernels/engine/op.js";
import { isDifferentiable, type Launcher } from "../../src/kernels/index.js";
import { type OpCase, opCases } from "../op_cases.js";
import { forwardMismatch, gradientMismatch, runOp, type Variation, variations } from "./op_check.js";

/** Kernels that rows are tried with. */
export interface OpFamily {
  readonly name: string;
  readonly launcher: Launcher;
  readonly storage: "f32" | "f16";
  /** Rows that are left out; default: none. */
  readonly leavesOut?: (row: OpCase) => boolean;
}

/** Half storage is tried with the last sizes of a row. */
const isLast = (row: OpCase, { dims }: Variation): boolean => dims === row.dims.at(-1);
const takesHalf = ({ inputs }: OpDefinition): boolean =>
  Object.values(inputs).some(({ mayBeHalf }) => mayBeHalf);

// UNCOUPLE_OPS=name,name limits a run to some ops while working on them
const only = process.env.UNCOUPLE_OPS?.split(",");

/** Values, gradients, repeatability and memory of every variation of every row. */
export function testRows(families: readonly OpFamily[]): void {
  for (const row of opCases.filter(({ op }) => !only || only.includes(op.name))) {
    const tried = families.filter(({ leavesOut }) => !leavesOut?.(row));
    if (tried.length === 0) continue;
    describe(row.op.name, () => {
      for (const variation of variations(row)) {
        const label = JSON.stringify({
          ...variation.dims,
          ...variation.params,
          ...(variation.without.length ? { without: variation.without } : {}),
        });
        for (const { name, launcher, storage } of tried) {
          if (storage === "f16" && !(isLast(row, variation) && takesHalf(row.op))) continue;
          test(`${label}, ${name} family, ${storage}`, async () => {
            const live = launcher.runtime.buffers.liveBytes;
            const first = await runOp(launcher, row, variation, storage);
            expect(forwardMismatch(row, first, storage)).toBeUndefined();
            if (isDifferentiable(row.op)) expect(gradientMismatch(row, first, storage)).toBeUndefined();
            const second = await runOp(launcher, row, variation, storage);
            expect(second.outputs).toEqual(first.outputs);
            expect(second.gradients).toEqual(first.gradients);
            expect(launcher.runtime.buffers.liveBytes).toBe(live);
          });
        }
      }
    });
  }
}
