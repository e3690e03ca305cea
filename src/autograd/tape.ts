/** Reverse-mode automatic differentiation: records op applications, replays them backwards, frees what is no longer needed. */
import { ArgumentError } from "../core/errors.js";
import type { GradientDoor } from "../kernels/engine/gradient_targets.js";
import type { Launcher } from "../kernels/engine/launch.js";
import {
  type ArrayView,
  bindScalars,
  isDifferentiable,
  type OpDefinition,
  type PlanContext,
  type Scalars,
  shapeOf,
  type TensorSpec,
} from "../kernels/engine/op.js";
import type { GradientObserver, ProductGradient, WeightGradient } from "../kernels/engine/weight_gradient.js";
import { addInto } from "../kernels/layers/add.js";
import { launchWeightGradient } from "../kernels/layers/weight_gradient.js";
import { Tensor, type WeightSource } from "./tensor.js";

type Specs = Readonly<Record<string, TensorSpec>>;
type Optional<I extends Specs> = { [K in keyof I]: Tensor | undefined };

interface Node {
  readonly op: OpDefinition;
  readonly scalars: Scalars;
  readonly inputs: Readonly<Record<string, Tensor>>;
  readonly outputs: Readonly<Record<string, Tensor>>;
  readonly saved: Readonly<Record<string, Tensor>>;
  /** What the rows of its outputs are called; kept for observers only. */
  readonly rows?: string | undefined;
}

/** A body whose intermediates were not kept: backward runs it again. */
interface RecomputeNode {
  readonly body: () => Tensor;
  readonly output: Tensor;
}

export interface TapeOptions {
  /** false: nothing is kept for backward and `scope` frees intermediates (generation, scoring). Default true. */
  readonly record?: boolean;
  /** How outputs that may be f16 are stored, and with them the gradients of activations. Default f32. */
  readonly activations?: "f32" | "f16";
  /**
   * Keeps of every `scope` nothing but its result, and computes its intermediates again in backward: less memory for one more
   * forward pass, and the same bits. Default false.
   */
  readonly recompute?: boolean;
  /** Sees the factors of the gradient of every parameter (tensors that `FlatParameters` made) during backward. */
  readonly observer?: GradientObserver;
}

/**
 * One forward pass and, at most once, its backward pass. Tensors made by `apply` belong to the tape and are released by
 * `release`; leaves (parameters, uploaded inputs) belong to the caller unless handed over with `own`.
 */
export class Tape {
  readonly launcher: Launcher;
  readonly record: boolean;
  readonly activations: "f32" | "f16";
  readonly #nodes: (Node | RecomputeNode)[] = [];
  readonly #owned = new Set<Tensor>();
  readonly #observer: GradientObserver | undefined;
  readonly #rows = new WeakMap<Tensor, string>();
  /** Recorded uses of each parameter whose gradient is not complete. */
  readonly #uses = new Map<string, number>();
  readonly #recompute: boolean;
  #scopes: Set<Tensor>[] = [];
  /** Inside of a body that is run to be forgotten: whether anything in it needs a gradient. */
  #forgotten: { needsGrad: boolean } | undefined;
  /** Inside of a body that is run again. */
  #isAgain = false;

  constructor(launcher: Launcher, options: TapeOptions = {}) {
    this.launcher = launcher;
    this.record = options.record ?? true;
    this.activations = options.activations ?? "f32";
    this.#recompute = options.recompute ?? false;
    this.#observer = options.observer;
  }

  /** Hands a tensor to the tape, which will release it. Returns the tensor. */
  own(tensor: Tensor): Tensor {
    this.#owned.add(tensor);
    this.#scopes.at(-1)?.add(tensor);
    return tensor;
  }

  /** Uploads host data as a tensor owned by the tape. */
  input(data: Float32Array | Uint32Array, shape?: readonly number[]): Tensor {
    return this.own(Tensor.from(this.launcher.runtime, data, shape, { label: "input" }));
  }

  /**
   * Applies an op and records it when an input needs a gradient.
   * @param inputs tensors by input name; optional ones may be undefined
   * @param params scalar arguments; defaults as declared by the op
   * @param storage of outputs that may be f16; default as the tape stores activations
   * @throws ArgumentError when shapes do not fit
   */
  apply<I extends Specs, O extends Specs>(
    op: OpDefinition<I, O>,
    inputs: Partial<Optional<I>>,
    params: Scalars = {},
    storage = this.activations,
  ): { [K in keyof O]: Tensor } {
    const plain = op as unknown as OpDefinition;
    const given: Record<string, Tensor> = {};
    for (const [name, tensor] of Object.entries(inputs)) if (tensor) given[name] = tensor as Tensor;
    for (const [name, tensor] of Object.entries(given)) {
      if (tensor.released)
        throw new ArgumentError(
          `[${op.name}] input ${name} was released before use. Keep it until the tape is done.`,
        );
    }
    const scalars = bindScalars(plain, given, params, this.launcher.facts);
    const leaves = Object.values(given).filter((tensor) => tensor.requiresGrad);
    const needsGrad = this.record && isDifferentiable(plain) && leaves.length > 0;
    const tracked = needsGrad && !this.#forgotten;
    if (tracked && new Set(leaves).size < leaves.length && !op.passes) {
      throw new ArgumentError(
        `[${op.name}] one tensor was passed for two inputs. Its gradient would be written twice; copy it first.`,
      );
    }
    const outputs = this.#allocate(plain, plain.outputs, scalars, tracked, storage);
    const saved = this.#allocate(plain, plain.saved ?? {}, scalars, false, this.activations);
    this.launcher.runPlan(plain, plain.forward, { ...given, ...outputs, ...saved }, scalars);
    const rows = this.#observer && this.#passRows(plain, given, outputs);
    // a body that is run again was counted the first time
    if (needsGrad && this.#observer && !this.#isAgain) this.#countUses(given, 1);
    if (needsGrad && this.#forgotten) this.#forgotten.needsGrad = true;
    if (tracked) this.#nodes.push({ op: plain, scalars, inputs: given, outputs, saved, rows });
    else for (const tensor of Object.values(saved)) this.#drop(tensor);
    return outputs as { [K in keyof O]: Tensor };
  }

  /**
   * Runs a body that makes its result of tensors from outside, which it does not change. While not recording: releases
   * everything made inside but the result. While recording: just runs it, or with `recompute` keeps the result alone.
   */
  scope(body: () => Tensor): Tensor {
    if (!this.record || this.#forgotten) return this.#kept(body);
    if (!this.#recompute || this.#isAgain) return body();
    const forgotten = { needsGrad: false };
    this.#forgotten = forgotten;
    let inner: Tensor;
    try {
      inner = this.#kept(body);
    } finally {
      this.#forgotten = undefined;
    }
    if (!forgotten.needsGrad) return inner;
    const output = this.own(inner.view(inner.shape, 0, true));
    const rows = this.#rows.get(inner);
    if (rows !== undefined) this.#rows.set(output, rows);
    this.#drop(inner);
    this.#nodes.push({ body, output });
    return output;
  }

  /** Releases everything made by a body but its result. */
  #kept(body: () => Tensor): Tensor {
    const made = new Set<Tensor>();
    this.#scopes.push(made);
    const result = body();
    this.#scopes.pop();
    for (const tensor of made) {
      if (tensor === result) this.#scopes.at(-1)?.add(tensor);
      else this.#drop(tensor);
    }
    return result;
  }

  /**
   * Names the rows (first axis) of a tensor for the observer, who knows what they are. Outputs have the name of the first
   * input with the same first axis that has one: token ids name the rows of all that is computed from them.
   */
  nameRows(tensor: Tensor, name: string): Tensor {
    this.#rows.set(tensor, name);
    return tensor;
  }

  /** Names the rows of a tensor as those of another one, where the ops between them put rows on other axes. */
  nameRowsAs(tensor: Tensor, other: Tensor): Tensor {
    const rows = this.#rows.get(other);
    return rows === undefined ? tensor : this.nameRows(tensor, rows);
  }

  /**
   * Propagates output gradients to every tensor with `requiresGrad`. A leaf that has a `grad` already
   * (left by an earlier pass, or set by the caller as a slot of a flat buffer) is added to in place; a fresh gradient is
   * made otherwise and belongs to the leaf.
   * @param seeds pairs of a tensor made by this tape and its gradient (same shape); both stay owned as they are
   */
  backward(seeds: readonly (readonly [Tensor, Tensor])[]): void {
    for (const [tensor, gradient] of seeds) {
      if (gradient.size !== tensor.size) {
        throw new ArgumentError(
          `[backward] seed of shape [${gradient.shape}] for a tensor of shape [${tensor.shape}]. Shapes must match.`,
        );
      }
      if (tensor.grad) throw new ArgumentError("[backward] a tensor was seeded twice. Sum the seeds first.");
      tensor.grad = gradient.view(tensor.shape);
    }
    this.launcher.joiningLate(() => {
      while (this.#nodes.length > 0) {
        const node = this.#nodes.pop() as Node | RecomputeNode;
        if ("body" in node) {
          this.#runAgain(node);
          continue;
        }
        if (Object.values(node.outputs).some((tensor) => tensor.grad)) this.#reverse(node);
        if (this.#observer) this.#countUses(node.inputs, -1);
        for (const tensor of [...Object.values(node.outputs), ...Object.values(node.saved)])
          this.#drop(tensor);
      }
    });
  }

  /** Releases every tensor the tape owns. */
  release(): void {
    this.#nodes.length = 0;
    for (const tensor of this.#owned) tensor.release();
    this.#owned.clear();
  }

  /** Records a body's ops, to be reversed next, and hands them the gradient of its result. */
  #runAgain({ body, output }: RecomputeNode): void {
    const { grad } = output;
    if (grad) {
      this.#isAgain = true;
      try {
        body().grad = grad.view(grad.shape);
      } finally {
        this.#isAgain = false;
      }
    }
    this.#drop(output);
  }

  #reverse(node: Node): void {
    const { op, scalars, inputs, outputs, saved } = node;
    const views: Record<string, ArrayView> = { ...inputs, ...outputs, ...saved };
    const borrowed: Tensor[] = [];
    for (const [name, { grad, shape, dtype }] of Object.entries(outputs)) {
      const gradient = grad ?? Tensor.zeros(this.launcher.runtime, shape, `${op.name}.d_${name}`, dtype);
      if (!grad) borrowed.push(gradient);
      views[`d_${name}`] = gradient;
    }
    const accumulate = new Set<string>();
    for (const [name, tensor] of Object.entries(inputs)) {
      if (!tensor.requiresGrad || op.passes?.[name]) continue;
      if (tensor.source) {
        // a sign that the gradient is wanted: the door hands it on, and nobody writes here
        views[`d_${name}`] = tensor;
        continue;
      }
      const start = op.starts?.[name];
      // shared by the output, whose gradient nobody needs after this op, and this input
      const sharers = start && this.#pass(op.name, tensor, views[`d_${start}`] as Tensor) ? 2 : 1;
      if (tensor.grad) accumulate.add(`d_${name}`);
      views[`d_${name}`] = this.#gradientOf(tensor, op.name, sharers);
    }
    const plan = op.backward as Exclude<OpDefinition["backward"], { none: string }>;
    this.launcher.runPlan(op, plan, views, scalars, accumulate, this.#doorOf(node));
    for (const [name, output] of Object.entries(op.passes ?? {})) {
      const tensor = inputs[name];
      if (tensor?.requiresGrad) this.#pass(op.name, tensor, views[`d_${output}`] as Tensor);
    }
    for (const tensor of borrowed) tensor.release();
  }

  /** Tells the observer about gradients of parameters under their names. */
  #doorOf({ op, inputs, rows }: Node): GradientDoor | undefined {
    const observer = this.#observer;
    const isHandedOn = Object.values(inputs).some(({ source }) => source);
    if (!observer?.factors && !isHandedOn) return undefined;
    return (factors: WeightGradient, { target, biasTarget }, context) => {
      const source = target && inputs[factors.weight]?.source;
      if (source) {
        if (factors.kind !== "product" || factors.first !== undefined || biasTarget) {
          throw new ArgumentError(
            `[${op.name}] a weight that is computed of others has no gradient of this kind: got ${biasTarget ? "a trainable bias beside it" : factors.kind}, expected a product of the whole weight beside a frozen bias. Freeze the base.`,
          );
        }
        this.#handOn(op.name, source, factors, rows, context);
        return true;
      }
      if (!observer?.factors) return false;
      const parameter = target && inputs[factors.weight]?.parameter;
      const bias =
        biasTarget && factors.kind === "product" ? inputs[factors.bias as string]?.parameter : undefined;
      if (parameter === undefined && bias === undefined) return false;
      if ((target && parameter === undefined) || (biasTarget && bias === undefined)) {
        throw new ArgumentError(
          `[${op.name}] weight and bias together are observed only where both are parameters: got ${parameter ?? bias} beside a tensor without a name. Make both by FlatParameters.`,
        );
      }
      return observer.factors?.({ factors, parameter, bias, rows, target, biasTarget }) ?? false;
    };
  }

  /** Gives the gradient of a computed weight to its parameters, as if an op had done so for each. */
  #handOn(
    label: string,
    source: WeightSource,
    factors: ProductGradient,
    rows: string | undefined,
    context: PlanContext,
  ): void {
    source.handOn(context, factors, (tensor, own) => {
      const target = { accumulate: tensor.grad !== undefined, view: this.#gradientOf(tensor, label) };
      const { parameter } = tensor;
      if (!this.#observer?.factors?.({ factors: own, parameter, rows, target }))
        launchWeightGradient(context, own, { target });
    });
  }

  #passRows(
    op: OpDefinition,
    inputs: Readonly<Record<string, Tensor>>,
    outputs: Readonly<Record<string, Tensor>>,
  ): string | undefined {
    let first: string | undefined;
    for (const [name, output] of Object.entries(outputs)) {
      const axis = op.outputs[name]?.axes[0];
      for (const [input, tensor] of Object.entries(inputs)) {
        const rows = this.#rows.get(tensor);
        if (rows === undefined || op.inputs[input]?.axes[0] !== axis) continue;
        this.#rows.set(output, rows);
        first ??= rows;
        break;
      }
    }
    return first;
  }

  /** Keeps count of the uses of parameters, and says so when all of one are behind us. */
  #countUses(inputs: Readonly<Record<string, Tensor>>, by: 1 | -1): void {
    const used = Object.values(inputs).flatMap((tensor) => tensor.source?.parameters ?? [tensor]);
    for (const { parameter, requiresGrad } of used) {
      if (parameter === undefined || !requiresGrad) continue;
      const uses = (this.#uses.get(parameter) ?? 0) + by;
      this.#uses.set(parameter, uses);
      if (uses > 0 || by > 0 || !this.#observer?.final) continue;
      this.launcher.settle();
      this.#observer.final(parameter);
    }
  }

  /** Gives an upstream gradient to an input: one that the tape made shares it while it is the only one. @returns whether it is shared */
  #pass(label: string, tensor: Tensor, upstream: Tensor): boolean {
    if (tensor.grad) {
      addInto(this.launcher, this.#gradientOf(tensor, label), upstream);
      return false;
    }
    if (this.#isLeaf(tensor)) {
      // it belongs to the caller, and a later use adds to it
      const { runtime } = this.launcher;
      tensor.grad = Tensor.zeros(runtime, tensor.shape, `${label}.grad`, "f32");
      addInto(this.launcher, tensor.grad, upstream);
      return false;
    }
    tensor.grad = upstream.view(tensor.shape);
    return true;
  }

  /** The tensor's own gradient memory; one that more than `sharers` hold is copied first, since it will be added to. */
  #gradientOf(tensor: Tensor, label: string, sharers = 1): Tensor {
    const current = tensor.grad;
    if (!current) {
      const dtype = this.#isLeaf(tensor) ? "f32" : tensor.dtype;
      tensor.grad = Tensor.empty(this.launcher.runtime, tensor.shape, dtype, `${label}.grad`);
    } else if (current.storage.holders > sharers && !this.#isLeaf(tensor)) {
      const copy = Tensor.empty(this.launcher.runtime, tensor.shape, current.dtype, `${label}.grad`);
      this.launcher.settle();
      this.launcher.runtime.copy(current.range, copy.range);
      current.release();
      tensor.grad = copy;
    }
    return tensor.grad as Tensor;
  }

  /** A leaf's gradient given by the caller may be a slot in a larger buffer: it must be written in place. */
  #isLeaf(tensor: Tensor): boolean {
    return !this.#owned.has(tensor);
  }

  #allocate(
    op: OpDefinition,
    specs: Specs,
    scalars: Scalars,
    requiresGrad: boolean,
    storage: "f32" | "f16",
  ): Record<string, Tensor> {
    const tensors: Record<string, Tensor> = {};
    for (const [name, tensor] of Object.entries(specs)) {
      const shape = shapeOf(op, name, tensor, scalars);
      const needs = requiresGrad && tensor.dtype === "f32";
      const dtype = tensor.mayBeHalf ? storage : tensor.dtype;
      tensors[name] = this.own(
        Tensor.empty(this.launcher.runtime, shape, dtype, `${op.name}.${name}`, needs),
      );
    }
    return tensors;
  }

  #drop(tensor: Tensor): void {
    this.#owned.delete(tensor);
    tensor.release();
  }
}
