/** Training steps of a base workload with one size varied at a time, and the memory of single ops over one size. */
import type { Launcher } from "../src/kernels/engine/launch.js";
import { presetConfig } from "../src/model/config.js";
import type { BenchRow } from "../src/report/bench_rows.js";
import type { Effort } from "./measure.js";
import { madeBy, peaksDuring } from "./memory.js";
import { type Precision, programDtype } from "./precision.js";
import { type Contestant, race } from "./race.js";
import { Trainer } from "./trainer.js";
import { trainingFlops, trainingProblem, type Workload } from "./workloads.js";

export interface ScalingBench {
  readonly launcher: Launcher;
  readonly adapter: string;
  readonly precision: Precision;
  readonly effort: Effort;
}

/** Sizes of a decoder and its batch. */
interface Sizes {
  /** Sequences, and tokens of each. */
  readonly B: number;
  readonly T: number;
  /** Width in heads of D, half as many key/value heads, an MLP of three times the width. */
  readonly H: number;
  readonly D: number;
  readonly L: number;
  readonly V: number;
}

/** A size that is varied while all others stay as in the base. */
interface Axis {
  readonly name: string;
  readonly sizes: readonly number[];
  readonly change: (size: number, base: Sizes) => Partial<Sizes>;
}

/** One point of a curve. */
export interface ScalingPoint {
  readonly axis: string;
  readonly size: number;
  readonly workload: Workload;
  /** As rows name it: `T 256: B8 T256 C64 L2 V512`. */
  readonly label: string;
}

interface Plan {
  readonly base: Sizes;
  /** T runs twice, with B fixed, where tokens grow with it, and with N = B T fixed, where only attention does. */
  readonly T: readonly number[];
  readonly H: readonly number[];
  readonly L: readonly number[];
  readonly B: readonly number[];
  readonly V: readonly number[];
}

const QUICK: Plan = {
  base: { B: 2, T: 16, H: 2, D: 16, L: 1, V: 64 },
  T: [16, 32],
  H: [2, 4],
  L: [1, 2],
  B: [2, 4],
  V: [64, 128],
};
/** `nano`, on 1,024 tokens. */
const SOFTWARE: Plan = {
  base: { B: 8, T: 128, H: 4, D: 16, L: 2, V: 512 },
  T: [64, 128, 256, 512, 1024],
  H: [2, 4, 8, 16],
  L: [1, 2, 4, 8],
  B: [2, 4, 8, 16, 32],
  // from where logits fill whole tiles
  V: [4096, 8192, 16_384, 32_768],
};
/** `medium`, on 4,096 tokens: what keeps a GPU busy. */
const HARDWARE: Plan = {
  base: { B: 8, T: 512, H: 8, D: 64, L: 8, V: 8192 },
  T: [128, 256, 512, 1024, 2048],
  H: [4, 8, 16, 32],
  L: [2, 4, 8, 16],
  B: [2, 4, 8, 16, 32],
  V: [8192, 16_384, 32_768, 65_536, 131_072],
};

/** All points, axis after axis, by ascending size. */
export function scalingPoints(quick: boolean, isSoftware: boolean): ScalingPoint[] {
  const { base, T, H, L, B, V } = quick ? QUICK : isSoftware ? SOFTWARE : HARDWARE;
  const axes: Axis[] = [
    { name: "T", sizes: T, change: (T) => ({ T }) },
    {
      name: "T with N fixed",
      sizes: T,
      change: (T, { B, T: before }) => ({ T, B: Math.ceil((B * before) / T) }),
    },
    { name: "width", sizes: H.map((H) => H * base.D), change: (C, { D }) => ({ H: C / D }) },
    { name: "layers", sizes: L, change: (L) => ({ L }) },
    { name: "batch", sizes: B, change: (B) => ({ B }) },
    { name: "vocabulary", sizes: V, change: (V) => ({ V }) },
  ];
  return axes.flatMap(({ name, sizes, change }) =>
    sizes.map((size) => {
      const all = { ...base, ...change(size, base) };
      const { B, T, H, D, L, V } = all;
      const label = `${name} ${size}: B${B} T${T} C${H * D} L${L} V${V}`;
      return { axis: name, size, label, workload: workloadOf(all) };
    }),
  );
}

function workloadOf({ B, T, H, D, L, V }: Sizes): Workload {
  const config = presetConfig("nano", V, {
    hidden_size: H * D,
    intermediate_size: 3 * H * D,
    num_hidden_layers: L,
    num_attention_heads: H,
    num_key_value_heads: H / 2,
    initializer_range: 0.8 / Math.sqrt(H * D),
  });
  return { name: "scaling", config, B, T };
}

/** The most that a point may take, so that a whole campaign stays within minutes. */
const MOST = { repeats: 7, budgetMs: 1500 } as const;
const COMPARED_STEPS = 2;

/** The row of one training step, checked and timed, with the memory of attention and of the vocabulary head apart. */
export async function benchScalingPoint(bench: ScalingBench, point: ScalingPoint): Promise<BenchRow[]> {
  const { launcher, adapter, precision, effort } = bench;
  const { axis, size, label, workload } = point;
  const { buffers } = launcher.runtime;
  const open = async (): Promise<Contestant> => {
    const trainer = new Trainer(launcher, workload, trainingProblem(workload), precision);
    return {
      work: trainer,
      check: async () => (await trainer.check(COMPARED_STEPS)).error,
      figures: async ({ medianMs }) => {
        const groups = { attention: madeBy("attention"), logProb: madeBy("linear_log_prob") };
        const { attention, logProb } = await peaksDuring(buffers, groups, () => trainer.run(1));
        return {
          ...(await trainer.figures()),
          tokensPerSecond: (1000 * workload.B * workload.T) / medianMs,
          attentionBytes: attention,
          logProbBytes: logProb,
        };
      },
      release: () => trainer.release(),
    };
  };
  const head = {
    op: "scaling",
    direction: "step" as const,
    shape: label,
    dtype: programDtype(launcher.facts, precision),
    adapter,
  };
  const limited: Effort = {
    repeats: Math.min(effort.repeats, MOST.repeats),
    sampleMs: effort.sampleMs,
    budgetMs: Math.min(effort.budgetMs, MOST.budgetMs),
  };
  const cost = { flops: trainingFlops(workload), bytes: 0 };
  const [row] = await race(head, [{ implementation: "uncouple", open }], cost, limited);
  const { gbps: _unknown, ...known } = row;
  // what a smaller point needed goes back before a larger one asks
  await launcher.runtime.trim();
  return [{ ...known, subject: "training_step", axis, size }];
}
