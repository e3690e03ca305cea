/** Folders for one test file, removed after it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A fresh folder. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "uncouple-test-"));
  folders.push(folder);
  return folder;
}
