/** Other libraries to measure beside uncouple. They live in bench/peers with a package.json of their own. */
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { ProductCase } from "./matmul.js";
import type { Work } from "./measure.js";

/** An open peer. */
export interface Peer {
  readonly name: string;
  readonly version: string;
  /** Uploads the operands; both matrices row-major. */
  matmul(product: ProductCase & { readonly a: Float32Array; readonly b: Float32Array }): Promise<PeerWork>;
  close(): Promise<void>;
}

export interface PeerWork extends Work {
  /** The product, [M, N]. */
  result(): Promise<ArrayLike<number>>;
  release(): void;
}

/** A peer that could not be opened, and why. */
export interface MissingPeer {
  readonly name: string;
  readonly error: string;
}

interface PeerModule {
  readonly packages: readonly string[];
  open(): Promise<Omit<Peer, "version">>;
}

/** File names in bench/peers. */
export const PEERS = ["tfjs", "jax"] as const;

/**
 * Opens every peer on the adapter.
 * @param folder bench/peers of the checkout
 * @param openAdapter opens the adapter anew: an adapter makes one device
 */
export async function openPeers(
  folder: string,
  openAdapter: () => Promise<GPUAdapter>,
): Promise<(Peer | MissingPeer)[]> {
  const peers: (Peer | MissingPeer)[] = [];
  for (const name of PEERS) {
    try {
      peers.push(await openPeer(folder, name, openAdapter));
    } catch (error) {
      const reason = error instanceof Error ? error.message.split("\n")[0] : String(error);
      peers.push({ name, error: reason });
    }
  }
  return peers;
}

async function openPeer(folder: string, name: string, openAdapter: () => Promise<GPUAdapter>): Promise<Peer> {
  if (!existsSync(join(folder, "node_modules"))) {
    throw new Error(
      `[${name}] not installed: got no ${join(folder, "node_modules")}. Run \`npm --prefix bench/peers ci\` in the checkout.`,
    );
  }
  // browsers' libraries look for the GPU here; node 20 has no navigator, later ones have one without a GPU
  const gpu = { requestAdapter: openAdapter, getPreferredCanvasFormat: () => "bgra8unorm" };
  Object.defineProperty(globalThis, "navigator", { value: { gpu, userAgent: "node" }, configurable: true });
  const module = (await import(pathToFileURL(join(folder, `${name}.js`)).href)) as PeerModule;
  const opened = await module.open();
  const manifest = await readFile(join(folder, "node_modules", module.packages[0], "package.json"), "utf8");
  return { ...opened, version: String(JSON.parse(manifest).version) };
}
