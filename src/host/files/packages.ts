/** Finds npm packages on disk without running any of their code. */
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { hasCode } from "./error_codes.js";
import { readIfPresent } from "./files.js";

/** Where a package lies and which version it is. */
export interface InstalledPackage {
  folder: string;
  version: string;
}

/** @param name of a dependency of this package, with an entry that `require` can resolve
 *  @returns undefined when it is not installed */
export async function findPackage(name: string): Promise<InstalledPackage | undefined> {
  let entry: string;
  try {
    entry = createRequire(import.meta.url).resolve(name);
  } catch (error) {
    if (hasCode(error, "MODULE_NOT_FOUND")) return undefined;
    throw error;
  }
  return packageAbove(dirname(entry), name);
}

/** @returns this package itself */
export async function findOwnPackage(): Promise<InstalledPackage | undefined> {
  return packageAbove(dirname(fileURLToPath(import.meta.url)), "uncouple");
}

/** The first folder upwards whose package.json bears the name; packages hold nested ones without names. */
async function packageAbove(start: string, name: string): Promise<InstalledPackage | undefined> {
  for (let folder = start; folder !== dirname(folder); folder = dirname(folder)) {
    const text = await readIfPresent(join(folder, "package.json"));
    const manifest = text === undefined ? {} : JSON.parse(text.toString("utf8"));
    if (manifest.name === name) return { folder, version: String(manifest.version) };
  }
  return undefined;
}
