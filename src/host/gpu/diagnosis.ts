/** What lies on this machine's disk about GPUs and their drivers; for `uncouple doctor`. Nothing is loaded or run. */
import { access, readdir } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { readIfPresent } from "../files/files.js";

/** Traces of GPUs and drivers; all empty outside Linux. */
export interface DriverTraces {
  /** Vulkan driver manifests in the folders that the loader searches */
  manifests: string[];
  /** version of the Debian package mesa-vulkan-drivers */
  mesaPackage?: string;
  /** device files of GPUs: there is hardware, whether or not a driver shows it */
  gpuFiles: string[];
}

const MANIFEST_FOLDERS = ["etc/vulkan/icd.d", "usr/local/share/vulkan/icd.d", "usr/share/vulkan/icd.d"];
const GPU_FILES = ["dev/nvidiactl", "dev/kfd", "dev/dri/renderD128", "dev/dxg"];

/** @param root of the file system
 *  @param home the user's home folder, whose `.local/share` holds drivers too */
export async function findDriverTraces(root = "/", home = homedir()): Promise<DriverTraces> {
  const folders = [
    ...MANIFEST_FOLDERS.map((name) => join(root, name)),
    join(home, ".local/share/vulkan/icd.d"),
  ];
  const manifests: string[] = [];
  for (const folder of folders) {
    for (const name of await listIfPresent(folder)) {
      if (name.endsWith(".json")) manifests.push(join(folder, name));
    }
  }
  const gpuFiles: string[] = [];
  for (const name of GPU_FILES) if (await exists(join(root, name))) gpuFiles.push(join(root, name));
  const packages = (await readIfPresent(join(root, "var/lib/dpkg/status")))?.toString("utf8") ?? "";
  return { manifests, mesaPackage: debianVersion(packages, "mesa-vulkan-drivers"), gpuFiles };
}

/** @param status text of /var/lib/dpkg/status: paragraphs of `Key: value` lines
 *  @returns the version of an installed package */
export function debianVersion(status: string, name: string): string | undefined {
  const paragraph = status.split("\n\n").find((text) => text.trimStart().startsWith(`Package: ${name}\n`));
  if (paragraph === undefined || !/^Status: .* installed$/m.test(paragraph)) return undefined;
  return /^Version: (.*)$/m.exec(paragraph)?.[1];
}

async function listIfPresent(folder: string): Promise<string[]> {
  return (await exists(folder)) ? (await readdir(folder)).sort() : [];
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
