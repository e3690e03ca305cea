/** The source as plain JavaScript, for tests that start processes of their own. */
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { transformSync } from "rolldown/utils";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** Strips the types from every file of src/, shaders/ and bench/, without checking them.
 *  @param name of the caller, so that two test files do not share a folder
 *  @param more further folders of the project
 *  @returns the folder that holds `src/`, `shaders/` and `bench/`; `remove` deletes it */
export function buildForTest(
  name: string,
  more: readonly string[] = [],
): { folder: string; remove: () => void } {
  // Inside node_modules, so that bare imports resolve as in the project.
  const folder = join(root, "node_modules", ".cache", `uncouple-${name}-${process.pid}`);
  for (const top of ["src", "shaders", "bench", ...more]) {
    // below bench/ there are results and the packages of its peers
    const recursive = top !== "bench";
    for (const entry of readdirSync(join(root, top), { recursive, withFileTypes: true })) {
      if (!entry.isFile()) continue;
      const source = join(entry.parentPath, entry.name);
      const target = join(folder, source.slice(root.length));
      mkdirSync(dirname(target), { recursive: true });
      if (!source.endsWith(".ts")) cpSync(source, target);
      else writeFileSync(target.replace(/ts$/, "js"), stripTypes(source, readFileSync(source, "utf8")));
    }
  }
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

function stripTypes(path: string, source: string): string {
  const { code, errors } = transformSync(path, source, {
    target: "es2022",
    typescript: { onlyRemoveTypeImports: true },
  });
  if (errors.length > 0) throw new Error(`${path} is no TypeScript: ${errors[0].message}`);
  return code;
}
