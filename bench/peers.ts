/** Other libraries to measure beside uncouple. They live in bench/peers with a package.json of their own. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { Launcher } from "../src/kernels/engine/launch.js";
import type { IterationProblem, PeerIteration } from "./iteration_peers.js";
import type { Effort, Work } from "./measure.js";
import type { Precision } from "./precision.js";
import type { Contestant, Entry } from "./race.js";
import type { TrainingProblem } from "./workloads.js";

/** y [M, N] = op(a) op(b), K terms a sum. */
export interface ProductCase {
  readonly M: number;
  readonly N: number;
  readonly K: number;
  readonly transposeA: boolean;
  readonly transposeB: boolean;
}

/** Causal attention of B sequences of T tokens. q and y are [B T, H D], k and v [B T, Kv D]; heads share keys in order. */
export interface AttentionProblem {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly Kv: number;
  readonly D: number;
  readonly q: Float32Array;
  readonly k: Float32Array;
  readonly v: Float32Array;
}

/** A product of f32 matrices, which count as f16 where `precision` says so. */
export interface ProductProblem extends ProductCase {
  readonly a: Float32Array;
  readonly b: Float32Array;
  readonly precision: "f32" | "f16";
}

/** An open peer. Each operation uploads its inputs; what a library does not have throws. */
export interface Peer {
  readonly name: string;
  readonly version: string;
  /** Takes part in half precision too; others are given problems in f32. */
  readonly half?: boolean;
  /** y [M, N]; both matrices row-major. */
  matmul(product: ProductProblem): Promise<PeerWork>;
  attention(problem: AttentionProblem): Promise<PeerWork>;
  trainingStep(problem: TrainingProblem & { readonly precision: Precision }): Promise<PeerTraining>;
  /** Of B sequences: the plain pass of all, the Gram of their gradients [B, B], or a backward pass each. */
  coupling?(problem: CouplingProblem): Promise<PeerWork>;
  /** An iteration of RL that ours has played: generation of its answers, and the update on its rows. */
  iteration?(problem: IterationProblem): Promise<PeerIteration>;
  close(): Promise<void>;
}

export type CouplingProblem = TrainingProblem & { readonly mode: "plain" | "gram" | "separate" };

export interface PeerWork extends Work {
  /** Row-major values of the result. */
  result(): Promise<ArrayLike<number>>;
  release(): void | Promise<void>;
}

/** A model with its optimiser; `run` takes training steps. */
export interface PeerTraining extends Work {
  /** Takes training steps. @returns the loss before each */
  losses(steps: number): Promise<readonly number[]>;
  release(): void | Promise<void>;
}

/** A peer that could not be opened, and why. */
export interface MissingPeer {
  readonly name: string;
  readonly error: string;
}

export type AnyPeer = Peer | MissingPeer;

/** What a program that peers run too is measured with. */
export interface PeerBench {
  readonly launcher: Launcher;
  /** Name of the adapter in rows. */
  readonly adapter: string;
  readonly peers: readonly AnyPeer[];
  readonly precision: Precision;
  readonly effort: Effort;
}

/** What a peer's module gets. */
interface PeerOptions {
  readonly variant: string;
  /** Threads on the CPU; default: the library's own choice. */
  readonly threads?: number;
  /** Driver manifest that libraries with a Vulkan loader of their own must be given to reach the same adapter. */
  readonly driver?: string;
}

interface PeerModule {
  /** npm packages; the version of the first one is shown. */
  readonly packages: readonly string[];
  open(options: PeerOptions): Promise<Omit<Peer, "version"> & { readonly version?: string }>;
}

/** A library to open, and how. */
interface PeerSpec {
  /** In bench/peers. */
  readonly file: string;
  readonly variant: string;
  readonly threads?: number;
  /** What rows carry when it cannot be opened. */
  readonly name: string;
}

const PEERS: readonly PeerSpec[] = [
  { file: "tfjs.js", variant: "webgpu", name: "tfjs-webgpu" },
  { file: "jax.js", variant: "webgpu", name: "jax-js-webgpu" },
  { file: "jax.js", variant: "wasm", name: "jax-js-wasm" },
  { file: "onnx.js", variant: "webgpu", name: "onnxruntime-webgpu" },
  { file: "torch.js", variant: "eager", name: "torch-eager" },
  { file: "torch.js", variant: "eager", threads: 2, name: "torch-eager-2-threads" },
  { file: "torch.js", variant: "compiled", name: "torch-compiled" },
];

/** Names of all peers, as rows carry them. */
export const PEER_NAMES: readonly string[] = PEERS.map(({ name }) => name);

export interface OpenPeersOptions {
  /** bench/peers of the checkout */
  readonly folder: string;
  /** Peers to open, by name. */
  readonly names: readonly string[];
  /** Opens the adapter anew: an adapter makes one device. */
  readonly openAdapter: () => Promise<GPUAdapter>;
  readonly driver?: string;
}

/** Opens peers on the adapter; one that fails is there with its reason. */
export async function openPeers(options: OpenPeersOptions): Promise<AnyPeer[]> {
  const peers: AnyPeer[] = [];
  for (const spec of PEERS.filter(({ name }) => options.names.includes(name))) {
    try {
      peers.push(await openPeer(spec, options));
    } catch (error) {
      const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
      peers.push({ name: spec.name, error: reason });
    }
  }
  return peers;
}

async function openPeer(
  { file, variant, threads, name }: PeerSpec,
  { folder, openAdapter, driver }: OpenPeersOptions,
): Promise<Peer> {
  // torch is no npm package
  if (file !== "torch.js" && !existsSync(join(folder, "node_modules"))) {
    throw new Error(
      `[${name}] not installed: got no ${join(folder, "node_modules")}. Run \`npm --prefix bench/peers ci\` in the checkout.`,
    );
  }
  // browsers' libraries look for the GPU here; node 20 has no navigator, later ones have one without a GPU
  const gpu = { requestAdapter: openAdapter, getPreferredCanvasFormat: () => "bgra8unorm" };
  Object.defineProperty(globalThis, "navigator", { value: { gpu, userAgent: "node" }, configurable: true });
  const module = (await import(pathToFileURL(join(folder, file)).href)) as PeerModule;
  const opened = await module.open({ variant, threads, driver });
  const version = opened.version ?? (await packageVersion(folder, module.packages[0]));
  return { ...opened, version };
}

async function packageVersion(folder: string, name: string): Promise<string> {
  const manifest = await readFile(join(folder, "node_modules", name, "package.json"), "utf8");
  return String(JSON.parse(manifest).version);
}

/** An entry for each peer, the missing ones too; `open` gets those that are there. */
export function peerEntries(peers: readonly AnyPeer[], open: (peer: Peer) => Promise<Contestant>): Entry[] {
  return peers.map((peer) => {
    if ("error" in peer) {
      const missing = async () => {
        throw new Error(peer.error);
      };
      return { implementation: peer.name, open: missing };
    }
    return { implementation: peer.name, version: peer.version, open: () => open(peer) };
  });
}
