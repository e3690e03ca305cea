// After `npm ci` in a checkout: makes `npx uncouple` find this package's own command without a further install.
import { mkdirSync, rmSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

if (process.platform !== "win32") {
  const root = join(dirname(fileURLToPath(import.meta.url)), "..");
  const link = join(root, "node_modules", ".bin", "uncouple");
  mkdirSync(dirname(link), { recursive: true });
  rmSync(link, { force: true });
  symlinkSync("../../bin/uncouple.js", link);
}
