import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { silentLogger } from "../../src/core/logger.js";
import {
  findSwiftShaderArchive,
  type SwiftShaderArchive,
  unpackSwiftShader,
} from "../../src/host/gpu/swiftshader.js";
import { buildForTest } from "../support/built.js";
import { temporaryFolder } from "../support/folders.js";

let cache: string;
let archive: SwiftShaderArchive;

beforeEach(async () => {
  cache = temporaryFolder();
  const found = await findSwiftShaderArchive();
  if (found === undefined) throw new Error("the npm package with SwiftShader is not installed");
  archive = found;
});

const NAMES = ["libvk_swiftshader.so", "libvulkan.so.1", "sha256.json", "vk_swiftshader_icd.json"];

/** Nothing but the four files, temporary ones included. */
function expectWhole(): void {
  const folder = join(cache, `swiftshader-${archive.version}`);
  expect(readdirSync(folder).sort()).toEqual(NAMES);
  for (const name of NAMES.slice(0, 2)) {
    expect(readFileSync(join(folder, name)).subarray(0, 4).toString("latin1")).toBe("\x7fELF");
  }
}

test("a fresh cache is filled once", async () => {
  const lines: string[] = [];
  const logger = { info: (line: string) => lines.push(line), warn: (line: string) => lines.push(line) };
  const files = await unpackSwiftShader(archive, join(cache, "not", "there", "yet"), logger);
  const written = statSync(files.loader).mtimeMs;
  expect(JSON.parse(readFileSync(files.manifest, "utf8")).ICD.library_path).toBe("./libvk_swiftshader.so");
  expect(lines).toHaveLength(1);
  await unpackSwiftShader(archive, join(cache, "not", "there", "yet"), logger);
  expect(statSync(files.loader).mtimeMs).toBe(written);
  expect(lines).toHaveLength(1);
});

test.each([
  ["a truncated driver", "libvk_swiftshader.so", (bytes: Buffer) => bytes.subarray(0, 1000)],
  ["one flipped bit", "libvulkan.so.1", (bytes: Buffer) => bytes.fill(bytes[5000] ^ 1, 5000, 5001)],
  ["an empty manifest", "vk_swiftshader_icd.json", () => Buffer.alloc(0)],
  ["garbage for checksums", "sha256.json", () => Buffer.from("{")],
  ["another kind of checksums", "sha256.json", () => Buffer.from("null")],
  ["a missing file", "sha256.json", undefined],
])("%s is repaired", async (_what, name, damage) => {
  const files = await unpackSwiftShader(archive, cache, silentLogger);
  const path = join(cache, `swiftshader-${archive.version}`, name);
  const good = readFileSync(path);
  if (damage === undefined) rmSync(path);
  else writeFileSync(path, damage(Buffer.from(good)));
  expect(await unpackSwiftShader(archive, cache, silentLogger)).toEqual(files);
  expect(readFileSync(path).equals(good)).toBe(true);
  expectWhole();
});

test("many at once in one process", async () => {
  await Promise.all(Array.from({ length: 6 }, () => unpackSwiftShader(archive, cache, silentLogger)));
  expectWhole();
});

test("several processes at once, each loads what it was told", async () => {
  const { folder, remove } = buildForTest("swiftshader");
  const script = join(folder, "race.mjs");
  writeFileSync(
    script,
    `import koffi from "koffi";
     import { findSwiftShaderArchive, unpackSwiftShader } from "./src/host/gpu/swiftshader.js";
     const logger = { info() {}, warn() {} };
     const { loader } = await unpackSwiftShader(await findSwiftShaderArchive(), process.argv[2], logger);
     koffi.load(loader);`,
  );
  const racers = Array.from({ length: 4 }, () =>
    spawn(process.execPath, [script, cache], { stdio: "inherit" }),
  );
  const codes = await Promise.all(racers.map(async (racer) => (await once(racer, "exit"))[0]));
  remove();
  expect(codes).toEqual([0, 0, 0, 0]);
  expectWhole();
});

test("a cache folder that cannot be written is an error with a cure", async () => {
  const file = join(cache, "file");
  writeFileSync(file, "");
  const attempt = unpackSwiftShader(archive, join(file, "below"), silentLogger);
  await expect(attempt).rejects.toThrow(/cannot be used.*UNCOUPLE_CACHE_DIR/);
  expect(existsSync(join(cache, `swiftshader-${archive.version}`))).toBe(false);
});

test("a damaged or missing archive is an error with a cure", async () => {
  const path = join(cache, "swiftshader.tar.br");
  await expect(unpackSwiftShader({ path, version: "1" }, cache, silentLogger)).rejects.toThrow(/npm install/);
  writeFileSync(path, readFileSync(archive.path).subarray(0, 1000));
  await expect(unpackSwiftShader({ path, version: "1" }, cache, silentLogger)).rejects.toThrow(
    /damaged.*npm install/,
  );
});
