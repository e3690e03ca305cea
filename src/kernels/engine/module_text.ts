/** WGSL modules around kernel texts: bindings, accessors and uniforms; of one kernel, or of several side by side. */

/** A tensor as one kernel sees it. */
export interface BoundTensor {
  readonly name: string;
  /** WGSL type the kernel computes with: f32, u32, vec4<f32>. */
  readonly element: string;
  /** WGSL type in memory: the same, its f16 counterpart, or words with two bf16 each. */
  readonly stored: string;
  readonly isBfloat?: boolean;
  readonly isWritten: boolean;
}

/** One kernel's text and all that its module must declare. */
export interface KernelText {
  readonly label: string;
  readonly tensors: readonly BoundTensor[];
  readonly fields: readonly { readonly name: string; readonly type: "f32" | "u32" }[];
  /** Written gradients, each with a `store_` function that adds where the uniform says so. */
  readonly gradients: readonly string[];
  readonly body: string;
}

/** A storage binding of a merged module: the same memory may be seen by several kernels. */
export interface SharedBinding {
  readonly stored: string;
  readonly isWritten: boolean;
}

/** Directives must come first in a module. */
const DIRECTIVE = /^\s*(enable|requires|diagnostic)\b[^;]*;/gm;
const ENTRY = /@compute\s+@workgroup_size\(([^)]*)\)\s*fn main\(([^{]*)\)\s*\{/;
const PARAMETER = /@builtin\((\w+)\)\s*(\w+)\s*:\s*([\w<>]+)/g;
const WORKGROUP_ARRAY = /var<workgroup>\s+(\w+)\s*:\s*array<([\w<>]+),\s*(\d+)>;/g;
const DECLARED = /\b(?:fn|const|override|alias|struct)\s+(\w+)|var<(?:private|workgroup)>\s+(\w+)/g;

/** Builtins that stay right when a kernel's workgroups do not begin at 0: `workgroup_index` subtracts its first. */
const MERGEABLE = new Set([
  "workgroup_id",
  "num_workgroups",
  "local_invocation_index",
  "subgroup_invocation_id",
  "subgroup_size",
]);

/** The module of one kernel. */
export function moduleText(kernel: KernelText): string {
  const { tensors, fields, body } = kernel;
  return [
    ...directives([kernel]),
    `struct Params {\n${fieldLines(fields)}\n}`,
    "@group(0) @binding(0) var<uniform> params: Params;",
    ...tensors.map(({ name, stored, isWritten }, index) =>
      bindingLine(index + 1, name, { stored, isWritten }),
    ),
    accessors(kernel),
    workgroupIndex(""),
    withoutDirectives(body),
  ].join("\n");
}

/** Invocations of a workgroup as the text spells them, when the kernel can share a dispatch; else undefined. */
export function mergeableSize({ body }: KernelText): string | undefined {
  const entry = body.match(ENTRY);
  if (!entry) return undefined;
  const builtins = [...(entry[2] as string).matchAll(PARAMETER)].map(([, builtin]) => builtin as string);
  return builtins.every((builtin) => MERGEABLE.has(builtin)) ? entry[1] : undefined;
}

/**
 * One module of several kernels of equal workgroup size. Its uniforms are the kernels' own, each at a multiple of 16
 * bytes (`uniformWords`), then the first workgroup of each kernel.
 * @param slots number of the binding (from 0) of each tensor of each kernel
 */
export function mergedModule(
  kernels: readonly KernelText[],
  slots: readonly (readonly number[])[],
  bindings: readonly SharedBinding[],
): string {
  const size = mergeableSize(kernels[0] as KernelText);
  const memory = new Map<string, { stored: string; count: number }>();
  const builtins = new Map<string, string>();
  const bodies: string[] = [];
  const calls: string[] = [];
  kernels.forEach((kernel, piece) => {
    const own = `${accessors(kernel)}\n${withoutDirectives(kernel.body)}`;
    const names = new Map<string, string>([
      ["params", `params.kernel_${piece}`],
      ["workgroup_index", `workgroup_index_${piece}`],
    ]);
    for (const [, declared, variable] of own.matchAll(DECLARED)) {
      const name = (declared ?? variable) as string;
      names.set(name, `${name}_${piece}`);
    }
    kernel.tensors.forEach(({ name }, index) => {
      names.set(name, `tensor_${slots[piece]?.[index]}`);
    });
    shareWorkgroupMemory(own, names, memory);
    const parameters = kernel.body.match(ENTRY)?.[2];
    const passed = [...(parameters as string).matchAll(PARAMETER)].map(([, builtin, , type]) => {
      builtins.set(builtin as string, type as string);
      return builtin as string;
    });
    const text = own
      .replace(ENTRY, (_, __, list: string) => `fn main(${list.replace(/@builtin\(\w+\)/g, "")}) {`)
      .replace(WORKGROUP_ARRAY, "");
    bodies.push(workgroupIndex(`_${piece}`, `params.first[${piece}]`), rename(text, names));
    calls.push(`main_${piece}(${passed.join(", ")});`);
  });
  builtins.set("workgroup_id", "vec3<u32>");
  builtins.set("num_workgroups", "vec3<u32>");
  const structs = kernels.map(({ fields }, piece) => `struct Params${piece} {\n${fieldLines(fields)}\n}`);
  const members = kernels.map((_, piece) => `  @align(16) kernel_${piece}: Params${piece},`);
  const branches = calls.map((call, piece) =>
    piece + 1 < calls.length ? `if (index < params.first[${piece + 1}]) { ${call} }` : `{ ${call} }`,
  );
  return [
    ...directives(kernels),
    ...structs,
    `struct Params {\n${members.join("\n")}\n  @align(16) first: vec4<u32>,\n}`,
    "@group(0) @binding(0) var<uniform> params: Params;",
    ...bindings.map((binding, slot) => bindingLine(slot + 1, `tensor_${slot}`, binding)),
    ...[...memory].map(([name, { stored, count }]) => `var<workgroup> ${name}: array<${stored}, ${count}>;`),
    ...bodies,
    `@compute @workgroup_size(${size})
fn main(${[...builtins].map(([builtin, type]) => `@builtin(${builtin}) ${builtin}: ${type}`).join(", ")}) {
  let index = workgroup_id.x + workgroup_id.y * num_workgroups.x;
  ${branches.join(" else ")}
}`,
  ].join("\n");
}

/** Most kernels of one merged module. */
export const MOST_MERGED = 4;

/** Words that a kernel's uniforms take in a merged module. */
export function uniformWords({ fields }: KernelText): number {
  return 4 * Math.ceil(fields.length / 4);
}

/** Bytes of workgroup memory of kernels that run side by side: arrays of one type share their memory. */
export function workgroupBytes(kernels: readonly KernelText[]): number {
  const memory = new Map<string, { stored: string; count: number }>();
  for (const { body } of kernels) shareWorkgroupMemory(body, new Map(), memory);
  let bytes = 0;
  for (const { stored, count } of memory.values()) {
    const width = Number(stored.match(/^vec(\d)/)?.[1] ?? 1);
    bytes += 16 * Math.ceil((count * (width === 3 ? 4 : width) * (stored.includes("f16") ? 2 : 4)) / 16);
  }
  return bytes;
}

/** A workgroup runs one of the kernels, so the n-th array of a type is the same memory in all of them. */
function shareWorkgroupMemory(
  text: string,
  names: Map<string, string>,
  memory: Map<string, { stored: string; count: number }>,
): void {
  const seen = new Map<string, number>();
  for (const [, name, stored, count] of text.matchAll(WORKGROUP_ARRAY) as Iterable<
    [string, string, string, string]
  >) {
    const number = seen.get(stored) ?? 0;
    seen.set(stored, number + 1);
    const shared = `memory_${stored.replace(/\W/g, "")}_${number}`;
    names.set(name, shared);
    memory.set(shared, { stored, count: Math.max(Number(count), memory.get(shared)?.count ?? 0) });
  }
}

/** Replaces identifiers; members and swizzles (after a dot) and attributes stay. */
function rename(text: string, names: ReadonlyMap<string, string>): string {
  return text.replace(/(?<![\w.@])[A-Za-z_]\w*/g, (name) => names.get(name) ?? name);
}

function directives(kernels: readonly KernelText[]): string[] {
  const lines = new Set<string>();
  if (kernels.some(({ tensors }) => tensors.some(({ stored }) => stored.includes("f16"))))
    lines.add("enable f16;");
  for (const { body } of kernels) for (const [line] of body.matchAll(DIRECTIVE)) lines.add(line.trim());
  return [...lines];
}

function withoutDirectives(body: string): string {
  return body.replace(DIRECTIVE, "");
}

function fieldLines(fields: KernelText["fields"]): string {
  return fields.map(({ name, type }) => `  ${name}: ${type},`).join("\n");
}

function bindingLine(binding: number, name: string, { stored, isWritten }: SharedBinding): string {
  return `@group(0) @binding(${binding}) var<storage, ${isWritten ? "read_write" : "read"}> ${name}: array<${stored}>;`;
}

function workgroupIndex(suffix: string, first?: string): string {
  const index = `group.x + group.y * groups.x${first ? ` - ${first}` : ""}`;
  return `fn workgroup_index${suffix}(group: vec3<u32>, groups: vec3<u32>) -> u32 { return ${index}; }`;
}

/** `read_x(index)` and `write_x(index, value)`, which convert from and to the type in memory, and `store_d_x`. */
function accessors({ tensors, gradients, body }: KernelText): string {
  const lines: string[] = [];
  for (const { name, element, stored, isBfloat } of tensors) {
    if (isBfloat) {
      lines.push(bfloatReader(name, element));
      continue;
    }
    const value = element === stored ? `${name}[index]` : `${element}(${name}[index])`;
    if (body.includes(`read_${name}(`))
      lines.push(`fn read_${name}(index: u32) -> ${element} { return ${value}; }`);
    const converted = element === stored ? "value" : `${stored}(value)`;
    if (body.includes(`write_${name}(`))
      lines.push(`fn write_${name}(index: u32, value: ${element}) { ${name}[index] = ${converted}; }`);
    if (gradients.includes(name)) {
      // one store for both cases: a store is the larger part of a kernel's code on adapters that run on the CPU
      lines.push(`fn store_${name}(index: u32, value: ${element}) {
  var sum = value;
  if (params.accumulate_${name} != 0u) { sum = ${value} + value; }
  ${name}[index] = ${element === stored ? "sum" : `${stored}(sum)`};
}`);
    }
  }
  return lines.join("\n");
}

/** The upper half of an f32 is the bf16 of equal value: widening is exact and needs no feature. */
function bfloatReader(name: string, element: string): string {
  const head = `fn read_${name}(index: u32) -> ${element}`;
  const halves = (word: string) => `${word} << 16u, ${word} & 0xffff0000u`;
  if (element === "f32") {
    const word = `${name}[index >> 1u]`;
    return `${head} { let pair = ${word}; return bitcast<f32>(select(pair << 16u, pair & 0xffff0000u, (index & 1u) == 1u)); }`;
  }
  const words = element === "vec4<f32>" ? `${halves("pair.x")}, ${halves("pair.y")}` : halves("pair");
  return `${head} { let pair = ${name}[index]; return bitcast<${element}>(${element.replace("f32", "u32")}(${words})); }`;
}
