/** Turns kernel declarations into WGSL with generated bindings, cached pipelines and dispatches. */

import type { BufferRange, GpuBuffer } from "../../gpu/buffers.js";
import type { LaunchedKernel, OpApplication } from "../../gpu/profiler.js";
import {
  type Access,
  type KernelFacts,
  type PipelineEntry,
  type Runtime,
  SCALAR_BYTES,
} from "../../gpu/runtime.js";
import { launchWeightGradient } from "../layers/weight_gradient.js";
import { piecesOf } from "./array_view.js";
import { type GradientDoor, targetsOf } from "./gradient_targets.js";
import { conflict, isSameRange, levels } from "./launch_order.js";
import {
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
} from "./op.js";
import { unitOf } from "./op_unit.js";
import { type Prepared, PreparedKernels, packScalars, wholeRange } from "./prepared.js";

const NOTHING: ReadonlySet<string> = new Set();

/** A launch with all that its dispatch needs. */
interface Launch {
  readonly prepared: Prepared;
  readonly ranges: readonly BufferRange[];
  readonly scalars: Uint32Array;
  readonly workgroups: number;
  readonly isLate: boolean;
  readonly kernel: LaunchedKernel;
}

/** A launch that waits for a dispatch to join. */
interface Late {
  readonly launch: Launch;
  /** Scratch memory to be returned once it is dispatched. */
  readonly borrowed: GpuBuffer[];
}

/** Launches kernels on one runtime. Keeps prepared kernels by constants, present tensors and their storage types. */
export class Launcher {
  readonly #kernels: PreparedKernels;
  readonly #merged = new Map<string, PipelineEntry>();
  /** Whether kernels fit one module, by their ids. */
  readonly #fitting = new Map<string, boolean>();
  /** Launches held back by `together`. */
  #held: Launch[] | undefined;
  /** Launches that may join a later dispatch; undefined outside of `joiningLate`. */
  #late: Late[] | undefined;

  /** @param facts what kernels are chosen by; default: those of the runtime */
  constructor(
    readonly runtime: Runtime,
    readonly facts: KernelFacts = runtime.facts,
  ) {
    this.#kernels = new PreparedKernels(facts);
  }

  /**
   * Appends one kernel to the command list.
   * @param views tensors by the names the kernel reads and writes; optional ones may be absent
   * @param accumulate written gradients that are added to instead of overwritten
   */
  run(unit: KernelUnit, views: OptionalViews, scalars: Scalars, accumulate = NOTHING): void {
    this.#run(unit, views, scalars, accumulate, { isLate: false });
  }

  /**
   * Like `run`, for what nothing needs soon. Inside `joiningLate` it joins a later dispatch of its workgroup size where
   * it fits, and comes in any case before a launch that depends on it.
   */
  runLate(unit: KernelUnit, views: OptionalViews, scalars: Scalars, accumulate = NOTHING): void {
    this.#run(unit, views, scalars, accumulate, { isLate: true });
  }

  #run(
    unit: KernelUnit,
    views: OptionalViews,
    scalars: Scalars,
    accumulate: ReadonlySet<string>,
    {
      isLate: mayWait,
      application,
    }: { readonly isLate: boolean; readonly application?: OpApplication | undefined },
  ): void {
    const workgroups = unit.kernel.workgroups(scalars, this.facts);
    if (workgroups <= 0) return;
    const prepared = this.#kernels.get(unit, views, scalars);
    const isLate = mayWait && this.#late !== undefined;
    const launch = {
      prepared,
      ranges: prepared.names.map((name) => wholeRange(views[name] as ArrayView, name, unit)),
      scalars: packScalars(prepared, scalars, accumulate),
      workgroups,
      isLate,
      kernel: { op: unit.op, entry: unit.kernel.entry, sizes: scalars, application },
    };
    if (this.#held) this.#held.push(launch);
    else if (isLate) this.#postpone(launch);
    else this.#launch([launch]);
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
    // a launch may wait for a later dispatch only if no launch after it touches the same memory
    const late = held.filter(
      (launch, index) => launch.isLate && !held.slice(index + 1).some((later) => conflict(launch, later)),
    );
    for (const level of levels(held.filter((launch) => !late.includes(launch)))) {
      for (const group of this.#groups(level)) this.#launch(group);
    }
    for (const launch of late) this.#postpone(launch);
  }

  /**
   * Runs a body in which what was given to `runLate` waits for dispatches to join; none is left waiting at its end. The body
   * must not touch memory that waiting launches use but by launches, or after `settle`.
   * @remarks without effect on adapters that run on the CPU: compiling more modules there costs more than the dispatches
   */
  joiningLate(body: () => void): void {
    if (this.#late || this.facts.isSoftware) {
      body();
      return;
    }
    this.#late = [];
    try {
      body();
    } finally {
      this.settle();
      this.#late = undefined;
    }
  }

  /** Dispatches all that waits. */
  settle(): void {
    const waiting = this.#late?.splice(0) ?? [];
    for (const group of this.#groups(waiting.map(({ launch }) => launch))) this.#dispatchGroup(group);
    for (const { borrowed } of waiting) this.#giveBack(borrowed);
  }

  #postpone(launch: Launch): void {
    const late = this.#late as Late[];
    if (late.length === MOST_MERGED || late.some((other) => conflict(launch, other.launch))) this.settle();
    late.push({ launch, borrowed: [] });
  }

  /** Dispatches launches of one module, and with them those that wait and fit in; before them those they depend on. */
  #launch(group: readonly Launch[]): void {
    const late = this.#late;
    if (!late?.length) {
      this.#dispatchGroup(group);
      return;
    }
    if (late.some(({ launch }) => group.some((one) => conflict(one, launch)))) this.settle();
    const all = [...group];
    const joining = late.filter(({ launch }) => this.#fits([...all, launch]) && all.push(launch));
    this.#late = late.filter((one) => !joining.includes(one));
    this.#dispatchGroup(all);
    for (const { borrowed } of joining) this.#giveBack(borrowed);
  }

  /** Returns scratch memory to the pool, or leaves it to a waiting launch that uses it. */
  #giveBack(borrowed: readonly GpuBuffer[]): void {
    for (const buffer of borrowed) {
      const user = this.#late?.find(({ launch }) => launch.ranges.some((range) => range.buffer === buffer));
      if (user) user.borrowed.push(buffer);
      else this.runtime.buffers.release(buffer);
    }
  }

  /**
   * Runs an op's forward or backward plan; scratch memory is returned to the pool at the end.
   * @param door asked about each gradient of a parameter before it is computed, see `PlanContext.weightGradient`
   */
  runPlan(
    op: OpDefinition,
    plan: Plan,
    views: Readonly<Record<string, ArrayView>>,
    scalars: Scalars,
    accumulate: ReadonlySet<string> = NOTHING,
    door?: GradientDoor,
  ): void {
    this.within(
      op.name,
      (context) => {
        if (typeof plan === "function") plan(context);
        else this.#runKernels(op, plan, context);
      },
      {
        views,
        scalars,
        accumulate,
        door,
        application: { op: op.name, direction: plan === op.forward ? "forward" : "backward", sizes: scalars },
      },
    );
  }

  /** Runs a body with scratch memory that is returned to the pool at its end. @param label of the memory */
  within(
    label: string,
    body: (context: PlanContext) => void,
    {
      views = {},
      scalars = {},
      accumulate = NOTHING,
      door,
      application,
    }: Partial<Pick<PlanContext, "views" | "scalars" | "accumulate">> & {
      readonly door?: GradientDoor | undefined;
      /** What its launches are for, in profiles. */
      readonly application?: OpApplication;
    } = {},
  ): void {
    const borrowed: GpuBuffer[] = [];
    const scratch = (name: string, shape: readonly number[], dtype: DType = "f32"): ArrayView => {
      const bytes = byteLength(shape, dtype);
      const buffer = this.runtime.buffers.acquire(bytes, `${label}.scratch.${name}`);
      borrowed.push(buffer);
      return { range: { buffer, offset: 0, bytes, isWhole: true }, shape, dtype };
    };
    const asked: (() => void)[] = [];
    const context: PlanContext = {
      facts: this.facts,
      scalars,
      views,
      accumulate,
      scratch,
      run: (unit, unitViews, unitScalars, unitAccumulate = NOTHING) =>
        this.#run(unit, unitViews, unitScalars, unitAccumulate, { isLate: false, application }),
      runLate: (unit, unitViews, unitScalars, unitAccumulate = NOTHING) =>
        this.#run(unit, unitViews, unitScalars, unitAccumulate, { isLate: true, application }),
      together: (body) => {
        this.together(body);
        // observers launch what they like, after the launches that share dispatches
        if (!this.#held) for (const ask of asked.splice(0)) ask();
      },
      clear: (view) => {
        this.settle();
        for (const piece of piecesOf(view)) this.runtime.clear(piece.view.range);
      },
      weightGradient: (factors) => {
        const targets = targetsOf(factors, views, accumulate);
        if (!targets.target && !targets.biasTarget) return;
        const launch = () => launchWeightGradient(context, factors, targets);
        if (!door) launch();
        else if (this.#held) asked.push(() => door(factors, targets, context) || launch());
        else if (!door(factors, targets, context)) launch();
      },
    };
    body(context);
    this.#giveBack(borrowed);
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
      context.run(unitOf(op, kernel), views, context.scalars, context.accumulate);
    }
  }

  #dispatchGroup(group: readonly Launch[]): void {
    if (group.length === 1) this.#dispatch(group[0] as Launch);
    else this.#dispatchMerged(group);
  }

  #dispatch({ prepared, ranges, scalars, workgroups, kernel }: Launch): void {
    prepared.pipeline ??= this.runtime.pipelines.get(
      prepared.text.label,
      moduleText(prepared.text),
      prepared.text.tensors.map(accessOf),
    );
    const kernels = [kernel];
    this.runtime.dispatch({ pipeline: prepared.pipeline, bindings: ranges, scalars, workgroups, kernels });
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
    const kernels = group.map(({ kernel }) => kernel);
    const ranges = bindings.map(({ range }) => range);
    this.runtime.dispatch({ pipeline, bindings: ranges, scalars, workgroups, kernels });
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
        (!this.facts.isSoftware || isShort(texts)) &&
        sizes.size === 1 &&
        !sizes.has(undefined) &&
        4 * words <= SCALAR_BYTES &&
        workgroupBytes(texts) <= this.facts.maxWorkgroupBytes;
      this.#fitting.set(key, fits);
    }
    return fits;
  }
}

/** Characters of all kernels of one module on adapters that run on the CPU. */
const MOST_TEXT = 10_000;

/**
 * Whether kernels compile fast in one module. Mesa's compiler takes up to twice as long for long kernels side by side as for
 * one after the other, and a long kernel that stands alone is compiled once for all that it would be mixed with.
 */
const isShort = (texts: readonly KernelText[]): boolean =>
  texts.reduce((sum, { body }) => sum + body.length, 0) <= MOST_TEXT;

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
