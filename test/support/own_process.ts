/** Which test files may share a process, so that what they import is loaded once. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../", import.meta.url));

/** What a file says that opens a device, starts a process, or changes what the next file in its process would see. */
const OWN_PROCESS =
  /Runtime\b|openGpu|testAdapter|node:child_process|playwright|bench\/|examples\/|vi\.(mock|doMock|stub|useFakeTimers)|process\.(env|on|chdir)|globalThis/;

/** @returns test files, from the root of the project, that neither themselves nor by what they import from test/ need a process
 *  of their own */
export function plainFiles(): string[] {
  const known = new Map<string, boolean>();
  const isPlain = (path: string): boolean => {
    const told = known.get(path);
    if (told !== undefined) return told;
    known.set(path, true);
    const text = readFileSync(path, "utf8");
    const imported = [...text.matchAll(/ from "(\.[^"]+)\.js";/g)]
      .map(([, to]) => join(path, "..", `${to}.ts`))
      .filter((file) => file.startsWith(folder) && existsSync(file));
    const answer = !OWN_PROCESS.test(text) && imported.every(isPlain);
    known.set(path, answer);
    return answer;
  };
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".test.ts") && isPlain(join(folder, name)))
    .map((name) => `test/${name.replaceAll("\\", "/")}`);
}
