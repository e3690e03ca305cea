/** The layer rules of the source tree, checked on import lines. */

/** Folder -> rank and one line of what it is. A file imports its own folder or a folder of lower rank. */
export const LAYERS: Readonly<Record<string, { readonly rank: number; readonly about: string }>> = {
  core: { rank: 0, about: "no GPU, no I/O: errors, seeded randomness, statistics, run-record schema" },
  gpu: { rank: 1, about: "the only folder that touches GPUDevice: buffers, pipelines, command list, timers" },
  env: {
    rank: 1,
    about: "text worlds: the interface, ALFWorld, our own household games, the expert planner",
  },
  report: { rank: 1, about: "run records and benchmarks to tables and SVG" },
  shaders: { rank: 1, about: "WGSL text, one file per op" },
  kernels: { rank: 2, about: "one file per op: contract, launch, float64 reference, cost" },
  autograd: { rank: 3, about: "tensor, tape, flat parameters" },
  model: { rank: 4, about: "Qwen2 decoder, generation, tokenizer, checkpoint formats" },
  optim: { rank: 4, about: "AdamW, schedules" },
  coupling: { rank: 5, about: "gradient coupling: which samples push which, and what that means" },
  config: { rank: 5, about: "settings of a run: schema, sources, messages" },
  rl: { rank: 6, about: "rows, play, advantages, objective, update, the training loop" },
  host: { rank: 7, about: "Node: files, drivers, model and run folders, worlds on disk" },
  bench: { rank: 8, about: "benchmarks: workloads, peers, recorded results" },
  watch: {
    rank: 8,
    about: "the server of `uncouple watch`: run folders, read only, over HTTP on this machine",
  },
  web: { rank: 9, about: "the page of `uncouple watch`: Preact and ECharts, bundled into dist/web/" },
  cli: { rank: 9, about: "commands, argv, environment variables, console" },
};

/** Folders that must also run in a browser: nothing from `node:`. */
const PORTABLE = [
  "core",
  "gpu",
  "env",
  "report",
  "shaders",
  "kernels",
  "autograd",
  "model",
  "optim",
  "coupling",
  "config",
  "rl",
  "web",
];
/** The Vulkan loader reads the process's own environment, so one file must write it; a child process inherits it. */
const MAY_USE_ENVIRONMENT = ["src/host/gpu/native.ts", "bench/first_step_child.ts"];
const DEVICE_CALLS =
  /\b(createBuffer|createComputePipeline|createComputePipelineAsync|createBindGroup|createCommandEncoder)\(|queue\.(submit|writeBuffer)/;

export interface Edge {
  readonly from: string;
  readonly to: string;
}

/** Folder of a project path: `src/gpu/x.ts` -> gpu, `shaders/x.ts` -> shaders, also bench and web; undefined elsewhere. */
function layerOf(path: string): string | undefined {
  const match = path.match(/^(?:src\/([a-z_]+)\/|(shaders)\/|(bench)\/|(web)\/)/);
  return match?.slice(1).find((name) => name !== undefined);
}

function imports(path: string, text: string): string[] {
  const found = [...text.matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1]);
  const folder = path.split("/").slice(0, -1);
  return found.map((target) => {
    if (!target.startsWith(".")) return target;
    const parts = [...folder];
    for (const part of target.split("/")) {
      if (part === "..") parts.pop();
      else if (part !== ".") parts.push(part);
    }
    return parts.join("/");
  });
}

/** Edges between folders, for the picture. */
export function layerEdges(files: ReadonlyMap<string, string>): Edge[] {
  const seen = new Map<string, Edge>();
  for (const [path, text] of files) {
    const from = layerOf(path);
    for (const target of imports(path, text)) {
      const to = layerOf(target);
      if (from && to && from !== to) seen.set(`${from}>${to}`, { from, to });
    }
  }
  return [...seen.values()].sort((a, b) => `${a.from}>${a.to}`.localeCompare(`${b.from}>${b.to}`));
}

/** Every broken rule as `path: what`. */
export function violations(files: ReadonlyMap<string, string>): string[] {
  const broken: string[] = [];
  for (const [path, text] of files) {
    const from = layerOf(path);
    if (!from) continue;
    const layer = LAYERS[from];
    if (!layer) {
      broken.push(`${path}: folder ${from} has no rank in LAYERS`);
      continue;
    }
    for (const target of imports(path, text)) {
      const to = layerOf(target);
      if (to && to !== from && (LAYERS[to]?.rank ?? 99) >= layer.rank) {
        broken.push(`${path}: imports ${to} (rank ${LAYERS[to]?.rank}) from ${from} (rank ${layer.rank})`);
      }
      if (target.startsWith("node:") && PORTABLE.includes(from)) broken.push(`${path}: imports ${target}`);
    }
    if (from !== "cli" && !MAY_USE_ENVIRONMENT.includes(path) && /\bprocess\.env\b|\bconsole\./.test(text)) {
      broken.push(`${path}: prints or reads the environment below cli`);
    }
    if (from !== "gpu" && DEVICE_CALLS.test(text)) broken.push(`${path}: touches the GPU device outside gpu`);
  }
  return broken;
}
