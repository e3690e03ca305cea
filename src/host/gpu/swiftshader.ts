/** SwiftShader, the Vulkan driver for machines without any: taken out of the npm package `@sparticuz/chromium`
 *  (its code is never run) into the user's cache folder. */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { Readable } from "node:stream";
import { buffer } from "node:stream/consumers";
import { promisify } from "node:util";
import { brotliDecompress } from "node:zlib";
import { extract } from "tar-stream";
import { AdapterError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import { errorText } from "../files/error_codes.js";
import { readIfPresent } from "../files/files.js";
import { findPackage } from "../files/packages.js";

const PACKAGE = "@sparticuz/chromium";
const DRIVER = "libvk_swiftshader.so";
const LOADER = "libvulkan.so.1";
const MANIFEST = "vk_swiftshader_icd.json";
const WANTED: readonly string[] = [DRIVER, LOADER, MANIFEST];
/** Written last: its presence says that the other files were once complete. */
const CHECKSUMS = "sha256.json";

/** Absolute paths of the unpacked driver. */
export interface SwiftShaderFiles {
  /** Vulkan loader, for systems that have none */
  loader: string;
  /** Driver manifest, the value for VK_DRIVER_FILES */
  manifest: string;
}

/** The archive inside the installed npm package. */
export interface SwiftShaderArchive {
  path: string;
  version: string;
}

/** @returns the archive in the installed package, or undefined when the package is not installed */
export async function findSwiftShaderArchive(): Promise<SwiftShaderArchive | undefined> {
  const found = await findPackage(PACKAGE);
  return found && { path: join(found.folder, "bin", "swiftshader.tar.br"), version: found.version };
}

/** Makes sure that the driver lies whole in the cache and says where. Damaged or partial copies are replaced.
 *  Any number of processes may do this at once: each file appears by one atomic rename, always with the same bytes.
 *  @param cacheFolder absolute; the driver goes into `swiftshader-<version>/` below
 *  @throws AdapterError when the package is missing or the folder cannot be written */
export async function unpackSwiftShader(
  archive: SwiftShaderArchive,
  cacheFolder: string,
  logger: Logger,
): Promise<SwiftShaderFiles> {
  const folder = join(cacheFolder, `swiftshader-${archive.version}`);
  const whole = { loader: join(folder, LOADER), manifest: join(folder, MANIFEST) };
  if (await inCache(folder, () => isWhole(folder))) return whole;
  const files = await readArchive(archive.path);
  await inCache(folder, async () => {
    await mkdir(folder, { recursive: true });
    for (const [name, bytes] of files) await writeAtomically(join(folder, name), bytes);
    const sums = Object.fromEntries([...files].map(([name, bytes]) => [name, sha256(bytes)]));
    await writeAtomically(join(folder, CHECKSUMS), Buffer.from(`${JSON.stringify(sums, null, 2)}\n`));
  });
  logger.info(`SwiftShader ${archive.version} unpacked into ${folder}`);
  return whole;
}

/** Gives what the file system says about the cache folder a cure. */
async function inCache<T>(folder: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    throw new AdapterError(
      `[swiftshader] the cache folder cannot be used: got ${errorText(error)} for ${folder}, expected a folder to ` +
        `read and write. Set UNCOUPLE_CACHE_DIR to one.`,
      { cause: error },
    );
  }
}

async function readArchive(path: string): Promise<Map<string, Buffer>> {
  const compressed = await readIfPresent(path);
  if (compressed === undefined) {
    throw new AdapterError(
      `[swiftshader] the archive is missing: got no file ${path}, expected it in the package ${PACKAGE}. ` +
        `Run npm install again.`,
    );
  }
  const files = new Map<string, Buffer>();
  try {
    const unpack = extract();
    Readable.from([await promisify(brotliDecompress)(compressed)]).pipe(unpack);
    for await (const entry of unpack) {
      // Unwanted entries are read too: the next one comes only after this one's end.
      const bytes = await buffer(entry);
      const name = entry.header.name.replace(/^\.\//, "");
      if (WANTED.includes(name)) files.set(name, bytes);
    }
  } catch (error) {
    throw new AdapterError(
      `[swiftshader] the archive is damaged: got ${errorText(error)} from ${path}, expected a tar packed with brotli. ` +
        `Remove node_modules/${PACKAGE} and run npm install again.`,
      { cause: error },
    );
  }
  const missing = WANTED.filter((name) => !files.has(name));
  if (missing.length > 0) {
    throw new AdapterError(
      `[swiftshader] the archive lacks files: got no ${missing.join(", ")} in ${path}, expected ${WANTED.join(", ")}. ` +
        `Install the version of ${PACKAGE} that this package pins.`,
    );
  }
  return files;
}

/** Compares every file with the recorded checksum (7 MB, some 10 ms). */
async function isWhole(folder: string): Promise<boolean> {
  const recorded = parseChecksums(await readIfPresent(join(folder, CHECKSUMS)));
  for (const name of WANTED) {
    const bytes = await readIfPresent(join(folder, name));
    if (bytes === undefined || recorded[name] !== sha256(bytes)) return false;
  }
  return true;
}

/** A damaged checksum file counts as an empty one: the copy is then replaced. */
function parseChecksums(bytes: Buffer | undefined): Record<string, unknown> {
  if (bytes === undefined) return {};
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

async function writeAtomically(path: string, bytes: Buffer): Promise<void> {
  const temporary = `${path}.${process.pid}.${randomUUID()}`;
  try {
    const file = await open(temporary, "wx", 0o755);
    try {
      await file.writeFile(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function sha256(bytes: Buffer): string {
  return createHash("sha256").update(bytes).digest("hex");
}
