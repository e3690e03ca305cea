/** Work for the autotuner to time: tensors of drawn numbers, and launches by a launcher of one's choice. */
import { Tensor } from "../autograd/tensor.js";
import { Random } from "../core/random.js";
import type { Runtime } from "../gpu/runtime.js";
import { attention, Launcher, matmul, matmulInto, type OpDefinition } from "../kernels/index.js";
import type { MatmulShape } from "../kernels/matmul_plan.js";
import { type ArrayView, bindScalars } from "../kernels/op.js";
import { type AttentionWork, partsAdded, type TunedWork } from "../kernels/tuning_search.js";

export interface Rig {
  /** Launches the work once; the launcher's facts decide by which variant. */
  launch(launcher: Launcher): void;
  /** What the work writes. */
  readonly result: Tensor;
  release(): void;
}

/** Length of the drawn stretch that tensors repeat: a prime, so that no two rows are alike. */
const STRETCH = 65_521;

export function makeRig(runtime: Runtime, work: TunedWork): Rig {
  return "product" in work ? productRig(runtime, work.product) : attentionRig(runtime, work.attention);
}

function drawn(runtime: Runtime, shape: readonly number[], scale: number): Tensor {
  const random = Random.of(7, "tuner");
  const values = new Float32Array(shape.reduce((product, size) => product * size, 1));
  const stretch = values.subarray(0, STRETCH).map(() => scale * random.normal());
  for (let start = 0; start < values.length; start += STRETCH)
    values.set(stretch.subarray(0, Math.min(STRETCH, values.length - start)), start);
  return Tensor.from(runtime, values, shape);
}

function productRig(runtime: Runtime, shape: MatmulShape): Rig {
  const { M, N, K } = shape;
  // products of both factors sum up to a few units, where the tolerance is meant for
  const a = drawn(runtime, [M * K], K ** -0.25);
  const b = drawn(runtime, [K * N], K ** -0.25);
  const result = Tensor.empty(runtime, [M, N]);
  const isLate = partsAdded(shape) === "joined";
  return {
    result,
    launch: (launcher) =>
      launcher.runPlan(
        matmul as unknown as OpDefinition,
        (context) => matmulInto(context, { ...shape, a, b, y: result, isLate }),
        {},
        {},
      ),
    release: () => {
      for (const tensor of [a, b, result]) tensor.release();
    },
  };
}

function attentionRig(runtime: Runtime, work: AttentionWork): Rig {
  const { direction, heads, kvHeads, headDim, sequences, length } = work;
  const N = sequences * length;
  const perToken = (value: (n: number) => number) =>
    Tensor.from(
      runtime,
      Uint32Array.from({ length: N }, (_, n) => value(n)),
    );
  const width = (heads + 2 * kvHeads) * headDim;
  const inputs = {
    qkv: drawn(runtime, [N, width], 1),
    position: perToken((n) => n % length),
    table: drawn(runtime, [length, headDim], 0.7),
    sequence_start: perToken((n) => n - (n % length)),
    sequence_end: perToken((n) => n - (n % length) + length),
  };
  const op = attention as unknown as OpDefinition;
  const scalars = bindScalars(op, inputs, { heads, kv_heads: kvHeads }, runtime.facts);
  const views: Record<string, Tensor> = {
    ...inputs,
    y: Tensor.empty(runtime, [N, heads * headDim]),
    log_sum_exp: Tensor.empty(runtime, [N, heads]),
  };
  if (direction === "backward") {
    views.d_y = drawn(runtime, [N, heads * headDim], 1);
    views.d_qkv = Tensor.empty(runtime, [N, width]);
    new Launcher(runtime).runPlan(op, op.forward, views, scalars);
  }
  const plan = direction === "forward" ? op.forward : op.backward;
  return {
    result: direction === "forward" ? views.y : views.d_qkv,
    launch: (launcher) => launcher.runPlan(op, plan as OpDefinition["forward"], views, scalars),
    release: () => {
      for (const tensor of Object.values<Tensor & ArrayView>(views)) tensor.release();
    },
  };
}
