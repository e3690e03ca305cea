/** Turns kernel declarations into WGSL with generated bindings, cached pipelines and dispatches. */
import { ArgumentError } from "../core/errors.js";
import type { BufferRange, GpuBuffer } from "../gpu/buffers.js";
import {
  type Access,
  type DeviceFacts,
  type PipelineEntry,
  type Runtime,
  SCALAR_BYTES,
} from "../gpu/runtime.js";
import {
  type BoundTensor,
  type KernelText,
  MOST_MERGED,
  mergeableSize,
  mergedModule,
  moduleText,
  type SharedBinding,
  uniformWords,
  workgroupBytes,
} from "./module_text.js";
import {
  type ArrayView,
  byteLength,
  type DType,
  type Kernel,
  type KernelUnit,
  type OpDefinition,
  type OptionalViews,
  type Plan,
  type PlanContext,
  type Scalars,
  type ShaderInput,
} from "./op.js";

const NOTHING: ReadonlySet<string> = new Set();

/** A kernel for certain constants, present tensors and storage types. */
interface Prepared {
  readonly id: number;
  readonly text: KernelText;
  /** Bound tensors in binding order. */
  readonly names: readonly string[];
  /** Uniforms by place: the gradient whose accumulation a word tells, or the scalar whose value it has. */
  readonly words: readonly {
    readonly gradient?: string;
    readonly scalar: string;
    readonly isFloat: boolean;
  }[];
  /** Compiled only where the kernel has a dispatch of its own. */
  pipeline: PipelineEntry | undefined;
}

/** A launch with all that its dispatch needs. */
interface Launch {
  readonly prepared: Prepared;
  readonly ranges: readonly BufferRange[];
  readonly scalars: Uint32Array;
  readonly workgroups: number;
}

/** Launches kernels on one runtime. Keeps prepared kernels by constants, present tensors and their storage types. */
export class Launcher {
  readonly #prepared = new Map<KernelUnit, Map<string, Prepared>>();
  readonly #merged = new Map<string, PipelineEntry>();
  /** Whether kernels fit one module, by their ids. */
  readonly #fitting = new Map<string, boolean>();
  readonly #units = new Map<Kernel, KernelUnit>();
  #count = 0;
  /** Launches held back by `together`. */
  #held: Launch[] | undefined;
  readonly facts: DeviceFacts;

  constructor(readonly runtime: Runtime) {
    this.facts = runtime.facts;
  }

  /**
   * Appends one kernel to the command list.
   * @param views tensors by the names the kernel reads and writes; optional ones may be absent
   * @param accumulate written gradients that are added to instead of overwritten
   */
  run(unit: KernelUnit, views: OptionalViews, scalars: Scalars, accumulate = NOTHING): void {
    const workgroups = unit.kernel.workgroups(scalars, this.facts);
    if (workgroups <= 0) return;
    const prepared = this.#prepare(unit, views, scalars);
    const launch = {
      prepared,
      ranges: prepared.names.map((name) => (views[name] as ArrayView).range),
      scalars: packScalars(prepared, scalars, accumulate),
      workgroups,
    };
    if (this.#held) this.#held.push(launch);
    else this.#dispatch(launch);
  }

  /**
   * Runs a body whose launches share as few dispatches as may be: those of one workgroup size that do not depend on each
   * other become one. A launch that reads a buffer which an earlier one writes (or the other way round) comes after it.
   * Launches that write one tensor must write different parts of it.
   */
  together(body: () => void): void {
    if (this.#held) {
      body();
      return;
    }
    this.#held = [];
    let held: Launch[];
    try {
      body();
    } finally {
      held = this.#held;
      this.#held = undefined;
    }
    for (const level of levels(held)) {
      for (const group of this.#groups(level)) {
        if (group.length === 1) this.#dispatch(group[0] as Launch);
        else this.#dispatchMerged(group);
      }
    }
  }

  /** Runs an op's forward or backward plan; scratch memory is returned to the pool at the end. */
  runPlan(
    op: OpDefinition,
    plan: Plan,
    views: Readonly<Record<string, ArrayView>>,
    scalars: Scalars,
    accumulate: ReadonlySet<string> = NOTHING,
  ): void {
    const borrowed: GpuBuffer[] = [];
    const scratch = (name: string, shape: readonly number[], dtype: DType = "f32"): ArrayView => {
      const bytes = byteLength(shape, dtype);
      const buffer = this.runtime.buffers.acquire(bytes, `${op.name}.${name}`);
      borrowed.push(buffer);
      return { range: { buffer, offset: 0, bytes, isWhole: true }, shape, dtype };
    };
    const context: PlanContext = {
      facts: this.facts,
      scalars,
      views,
      accumulate,
      scratch,
      run: (unit, unitViews, unitScalars, unitAccumulate) =>
        this.run(unit, unitViews, unitScalars, unitAccumulate),
      together: (body) => this.together(body),
      clear: (view) => this.runtime.clear(view.range),
    };
    if (typeof plan === "function") plan(context);
    else this.#runKernels(op, plan, context);
    for (const buffer of borrowed) this.runtime.buffers.release(buffer);
  }

  #runKernels(op: OpDefinition, kernels: readonly Kernel[], context: PlanContext): void {
    const views: Record<string, ArrayView> = { ...context.views };
    for (const [name, tensor] of Object.entries(op.scratch ?? {})) {
      const shape = tensor.axes.map((axis) => context.scalars[axis] ?? Number(axis));
      views[name] = context.scratch(name, shape, tensor.dtype);
    }
    for (const kernel of kernels) {
      const needed = kernel.for ?? kernel.writes;
      if (!needed.some((name) => views[name])) continue;
      // a kernel that gives several gradients writes the unwanted ones to scratch
      for (const name of kernel.writes) {
        const source = name.startsWith("d_") ? views[name.slice(2)] : undefined;
        if (!views[name] && source) views[name] = context.scratch(name, source.shape, source.dtype);
      }
      context.run(this.#unit(op, kernel), views, context.scalars, context.accumulate);
    }
  }

  #unit(op: OpDefinition, kernel: Kernel): KernelUnit {
    const known = this.#units.get(kernel);
    if (known) return known;
    const scalars: Record<string, "f32" | "u32"> = {};
    for (const tensor of [...Object.values(op.inputs), ...Object.values(op.outputs)]) {
      for (const axis of tensor.axes) if (Number.isNaN(Number(axis))) scalars[axis] = "u32";
    }
    for (const name of op.derived ?? []) scalars[name] = "u32";
    for (const [name, param] of Object.entries(op.params ?? {})) scalars[name] = param.type;
    const unit: KernelUnit = { op: op.name, scalars, kernel };
    this.#units.set(kernel, unit);
    return unit;
  }

  #prepare(unit: KernelUnit, views: OptionalViews, scalars: Scalars): Prepared {
    const { kernel } = unit;
    let variants = this.#prepared.get(unit);
    if (!variants) {
      variants = new Map();
      this.#prepared.set(unit, variants);
    }
    let key = "";
    for (const name of kernel.constants ?? []) key += `${scalars[name]},`;
    for (const name of kernel.reads) key += views[name]?.dtype ?? "-";
    for (const name of kernel.writes) key += views[name]?.dtype ?? "-";
    const known = variants.get(key);
    if (known) return known;
    const prepared = this.#describe(unit, views, scalars);
    variants.set(key, prepared);
    return prepared;
  }

  #describe(unit: KernelUnit, views: OptionalViews, scalars: Scalars): Prepared {
    const { kernel } = unit;
    const constants: Record<string, number> = {};
    for (const name of kernel.constants ?? []) {
      const value = scalars[name];
      if (value === undefined)
        throw new ArgumentError(
          `[${unit.op}.${kernel.entry}] constant ${name} is no dim or param of the op.`,
        );
      constants[name] = value;
    }
    const input: ShaderInput = { constants, has: (name) => views[name] !== undefined, facts: this.facts };
    const elements = kernel.elements?.(input) ?? {};
    const names = [...kernel.reads, ...kernel.writes].filter((name) => views[name]);
    const tensors = names.map((name): BoundTensor => {
      const { dtype } = views[name] as ArrayView;
      const element = elements[name] ?? (dtype === "f16" ? "f32" : dtype);
      const stored = dtype === "f16" ? element.replace("f32", "f16") : element;
      return { name, element, stored, isWritten: kernel.writes.includes(name) };
    });
    const gradients = kernel.writes.filter((name) => name.startsWith("d_") && views[name]);
    const fields = Object.entries(unit.scalars).map(([name, type]) => ({ name, type }));
    for (const name of gradients) fields.push({ name: `accumulate_${name}`, type: "u32" });
    if (fields.length === 0) fields.push({ name: "unused", type: "u32" });
    if (fields.length * 4 > SCALAR_BYTES)
      throw new ArgumentError(`[${unit.op}] more than ${SCALAR_BYTES / 4} scalars.`);
    const text: KernelText = {
      label: `${unit.op}.${kernel.entry}`,
      tensors,
      fields,
      gradients,
      body: kernel.shader(input),
    };
    const words = fields.map(({ name, type }, index) => {
      const gradient =
        index < fields.length - gradients.length ? undefined : name.slice("accumulate_".length);
      return { scalar: name, isFloat: type === "f32", ...(gradient && { gradient }) };
    });
    return { id: this.#count++, text, names, words, pipeline: undefined };
  }

  #dispatch({ prepared, ranges, scalars, workgroups }: Launch): void {
    prepared.pipeline ??= this.runtime.pipelines.get(
      prepared.text.label,
      moduleText(prepared.text),
      prepared.text.tensors.map(accessOf),
    );
    this.runtime.dispatch({ pipeline: prepared.pipeline, bindings: ranges, scalars, workgroups });
  }

  #dispatchMerged(group: readonly Launch[]): void {
    const { bindings, slots } = sharedBindings(group);
    const key = `${group.map(({ prepared }) => prepared.id)}/${slots}`;
    const pipeline = this.#merged.get(key) ?? this.#merge(key, group, bindings, slots);
    const words = group.map(({ prepared }) => uniformWords(prepared.text));
    const firsts = words.reduce((sum, count) => sum + count, 0);
    const scalars = new Uint32Array(firsts + MOST_MERGED);
    let at = 0;
    let workgroups = 0;
    group.forEach((launch, piece) => {
      scalars.set(launch.scalars, at);
      scalars[firsts + piece] = workgroups;
      at += words[piece] as number;
      workgroups += launch.workgroups;
    });
    this.runtime.dispatch({ pipeline, bindings: bindings.map(({ range }) => range), scalars, workgroups });
  }

  #merge(
    key: string,
    group: readonly Launch[],
    bindings: readonly RangeBinding[],
    slots: readonly (readonly number[])[],
  ): PipelineEntry {
    const texts = group.map(({ prepared }) => prepared.text);
    const pipeline = this.runtime.pipelines.get(
      texts.map(({ label }) => label).join(" + "),
      mergedModule(texts, slots, bindings),
      bindings.map(accessOf),
    );
    this.#merged.set(key, pipeline);
    return pipeline;
  }

  /** Launches of one level, cut into groups that fit one module. */
  #groups(level: readonly Launch[]): Launch[][] {
    const groups: Launch[][] = [];
    for (const launch of level) {
      const group = groups.find((one) => this.#fits([...one, launch]));
      if (group) group.push(launch);
      else groups.push([launch]);
    }
    return groups;
  }

  #fits(launches: readonly Launch[]): boolean {
    if (launches.length > MOST_MERGED) return false;
    const { bindings } = sharedBindings(launches);
    if (bindings.length > this.facts.maxStorageBuffers) return false;
    const key = `${launches.map(({ prepared }) => prepared.id)}`;
    let fits = this.#fitting.get(key);
    if (fits === undefined) {
      const texts = launches.map(({ prepared }) => prepared.text);
      const sizes = new Set(texts.map(mergeableSize));
      const words = texts.reduce((sum, text) => sum + uniformWords(text), MOST_MERGED);
      fits =
        sizes.size === 1 &&
        !sizes.has(undefined) &&
        4 * words <= SCALAR_BYTES &&
        workgroupBytes(texts) <= this.facts.maxWorkgroupBytes;
      this.#fitting.set(key, fits);
    }
    return fits;
  }
}

const accessOf = ({ isWritten }: { readonly isWritten: boolean }): Access => (isWritten ? "write" : "read");

/** A binding of a merged dispatch. */
interface RangeBinding extends SharedBinding {
  readonly range: BufferRange;
}

/** The same memory seen as the same type is one binding; `slots`: the binding of each tensor of each launch. */
function sharedBindings(launches: readonly Launch[]): {
  readonly bindings: readonly RangeBinding[];
  readonly slots: readonly (readonly number[])[];
} {
  const bindings: RangeBinding[] = [];
  const slots = launches.map(({ prepared, ranges }) =>
    prepared.text.tensors.map(({ stored, isWritten }, index) => {
      const range = ranges[index] as BufferRange;
      const known = bindings.findIndex((one) => one.stored === stored && isSameRange(one.range, range));
      if (known >= 0) return known;
      return bindings.push({ stored, isWritten, range }) - 1;
    }),
  );
  return { bindings, slots };
}

const isSameRange = (a: BufferRange, b: BufferRange): boolean =>
  a.buffer === b.buffer && a.offset === b.offset && a.bytes === b.bytes;

const endOf = ({ offset, bytes }: BufferRange): number => offset + bytes;

/** Launches by how many others they must wait for, one after another. */
function levels(launches: readonly Launch[]): Launch[][] {
  const result: Launch[][] = [];
  const level: number[] = [];
  launches.forEach((launch, index) => {
    let own = 0;
    for (let earlier = 0; earlier < index; earlier++) {
      if (mustFollow(launch, launches[earlier] as Launch))
        own = Math.max(own, (level[earlier] as number) + 1);
    }
    level.push(own);
    result[own] ??= [];
    result[own].push(launch);
  });
  return result;
}

/** A buffer may not be read and written in one dispatch, wherever in it, nor be written through overlapping bindings. */
function mustFollow(later: Launch, earlier: Launch): boolean {
  return later.prepared.text.tensors.some((mine, i) =>
    earlier.prepared.text.tensors.some((theirs, j) => {
      const [a, b] = [later.ranges[i] as BufferRange, earlier.ranges[j] as BufferRange];
      if (a.buffer !== b.buffer || (!mine.isWritten && !theirs.isWritten)) return false;
      if (mine.isWritten !== theirs.isWritten) return true;
      const isApart = !a.isWhole && !b.isWhole && (endOf(a) <= b.offset || endOf(b) <= a.offset);
      return !isApart && !(isSameRange(a, b) && mine.stored === theirs.stored);
    }),
  );
}

function packScalars({ words }: Prepared, scalars: Scalars, accumulate: ReadonlySet<string>): Uint32Array {
  const packed = new Uint32Array(words.length);
  for (let index = 0; index < words.length; index++) {
    const { gradient, scalar, isFloat } = words[index] as Prepared["words"][number];
    if (gradient) packed[index] = Number(accumulate.has(gradient));
    else packed[index] = isFloat ? floatBits(scalars[scalar] ?? 0) : (scalars[scalar] ?? 0);
  }
  return packed;
}

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);

function floatBits(value: number): number {
  float[0] = value;
  return bits[0] as number;
}
