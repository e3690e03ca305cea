/** PyTorch in a child process, eager or compiled, on the best device it finds. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const packages = [];

const SCRIPT = fileURLToPath(new URL("torch_peer.py", import.meta.url));

/** Starts the child. @throws Error when Python or torch is missing */
export async function open({ variant, threads }) {
  const folder = await mkdtemp(join(tmpdir(), "uncouple-torch-"));
  const child = new Child(variant, threads);
  let hello;
  try {
    hello = await child.ask({ command: "hello" });
    refuseReferenceBlas(hello);
  } catch (error) {
    child.end();
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
  let files = 0;
  const upload = async (data) => {
    const path = join(folder, `${files++}.bin`);
    await writeFile(path, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    return path;
  };
  const work = (id) => ({
    run: async (calls) => void (await child.ask({ command: "run", id, calls })),
    async result() {
      const path = join(folder, `${files++}.bin`);
      await child.ask({ command: "result", id, path });
      const bytes = await readFile(path);
      return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    },
    losses: async (steps) => (await child.ask({ command: "losses", id, steps })).losses,
    release: async () => void (await child.ask({ command: "release", id })),
  });
  const uploadWeights = async (weights) => {
    const uploaded = [];
    for (const { name, shape, data } of weights) uploaded.push({ name, shape, path: await upload(data) });
    return uploaded;
  };
  const openModel = async (command, { weights, tokens, targets, ...problem }) => {
    const request = { command, ...problem, weights: await uploadWeights(weights) };
    request.tokens = await upload(tokens);
    request.targets = await upload(targets);
    return work((await child.ask(request)).id);
  };
  return {
    name: `torch-${variant}-${hello.device}${threads ? `-${threads}-threads` : ""}`,
    half: true,
    version: versionOf(hello),
    async matmul({ a, b, ...sizes }) {
      const request = { command: "matmul", ...sizes, a: await upload(a), b: await upload(b) };
      return work((await child.ask(request)).id);
    },
    async attention({ q, k, v, ...sizes }) {
      const inputs = { q: await upload(q), k: await upload(k), v: await upload(v) };
      return work((await child.ask({ command: "attention", ...sizes, ...inputs })).id);
    },
    trainingStep: (problem) => openModel("training_step", problem),
    // torch.compile does not go through functorch's transforms
    ...(variant === "eager" && {
      coupling: (problem) => openModel("coupling", problem),
      async iteration({ weights, config, logProbs: _, ...problem }) {
        const path = join(folder, `${files++}.json`);
        await writeFile(path, JSON.stringify(problem));
        const { id } = await child.ask({
          command: "iteration",
          config,
          path,
          weights: await uploadWeights(weights),
        });
        return {
          ...work(id),
          check: () => child.ask({ command: "check", id }),
          phases: () => child.ask({ command: "phases", id }),
        };
      },
    }),
    async close() {
      child.end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** Torch, and on a CPU what computes its products, by how many threads. */
function versionOf({ version, device, blas, threads, fusedAttention }) {
  const named = fusedAttention ? version : `${version} without fused attention`;
  return device === "cpu" ? `${named}, ${blas}, ${threads} ${threads === 1 ? "thread" : "threads"}` : named;
}

/** Debian's torch falls back to a BLAS that is several times slower than what anybody uses: no rival. */
function refuseReferenceBlas({ blas }) {
  if (blas !== "reference BLAS") return;
  throw new Error(
    "[torch] products go to the reference BLAS: got libblas.so, expected OpenBLAS or MKL. Install libopenblas0-pthread.",
  );
}

/** One line of JSON out, one line back, in order. */
class Child {
  #process;
  #waiting = [];
  #errors = "";
  #failure;

  constructor(variant, threads) {
    const env = threads ? { ...process.env, OMP_NUM_THREADS: `${threads}` } : process.env;
    this.#process = spawn("python3", [SCRIPT, variant], { stdio: ["pipe", "pipe", "pipe"], env });
    this.#process.on("error", (error) => this.#fail(new Error(`python3 does not start: ${error.message}`)));
    this.#process.stdin.on("error", (error) => this.#fail(error));
    this.#process.stderr.on("data", (chunk) => {
      this.#errors = (this.#errors + chunk).slice(-4000);
    });
    createInterface({ input: this.#process.stdout }).on("line", (line) => this.#receive(line));
    this.#process.on("close", (code) => {
      const last = this.#errors.trim().split("\n").at(-1);
      this.#fail(new Error(`the torch process ended with code ${code}: ${last || "no message"}`));
    });
  }

  ask(message) {
    return new Promise((resolve, reject) => {
      if (this.#failure) {
        reject(this.#failure);
        return;
      }
      this.#waiting.push({ resolve, reject });
      this.#process.stdin.write(`${JSON.stringify(message)}\n`);
    });
  }

  end() {
    this.#process.stdin.end();
  }

  #receive(line) {
    const { resolve, reject } = this.#waiting.shift() ?? {};
    const answer = JSON.parse(line);
    if (answer.error) reject?.(new Error(answer.error));
    else resolve?.(answer);
  }

  #fail(error) {
    this.#failure ??= error;
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure);
  }
}
