/** Turns a kernel declaration into WGSL with generated bindings, a cached pipeline and a dispatch. */
import { ArgumentError } from "../core/errors.js";
import type { GpuBuffer } from "../gpu/buffers.js";
import {
  type Access,
  type DeviceFacts,
  type PipelineEntry,
  type Runtime,
  SCALAR_BYTES,
} from "../gpu/runtime.js";
import {
  type ArrayView,
  byteLength,
  type DType,
  type Kernel,
  type KernelUnit,
  type OpDefinition,
  type Plan,
  type PlanContext,
  type Scalars,
  type ShaderInput,
} from "./op.js";

const NOTHING: ReadonlySet<string> = new Set();

interface Prepared {
  readonly pipeline: PipelineEntry;
  /** Bound tensors in binding order. */
  readonly names: readonly string[];
}

/** Launches kernels on one runtime. Keeps prepared pipelines per kernel, constants and present tensors. */
export class Launcher {
  readonly #prepared = new Map<KernelUnit, Map<string, Prepared>>();
  readonly #units = new Map<Kernel, KernelUnit>();
  readonly facts: DeviceFacts;

  constructor(readonly runtime: Runtime) {
    this.facts = runtime.facts;
  }

  /**
   * Appends one kernel to the command list.
   * @param views tensors by the names the kernel reads and writes; optional ones may be absent
   * @param accumulate written gradients that are added to instead of overwritten
   */
  run(
    unit: KernelUnit,
    views: Readonly<Record<string, ArrayView>>,
    scalars: Scalars,
    accumulate = NOTHING,
  ): void {
    const { pipeline, names } = this.#prepare(unit, views, scalars);
    this.runtime.dispatch({
      pipeline,
      bindings: names.map((name) => (views[name] as ArrayView).range),
      scalars: packScalars(unit, scalars, accumulate),
      workgroups: unit.kernel.workgroups(scalars, this.facts),
    });
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
      const bytes = byteLength(shape);
      const buffer = this.runtime.buffers.acquire(bytes, `${op.name}.${name}`);
      borrowed.push(buffer);
      return { range: { buffer, offset: 0, bytes }, shape, dtype };
    };
    const context: PlanContext = {
      facts: this.facts,
      scalars,
      views,
      accumulate,
      scratch,
      run: (unit, unitViews, unitScalars, unitAccumulate) =>
        this.run(unit, unitViews, unitScalars, unitAccumulate),
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
        if (!views[name] && source) views[name] = context.scratch(name, source.shape);
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

  #prepare(unit: KernelUnit, views: Readonly<Record<string, ArrayView>>, scalars: Scalars): Prepared {
    const { kernel } = unit;
    let variants = this.#prepared.get(unit);
    if (!variants) {
      variants = new Map();
      this.#prepared.set(unit, variants);
    }
    let key = "";
    for (const name of kernel.constants ?? []) key += `${scalars[name]},`;
    for (const name of kernel.reads) key += views[name] ? "1" : "0";
    const known = variants.get(key);
    if (known) return known;
    const prepared = this.#build(unit, views, scalars);
    variants.set(key, prepared);
    return prepared;
  }

  #build(unit: KernelUnit, views: Readonly<Record<string, ArrayView>>, scalars: Scalars): Prepared {
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
    const accesses: Access[] = names.map((name) => (kernel.writes.includes(name) ? "write" : "read"));
    const label = `${unit.op}.${kernel.entry}`;
    const header = names.map((name, index) => {
      const element = elements[name] ?? (views[name] as ArrayView).dtype;
      const access = accesses[index] === "write" ? "read_write" : "read";
      return `@group(0) @binding(${index + 1}) var<storage, ${access}> ${name}: array<${element}>;`;
    });
    const stores = gradientNames(kernel).map((name) => storeFunction(name, elements[name] ?? "f32"));
    const fields = scalarFields(unit).map(({ name, type }) => `  ${name}: ${type},`);
    const body = kernel.shader(input);
    // directives must come first in a WGSL module
    const directives = body.match(/^\s*(enable|requires|diagnostic)\b[^;]*;/gm) ?? [];
    const code = [
      ...directives.map((line) => line.trim()),
      `struct Params {\n${fields.join("\n")}\n}`,
      "@group(0) @binding(0) var<uniform> params: Params;",
      ...header,
      ...stores,
      "fn workgroup_index(group: vec3<u32>, groups: vec3<u32>) -> u32 { return group.x + group.y * groups.x; }",
      directives.reduce((text, line) => text.replace(line, ""), body),
    ].join("\n");
    return { pipeline: this.runtime.pipelines.get(label, code, accesses), names };
  }
}

function gradientNames(kernel: Kernel): string[] {
  return kernel.writes.filter((name) => name.startsWith("d_"));
}

function storeFunction(name: string, element: string): string {
  return `fn store_${name}(index: u32, value: ${element}) {
  if (params.accumulate_${name} != 0u) { ${name}[index] += value; } else { ${name}[index] = value; }
}`;
}

function scalarFields(unit: KernelUnit): { name: string; type: "f32" | "u32" }[] {
  const fields = Object.entries(unit.scalars).map(([name, type]) => ({ name, type }));
  for (const name of gradientNames(unit.kernel)) fields.push({ name: `accumulate_${name}`, type: "u32" });
  if (fields.length === 0) fields.push({ name: "unused", type: "u32" });
  return fields;
}

function packScalars(unit: KernelUnit, scalars: Scalars, accumulate: ReadonlySet<string>): Uint32Array {
  const fields = scalarFields(unit);
  if (fields.length * 4 > SCALAR_BYTES)
    throw new ArgumentError(`[${unit.op}] more than ${SCALAR_BYTES / 4} scalars.`);
  const words = new Uint32Array(fields.length);
  const floats = new Float32Array(words.buffer);
  fields.forEach(({ name, type }, index) => {
    const value = name.startsWith("accumulate_")
      ? Number(accumulate.has(name.slice("accumulate_".length)))
      : scalars[name];
    if (type === "u32") words[index] = value ?? 0;
    else floats[index] = value ?? 0;
  });
  return words;
}
