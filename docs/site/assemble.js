// Puts the pages of the site together in pages/: the documents, the files that they link to, and the API from docstrings.
import { cpSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { basename, dirname, extname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { writeApi } from "./api.js";
import { documents, filesIn, pageOf, pages, root, targetsOf } from "./sources.js";

/** Files stand in no order of reading. */
const ALONE = "---\nprev: false\nnext: false\n---\n\n";
const LANGUAGES = { ".js": "js", ".mjs": "js", ".ts": "ts", ".py": "python", ".yaml": "yaml", ".sh": "sh" };

rmSync(pages, { recursive: true, force: true });
for (const path of documents()) write(pageOf(path), readFileSync(join(root, path)));
cpSync(fileURLToPath(new URL("home.md", import.meta.url)), join(pages, "index.md"));

const linked = new Set(documents().flatMap(targetsOf));
for (const path of linked) if (!path.endsWith(".md")) show(path);
await writeApi(join(pages, "api"));

function write(page, content) {
  const file = join(pages, page);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

/** A file as it is, its text on a page, or what is in a folder. */
function show(path) {
  const page = pageOf(path);
  if (page.startsWith("public/")) return write(page, readFileSync(join(root, path)));
  if (statSync(join(root, path)).isDirectory()) return showFolder(path, page);
  const text = readFileSync(join(root, path), "utf8");
  // longer than any fence in the file
  const fence = "`".repeat(Math.max(3, ...[...text.matchAll(/`+/g)].map(([run]) => run.length + 1)));
  write(
    page,
    `${ALONE}# ${path}\n\n${fence}${LANGUAGES[extname(path)] ?? "text"}\n${text.trimEnd()}\n${fence}\n`,
  );
}

function showFolder(path, page) {
  const lines = filesIn(path).map((file) => {
    if (!file.endsWith(".md")) show(file);
    const shown = pageOf(file).replace(/^public\//, "");
    return `- [${basename(file)}](/${shown.replace(/\.md$/, "")})`;
  });
  write(page, `${ALONE}# ${path}\n\n${lines.join("\n")}\n`);
}
