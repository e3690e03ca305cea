/** The unfused path: every op that computes several at once equals the graph of plain ops that it stands for. */
import { describe, expect, test } from "vitest";
import { applyUnfused } from "../../src/autograd/unfused.js";
import { allOps, Launcher } from "../../src/kernels/index.js";
import { opCases } from "../op_cases.js";
import { halfPrecision } from "../support/needs.js";
import { forwardMismatch, gradientMismatch, type OpRun, runOp, variations } from "../support/op_check.js";
import { testRuntime } from "../support/runtime.js";

const launcher = new Launcher(await testRuntime());
const storages = halfPrecision(launcher.facts.features).isThere
  ? (["f32", "f16"] as const)
  : (["f32"] as const);
const fusedOps = allOps().filter(({ fuses }) => fuses);

/** The largest difference of two runs of one op over outputs and gradients, as a share of each one's largest value. */
function difference(one: OpRun, other: OpRun): number {
  let most = 0;
  for (const kind of ["outputs", "gradients"] as const) {
    expect(Object.keys(one[kind]).sort()).toEqual(Object.keys(other[kind]).sort());
    for (const [name, values] of Object.entries(one[kind])) {
      const largest = values.reduce((size, value) => Math.max(size, Math.abs(value)), 1);
      values.forEach((value, i) => {
        const apart = Math.abs(value - other[kind][name][i]) / largest;
        most = Math.max(most, Number.isFinite(apart) ? apart : Number.POSITIVE_INFINITY);
      });
    }
  }
  return most;
}

test("these ops have a graph of plain ops", () => {
  expect(fusedOps.map(({ name }) => name).sort()).toEqual([
    "attention",
    "gated_mlp",
    "linear",
    "linear_log_prob",
    "norm_linear",
  ]);
});

describe.each(fusedOps)("$name", ({ name, fuses }) => {
  // wide heads and long sums differ in kernels that both paths share, and wide heads compile slowly on CPU adapters
  const rows = opCases.filter(
    ({ op, dims }) =>
      op.name === name &&
      dims.every(({ D = 0, ...sizes }) => D <= 16 && Math.max(...Object.values(sizes)) < 500),
  );
  const used = new Set<string>();

  for (const row of rows)
    for (const variation of variations(row))
      for (const storage of storages) {
        const { dims, params, without } = variation;
        if (storage === "f16" && (dims !== row.dims.at(-1) || without.length > 0)) continue;
        test(JSON.stringify({ ...dims, ...params, without, storage }), async () => {
          const fused = await runOp(launcher, row, variation, storage);
          const unfused = await runOp(launcher, row, variation, storage, (tape, op, inputs, given) => {
            const { apply } = tape;
            tape.apply = (inner, ...rest) => {
              used.add(inner.name);
              return apply.call(tape, inner, ...rest) as never;
            };
            return applyUnfused(tape, op, inputs, given);
          });
          if (storage === "f32") {
            expect(forwardMismatch(row, unfused)).toBeUndefined();
            expect(gradientMismatch(row, unfused)).toBeUndefined();
          }
          // each intermediate tensor in f16 is rounded by up to 2^-11, and sums of products of them are
          expect(difference(fused, unfused)).toBeLessThan(storage === "f16" ? 5e-3 : 1e-5);
        });
      }

  test("its graph is made of the ops that its declaration names", () => {
    expect([...used].sort()).toEqual([...(fuses as readonly string[])].sort());
  });
});

test("an op that fuses nothing is applied as it is", async () => {
  const row = opCases.find(({ op }) => op.name === "rms_norm") as (typeof opCases)[number];
  const [variation] = variations(row);
  const run = await runOp(launcher, row, variation, "f32", applyUnfused);
  expect(difference(run, await runOp(launcher, row, variation))).toBe(0);
});

test("a temperature that was not given is the one that the fused op has by default", () => {
  const op = allOps().find(({ name }) => name === "token_log_prob");
  const fused = allOps().find(({ name }) => name === "linear_log_prob");
  expect(op?.params?.temperature).toEqual(fused?.params?.temperature);
  const norms = ["rms_norm", "norm_linear", "gated_mlp"].map(
    (norm) => allOps().find(({ name }) => name === norm)?.params?.eps,
  );
  expect(new Set(norms.map((eps) => eps?.default)).size).toBe(1);
});
