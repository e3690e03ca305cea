// Which file of the repository becomes which page of the site, and where a link of one of them leads there.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, extname, join, posix, relative } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../", import.meta.url));
export const pages = fileURLToPath(new URL("pages/", import.meta.url));

/** Pages whose place is not their own. */
const NAMED = { "README.md": "start.md", "CONTRIBUTING.md": "contributing.md" };
/** What `documents` found: links are asked for page by page. */
let known;
/** What a browser shows by itself, or should keep as a file. */
const RAW = new Set([".svg", ".png", ".json"]);

/** Markdown files that are pages, by path from the root: the documents, and what they link to, however far. */
export function documents() {
  known ??= findDocuments();
  return known;
}

function findDocuments() {
  const found = readdirSync(join(root, "docs"), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".md"))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .filter((path) => !path.startsWith("docs/site/"));
  const all = new Set(["README.md", "CONTRIBUTING.md", ...found.sort()]);
  // what is added while the loop runs is looked at too
  for (const path of all)
    for (const target of targetsOf(path).flatMap((linked) => [linked, ...filesIn(linked)]))
      if (target.endsWith(".md")) all.add(target);
  return [...all];
}

/** Files of a folder, by path from the root; none of a file. */
export function filesIn(path) {
  if (!statSync(join(root, path)).isDirectory()) return [];
  const entries = readdirSync(join(root, path), { withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map(({ name }) => `${path}/${name}`);
}

/** Files and folders that a document links to or shows, by path from the root. */
export function targetsOf(source) {
  const text = readFileSync(join(root, source), "utf8");
  // what stands in code is no link
  const prose = text.replace(/^```[\s\S]*?^```/gm, "").replace(/`[^`\n]*`/g, "");
  const links = [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link]) => link);
  return links.filter(isRelative).map((link) => targetOf(source, link));
}

/** Page that shows a file or folder of the repository, by path below pages/. */
export function pageOf(path) {
  if (NAMED[path] !== undefined) return NAMED[path];
  if (path.endsWith(".md")) return path.replace(/^docs\//, "").replace(/(^|\/)README\.md$/, "$1index.md");
  if (RAW.has(extname(path))) return `public/files/${path}`;
  return statSync(join(root, path)).isDirectory() ? `files/${path}/index.md` : `files/${path}.md`;
}

/** The file of the repository behind a page, if it is one of `documents`. */
export function sourceOf(page) {
  return documents().find((path) => pageOf(path) === page);
}

/** Whether a link leads to a file beside the one that it stands in. */
export function isRelative(link) {
  return !/^([a-z][a-z+.-]*:|#|\/)/i.test(link);
}

/**
 * The file that a relative link of a document leads to, by path from the root.
 * @throws Error when there is none
 */
export function targetOf(source, link) {
  const path = posix.normalize(posix.join(dirname(source), decodeURI(link.split("#")[0]))).replace(/\/$/, "");
  if (path.startsWith("..") || !existsSync(join(root, path)))
    throw new Error(
      `[${source}] link leads nowhere: got ${link}, expected a file of the repository. Mend the link.`,
    );
  return path;
}

/** A relative link of a document as a link of the site. */
export function siteLink(source, link) {
  const page = pageOf(targetOf(source, link));
  const anchor = link.includes("#") ? link.slice(link.indexOf("#")) : "";
  if (page.startsWith("public/")) return `/${page.slice("public/".length)}`;
  return `/${page.replace(/(^|\/)index\.md$/, "$1").replace(/\.md$/, "")}${anchor}`;
}
