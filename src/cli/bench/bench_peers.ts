/** Opens the other libraries that a benchmark compares with, on the session's adapter. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { type AnyPeer, openPeers, PEER_NAMES } from "../../../bench/peers.js";
import { defaultCacheFolder } from "../../host/files/folders.js";
import { findOwnPackage } from "../../host/files/packages.js";
import { DRIVER_VARIABLES, type OpenGpu, openGpu } from "../../host/gpu/drivers.js";
import { findSwiftShaderArchive, unpackSwiftShader } from "../../host/gpu/swiftshader.js";
import type { CliContext } from "../kit/options.js";
import type { GpuSession } from "../kit/session.js";
import type { BenchOptions } from "./bench_options.js";

export interface BenchPeers {
  readonly peers: readonly AnyPeer[];
  readonly close: () => Promise<void>;
}

/** The peers that were asked for; none without `--peers`. */
export async function openBenchPeers(
  session: GpuSession,
  options: BenchOptions,
  context: CliContext,
): Promise<BenchPeers> {
  if (!options.peers) return { peers: [], close: async () => {} };
  const { env, terminal } = context;
  const folder = join((await findOwnPackage())?.folder ?? ".", "bench", "peers");
  const { adapter, preset, cacheDir: cacheFolder } = options;
  // Dawn crashes when a GPU object is collected before its devices: `close` keeps them until then
  const opened: OpenGpu[] = [];
  const openAdapter = async () => {
    const open = await openGpu({ adapter, preset, env, cacheFolder, logger: terminal });
    opened.push(open);
    return open.adapter;
  };
  const driver = await driverManifest(session, options, context);
  const peers = await openPeers({ folder, names: options.peer ?? PEER_NAMES, openAdapter, driver });
  for (const peer of peers) if ("error" in peer) terminal.info(`no ${peer.name}: ${peer.error}`);
  const close = async () => {
    for (const peer of peers) if (!("error" in peer)) await peer.close();
    opened.length = 0;
  };
  return { peers, close };
}

/** Where Vulkan drivers are announced on Linux. */
const MANIFEST_FOLDERS = ["/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/share/vulkan/icd.d"];

/** The manifest that leads a Vulkan loader to a software adapter alone; undefined for hardware, which loaders prefer. */
async function driverManifest(
  { choice }: GpuSession,
  { cacheDir }: BenchOptions,
  { env, terminal }: CliContext,
): Promise<string | undefined> {
  if (choice.backend !== "vulkan" || DRIVER_VARIABLES.some((name) => env[name])) return undefined;
  if (choice.kind === "swiftshader") {
    const archive = await findSwiftShaderArchive();
    return (
      archive && (await unpackSwiftShader(archive, cacheDir ?? defaultCacheFolder(env), terminal)).manifest
    );
  }
  if (choice.kind !== "lavapipe") return undefined;
  for (const folder of MANIFEST_FOLDERS) {
    const names = await readdir(folder).catch(() => []);
    const name = names.find((one) => one.startsWith("lvp_icd"));
    if (name) return join(folder, name);
  }
  return undefined;
}
