/** Which test files need a process of their own; the others share one, so that what they import is loaded once. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../", import.meta.url));

/** What a file says that changes what the next file in its process would see, or that starts a browser. */
const CHANGES_PROCESS =
  /vi\.(mock|doMock|stub\w+|useFakeTimers)\(|process\.(on|once|chdir)\(|process\.env(\.\w+|\[\w+\]) (\?\?)?=[^=]|delete process\.env|support\/browser\.js/;

/** @returns test files, from the root of the project */
export function ownProcessFiles(): string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".test.ts"))
    .filter((name) => CHANGES_PROCESS.test(readFileSync(join(folder, name), "utf8")))
    .map((name) => `test/${name.replaceAll("\\", "/")}`);
}
