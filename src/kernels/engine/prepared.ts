/** Kernels made ready for what they are launched with: constants, present tensors and storage types. */
import { ArgumentError } from "../../core/errors.js";
import { type BufferRange, type KernelFacts, type PipelineEntry, SCALAR_BYTES } from "../../gpu/runtime.js";
import type { BoundTensor, KernelText } from "./module_text.js";
import type { ArrayView, KernelUnit, OptionalViews, Scalars, ShaderInput } from "./op.js";

/** A kernel for certain constants, present tensors and storage types. */
export interface Prepared {
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

/** Keeps every prepared kernel of one adapter. */
export class PreparedKernels {
  readonly #variants = new Map<KernelUnit, Map<string, Prepared>>();
  readonly #facts: KernelFacts;
  #count = 0;

  constructor(facts: KernelFacts) {
    this.#facts = facts;
  }

  /** The kernel as these tensors and constants want it. */
  get(unit: KernelUnit, views: OptionalViews, scalars: Scalars): Prepared {
    const { kernel } = unit;
    let variants = this.#variants.get(unit);
    if (!variants) {
      variants = new Map();
      this.#variants.set(unit, variants);
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
    const input: ShaderInput = { constants, has: (name) => views[name] !== undefined, facts: this.#facts };
    const elements = kernel.elements?.(input) ?? {};
    const names = [...kernel.reads, ...kernel.writes].filter((name) => views[name]);
    const tensors = names.map((name): BoundTensor => {
      const { dtype } = views[name] as ArrayView;
      const element = elements[name] ?? (dtype === "u32" ? "u32" : "f32");
      const isWritten = kernel.writes.includes(name);
      if (dtype === "bf16") {
        if (isWritten)
          throw new ArgumentError(
            `[${unit.op}.${kernel.entry}] ${name} is written: got bf16, expected f32 or f16. Store it as one of them.`,
          );
        return { name, element, stored: wordsOf(element), isWritten, isBfloat: true };
      }
      const stored = dtype === "f16" ? element.replace("f32", "f16") : element;
      return { name, element, stored, isWritten };
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
}

/** Two bf16 lie in a word. */
const wordsOf = (element: string): string => (element === "vec4<f32>" ? "vec2<u32>" : "u32");

/** The uniforms of one launch; a gradient's word tells whether it is added to. */
export function packScalars(
  { words }: Prepared,
  scalars: Scalars,
  accumulate: ReadonlySet<string>,
): Uint32Array {
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

/** @throws ArgumentError for a matrix in pieces, of which the kernel would see the first only */
export function wholeRange(
  { range, pieces, shape }: ArrayView,
  name: string,
  { op, kernel }: KernelUnit,
): BufferRange {
  if (!pieces) return range;
  throw new ArgumentError(
    `[${op}.${kernel.entry}] ${name} is larger than what this adapter can bind: got [${shape}] in ${pieces.length} pieces, expected one. Use an adapter with a larger limit, or store it in fewer bytes.`,
  );
}
