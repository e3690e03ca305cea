/** What an op declares: axes, kernels, float64 reference and cost. Everything else is derived from it. */
import { ArgumentError } from "../../core/errors.js";
import type { KernelFacts } from "../../gpu/runtime.js";
import { type ArrayView, byteLength, type DType, elementCount } from "./array_view.js";
import type { WeightGradient } from "./weight_gradient.js";

export { type ArrayView, byteLength, type DType, elementCount };

/** Element type and axis names of one tensor, for example `f32("N C")`. */
export interface TensorSpec {
  readonly dtype: DType;
  readonly axes: readonly string[];
  readonly optional: boolean;
  /** Whether f16 is as good: weights and activations, but no statistics, losses or log-probabilities. */
  readonly mayBeHalf: boolean;
}

const spec = (dtype: "f32" | "u32", axes: string, mayBeHalf: boolean): TensorSpec => ({
  dtype,
  axes: axes.split(" ").filter((axis) => axis.length > 0),
  optional: false,
  mayBeHalf,
});

/** A float32 tensor with the given axes. */
export const f32 = (axes: string): TensorSpec => spec("f32", axes, false);
/** A tensor that is stored as f32, f16 or bf16, as the caller chose; outputs as the tape's `activations` say. */
export const real = (axes: string): TensorSpec => spec("f32", axes, true);
/** An unsigned integer tensor (indices, masks, counts); carries no gradient. */
export const u32 = (axes: string): TensorSpec => spec("u32", axes, false);
/** The same tensor, but callers may leave it out; shaders ask `has(name)`. */
export const optional = (tensor: TensorSpec): TensorSpec => ({ ...tensor, optional: true });

/** A scalar argument of an op and its default. */
export interface ParamSpec {
  readonly type: "f32" | "u32";
  readonly default: number;
}
export const f32Param = (value: number): ParamSpec => ({ type: "f32", default: value });
export const u32Param = (value: number): ParamSpec => ({ type: "u32", default: value });

/** Sizes by axis name, and scalar arguments by name. */
export type Scalars = Readonly<Record<string, number>>;

/** All that a shader's text may depend on. */
export interface ShaderInput {
  /** Values of the kernel's declared `constants`, pasted into the text. */
  readonly constants: Scalars;
  /** Whether an optional tensor was given. */
  has(name: string): boolean;
  readonly facts: KernelFacts;
}

/** One entry point: WGSL text without bindings (these are generated), the tensors it touches, and its launch size. */
export interface Kernel {
  readonly entry: string;
  /**
   * WGSL with an entry point `main`. Bound tensors are variables of their own names; dims and params are fields of the
   * uniform `params`. Tensors that may be f16 or bf16 are reached by `read_x(index)` and `write_x(index, value)`, which convert.
   * A written gradient `d_x` has `store_d_x(index, value)`, which adds when the gradient accumulates.
   */
  readonly shader: (input: ShaderInput) => string;
  /** Dims and params handed to the shader as numbers; each set of values is a pipeline of its own. */
  readonly constants?: readonly string[];
  readonly reads: readonly string[];
  readonly writes: readonly string[];
  /** WGSL element types that differ from the tensor's own, for example `{ x: "vec4<f32>" }`. */
  readonly elements?: (input: ShaderInput) => Readonly<Record<string, string>>;
  /** Number of workgroups; beyond 65,535 they are folded, see `workgroup_index` in the generated header. */
  readonly workgroups: (scalars: Scalars, facts: KernelFacts) => number;
  /** Backward only: gradients this kernel is needed for, when these are not simply what it writes. */
  readonly for?: readonly string[];
}

/** Tensors by the names that kernels give them; optional ones may be absent. */
export type OptionalViews = Readonly<Record<string, ArrayView | undefined>>;

/** What a hand-written plan can do: launch kernels and borrow scratch memory until the plan ends. */
export interface PlanContext {
  readonly facts: KernelFacts;
  readonly scalars: Scalars;
  /** Tensors by name: inputs, outputs, saved, and in backward `d_*` of outputs and of the wanted inputs. */
  readonly views: Readonly<Record<string, ArrayView>>;
  /** Names of gradients to add to rather than overwrite. */
  readonly accumulate: ReadonlySet<string>;
  scratch(name: string, shape: readonly number[], dtype?: DType): ArrayView;
  run(unit: KernelUnit, views: OptionalViews, scalars: Scalars, accumulate?: ReadonlySet<string>): void;
  /** Like `run`, for what nothing needs soon, see `Launcher.runLate`. */
  runLate(unit: KernelUnit, views: OptionalViews, scalars: Scalars, accumulate?: ReadonlySet<string>): void;
  /** Runs launches of the body in as few dispatches as may be, see `Launcher.together`. */
  together(body: () => void): void;
  clear(view: ArrayView): void;
  /**
   * The gradients of parameters, from their factors: every op that has parameters calls it, once for each place where both
   * factors are in memory. What nobody wants is not computed.
   */
  weightGradient(factors: WeightGradient): void;
}

/** A kernel with the scalars its text may use: launchable from any plan. */
export interface KernelUnit {
  readonly op: string;
  readonly scalars: Readonly<Record<string, "f32" | "u32">>;
  readonly kernel: Kernel;
}

export type Plan = readonly Kernel[] | ((context: PlanContext) => void);

/** FLOP and bytes one direction of an op costs at the given sizes. */
export interface Cost {
  readonly flops: number;
  readonly bytes: number;
}

type Specs = Readonly<Record<string, TensorSpec>>;
/** Float64 arrays by name: inputs of a reference (integers included) or its outputs. */
export type ReferenceArrays = Readonly<Record<string, Float64Array>>;

export interface OpDefinition<I extends Specs = Specs, O extends Specs = Specs> {
  readonly name: string;
  /** Of an op that computes several at once: names of the plain ops of its graph in src/autograd/unfused.ts. */
  readonly fuses?: readonly string[];
  readonly inputs: I;
  readonly outputs: O;
  /** Tensors kept from forward for backward. */
  readonly saved?: Specs;
  readonly params?: Readonly<Record<string, ParamSpec>>;
  /** Sizes that follow from dims and params; also the place to check them. */
  readonly derive?: (scalars: Scalars, facts: KernelFacts) => Scalars;
  /** Names of all sizes that `derive` returns. */
  readonly derived?: readonly string[];
  /** Working memory of the declarative kernels, forward or backward. */
  readonly scratch?: Specs;
  readonly forward: Plan;
  /** Kernels giving `d_<input>`; or the reason why there is no gradient. */
  readonly backward: Plan | { readonly none: string };
  /** Inputs that are added to an output: its gradient is theirs, shared without a copy. No kernel writes `d_<input>`. */
  readonly passes?: Readonly<Record<string, string>>;
  /**
   * Inputs that are added to an output and used otherwise as well: `d_<input>` begins as the output's gradient, in the same
   * memory where possible, and kernels add to it, which they must do after the last read of the output's gradient.
   */
  readonly starts?: Readonly<Record<string, string>>;
  /** Float64, written like the formula. Missing optional inputs are absent. */
  readonly reference: (inputs: ReferenceArrays, scalars: Scalars) => Record<string, Float64Array>;
  readonly cost: (scalars: Scalars) => { readonly forward: Cost; readonly backward?: Cost };
}

const registry = new Map<string, OpDefinition>();

/**
 * Declares an op and registers it by name, for tests, benchmarks and the API table.
 * @throws ArgumentError when the name is taken
 */
export function defineOp<const I extends Specs, const O extends Specs>(
  definition: OpDefinition<I, O>,
): OpDefinition<I, O> {
  if (registry.has(definition.name))
    throw new ArgumentError(`[${definition.name}] an op of this name exists already. Choose another.`);
  registry.set(definition.name, definition as unknown as OpDefinition);
  return definition;
}

/** Every declared op whose module was imported (src/kernels/index.ts imports all). */
export function allOps(): readonly OpDefinition[] {
  return [...registry.values()];
}

/** Whether gradients can flow through the op. */
export function isDifferentiable(op: OpDefinition): boolean {
  return !(typeof op.backward === "object" && "none" in op.backward);
}

/**
 * Sizes of all axes, from the shapes of the given tensors, plus params and derived sizes.
 * @throws ArgumentError naming op, tensor, shape and rule
 */
export function bindScalars(
  op: OpDefinition,
  inputs: Readonly<Record<string, { readonly shape: readonly number[]; readonly dtype: DType } | undefined>>,
  params: Scalars,
  facts: KernelFacts,
): Scalars {
  const scalars: Record<string, number> = {};
  const origin: Record<string, string> = {};
  for (const [name, tensor] of Object.entries(op.inputs)) {
    const given = inputs[name];
    if (!given) {
      if (tensor.optional) continue;
      throw new ArgumentError(
        `[${op.name}] input ${name} is missing: expected ${describe(tensor)}. Pass it.`,
      );
    }
    const isHalf = tensor.mayBeHalf && (given.dtype === "f16" || given.dtype === "bf16");
    if ((given.dtype !== tensor.dtype && !isHalf) || given.shape.length !== tensor.axes.length) {
      throw new ArgumentError(
        `[${op.name}] ${name} does not fit: got ${given.dtype} [${given.shape}], expected ${describe(tensor)}. Reshape or convert it.`,
      );
    }
    tensor.axes.forEach((axis, index) => {
      const size = given.shape[index] as number;
      const known = scalars[axis];
      if (known === undefined) {
        scalars[axis] = size;
        origin[axis] = name;
      } else if (known !== size) {
        throw new ArgumentError(
          `[${op.name}] ${name} does not fit: got [${given.shape}], expected ${describe(tensor)} with ${axis} = ${known} as in ${origin[axis]}. Check the caller's shapes.`,
        );
      }
    });
  }
  for (const name of Object.keys(params)) {
    if (!op.params?.[name]) {
      throw new ArgumentError(
        `[${op.name}] unknown param ${name}: expected one of ${Object.keys(op.params ?? {}).join(", ") || "none"}.`,
      );
    }
  }
  for (const [name, param] of Object.entries(op.params ?? {})) scalars[name] = params[name] ?? param.default;
  Object.assign(scalars, op.derive?.(scalars, facts));
  return scalars;
}

/** Shape of a declared tensor at the given sizes. */
export function shapeOf(op: OpDefinition, name: string, tensor: TensorSpec, scalars: Scalars): number[] {
  return tensor.axes.map((axis) => {
    const size = scalars[axis] ?? Number(axis);
    if (!Number.isInteger(size))
      throw new ArgumentError(`[${op.name}] size ${axis} of ${name} is unknown. Return it from derive().`);
    return size;
  });
}

function describe(tensor: TensorSpec): string {
  return `${tensor.dtype}${tensor.mayBeHalf ? ", f16 or bf16" : ""} [${tensor.axes.join(" ")}]`;
}
