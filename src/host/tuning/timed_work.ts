/** Work for the autotuner to time: tensors of drawn numbers, and launches by a launcher of one's choice. */
import { Tensor } from "../../autograd/tensor.js";
import { fillRepeated } from "../../core/fill_repeated.js";
import { Random } from "../../core/random.js";
import type { Runtime } from "../../gpu/runtime.js";
import { bindScalars, elementCount } from "../../kernels/engine/op.js";
import {
  attention,
  Launcher,
  matmul,
  matmulInto,
  type OpDefinition,
  ropeTable,
} from "../../kernels/index.js";
import type { MatmulShape } from "../../kernels/matmul/matmul_shape.js";
import { type AttentionWork, partsAdded, type TunedWork } from "../../kernels/tuning/tuning_search.js";
import { packSequences } from "../../model/packing.js";

export interface TimedWork {
  /** Launches the work once; the launcher's facts decide by which variant. */
  launch(launcher: Launcher): void;
  /** What the work writes. */
  readonly result: Tensor;
  release(): void;
}

export function timedWork(runtime: Runtime, work: TunedWork): TimedWork {
  return "product" in work ? timedProduct(runtime, work.product) : timedAttention(runtime, work.attention);
}

function drawn(runtime: Runtime, shape: readonly number[], scale: number): Tensor {
  const random = Random.of(7, "tuner");
  const values = new Float32Array(elementCount(shape));
  return Tensor.from(
    runtime,
    fillRepeated(values, () => scale * random.normal()),
    shape,
  );
}

function timedProduct(runtime: Runtime, shape: MatmulShape): TimedWork {
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

function timedAttention(runtime: Runtime, work: AttentionWork): TimedWork {
  const { direction, heads, kvHeads, headDim, sequences, length } = work;
  const N = sequences * length;
  const packed = packSequences(Array.from({ length: sequences }, () => new Uint32Array(length)));
  const width = (heads + 2 * kvHeads) * headDim;
  const inputs = {
    qkv: drawn(runtime, [N, width], 1),
    position: Tensor.from(runtime, packed.position),
    table: Tensor.from(runtime, ropeTable(length, headDim, 10_000), [length, headDim]),
    sequence_start: Tensor.from(runtime, packed.sequenceStart),
    sequence_end: Tensor.from(runtime, packed.sequenceEnd),
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
      for (const tensor of Object.values(views)) tensor.release();
    },
  };
}
