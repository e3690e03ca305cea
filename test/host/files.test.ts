/** Files and folders appear whole or not at all. */
import { readdirSync, readFileSync } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import {
  pathExists,
  readRange,
  recoverDirectory,
  replaceDirectoryAtomic,
  writeFileAtomic,
} from "../../src/host/files/files.js";
import { temporaryFolder } from "../support/folders.js";

let root: string;
beforeEach(() => {
  root = temporaryFolder();
});

const at = (...names: string[]) => join(root, ...names);
const text = (path: string) => readFileSync(path, "utf8");

function* pieces(...list: string[]) {
  for (const piece of list) yield new TextEncoder().encode(piece);
}

async function* failing() {
  yield new TextEncoder().encode("half");
  throw new Error("the source failed");
}

test("a file is written from text, bytes and pieces, into a folder that was not there", async () => {
  await writeFileAtomic(at("new", "text"), "grüße\n");
  await writeFileAtomic(at("bytes"), Uint8Array.of(0, 255));
  await writeFileAtomic(at("pieces"), pieces("one ", "", "two"));
  expect(text(at("new", "text"))).toBe("grüße\n");
  expect([...readFileSync(at("bytes"))]).toEqual([0, 255]);
  expect(text(at("pieces"))).toBe("one two");
  expect(readdirSync(root).sort()).toEqual(["bytes", "new", "pieces"]);
});

test("a failed write leaves the old file and nothing else", async () => {
  await writeFileAtomic(at("file"), "old");
  await expect(writeFileAtomic(at("file"), failing())).rejects.toThrow("the source failed");
  expect(text(at("file"))).toBe("old");
  expect(readdirSync(root)).toEqual(["file"]);
});

test("writers at the same time do not mix", async () => {
  const contents = Array.from({ length: 8 }, (_, i) => String(i).repeat(1000));
  await Promise.all(contents.map((content) => writeFileAtomic(at("file"), pieces(content, content))));
  expect(contents.map((content) => content + content)).toContain(text(at("file")));
});

test("a folder is made, then replaced whole", async () => {
  const write = (name: string) =>
    replaceDirectoryAtomic(at("deep", "folder"), async (folder) => {
      await mkdir(join(folder, "sub"));
      await writeFile(join(folder, "sub", name), name);
    });
  await write("first");
  await write("second");
  expect(readdirSync(at("deep", "folder", "sub"))).toEqual(["second"]);
  expect(readdirSync(at("deep"))).toEqual(["folder"]);
});

test("a failed replacement leaves the old folder and nothing else", async () => {
  await mkdir(at("folder"));
  await writeFile(at("folder", "old"), "old");
  const failed = replaceDirectoryAtomic(at("folder"), async (folder) => {
    await writeFile(join(folder, "new"), "new");
    throw new Error("no space");
  });
  await expect(failed).rejects.toThrow("no space");
  expect(readdirSync(at("folder"))).toEqual(["old"]);
  expect(readdirSync(root)).toEqual(["folder"]);
});

test("a crash between the two renames is mended", async () => {
  await mkdir(at("folder"));
  await writeFile(at("folder", "old"), "old");
  await rename(at("folder"), at(".folder.0f8fad5b-d9cb-469f-a165-70867728950e.previous"));
  await recoverDirectory(at("folder"));
  expect(readdirSync(at("folder"))).toEqual(["old"]);
  await mkdir(at(".folder.0f8fad5b-d9cb-469f-a165-70867728950e.previous"));
  await recoverDirectory(at("folder"));
  expect(readdirSync(root)).toEqual(["folder"]);
});

test("a range of a file is read, and a file that ends early is an error", async () => {
  await writeFile(at("file"), "0123456789");
  expect(new TextDecoder().decode(await readRange(at("file"), 2, 5))).toBe("234");
  expect(await readRange(at("file"), 3, 3)).toHaveLength(0);
  await expect(readRange(at("file"), 8, 12)).rejects.toThrow("ended at byte 10");
});

test("only absence counts as absence", async () => {
  expect(await pathExists(at("nothing"))).toBe(false);
  expect(await pathExists(root)).toBe(true);
  await writeFile(at("file"), "");
  await expect(pathExists(at("file", "below"))).rejects.toThrow("ENOTDIR");
});
