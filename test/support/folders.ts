/** Folders for one test file, removed after it. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A fresh folder. */
export function temporaryFolder(below = tmpdir()): string {
  const folder = mkdtempSync(join(below, "uncouple-test-"));
  folders.push(folder);
  return folder;
}

/** A fresh folder in memory where the system has such a place: flushing to a disk takes milliseconds. */
export function quickFolder(): string {
  return temporaryFolder(existsSync("/dev/shm") ? "/dev/shm" : undefined);
}
