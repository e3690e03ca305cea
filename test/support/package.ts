/** The package as users get it, made from the sources at hand, for tests that use it from outside. */
import { cpSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildForTest } from "./built.js";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Builds, and lays the package's own files beside: `import "uncouple"` and `bin/uncouple.js` work inside the folder.
 *  @param name of the caller, so that two test files do not share a folder */
export function packageForTest(name: string): { folder: string; remove: () => void } {
  const built = buildForTest(name);
  for (const part of ["package.json", "bin", "configs", "examples"]) {
    cpSync(join(root, part), join(built.folder, part), { recursive: true });
  }
  // package.json names files in dist/
  symlinkSync(".", join(built.folder, "dist"));
  return built;
}
