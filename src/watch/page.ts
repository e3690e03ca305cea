/** The files of the page, as `npm run build` bundled them. They are few, and are read once. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { Hono } from "hono";
import { ConfigError } from "../core/errors.js";
import { hasCode } from "../host/files/error_codes.js";
import { findOwnPackage } from "../host/files/packages.js";

interface PageFile {
  readonly type: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

/** By path below the server's root. */
export type PageFiles = ReadonlyMap<string, PageFile>;

const TYPES: Readonly<Record<string, string>> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};

/** @param built folder of the bundled page; default: this package's own. @throws ConfigError when the page was not built */
export async function readPage(built?: string): Promise<PageFiles> {
  const folder = built ?? join((await findOwnPackage())?.folder ?? ".", "dist", "web");
  const files = new Map<string, PageFile>();
  try {
    for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
      const path = join(entry.parentPath, entry.name);
      const type = TYPES[entry.name.split(".").at(-1) ?? ""];
      if (!entry.isFile() || type === undefined) continue;
      const bytes = new Uint8Array(await readFile(path));
      files.set(path.slice(folder.length).replaceAll("\\", "/"), { type, bytes });
    }
  } catch (error) {
    if (!hasCode(error, "ENOENT")) throw error;
  }
  if (files.has("/index.html")) return files;
  throw new ConfigError(
    `[watch] the page is not built: got no index.html in ${folder}, expected one. Run npm run build.`,
  );
}

/** Names of bundled files change with their content, so browsers may keep them. */
export function pageRoutes(files: PageFiles): Hono {
  const routes = new Hono();
  for (const [path, { type, bytes }] of files) {
    const isEntry = path === "/index.html";
    routes.get(isEntry ? "/" : path, (context) =>
      context.body(bytes, 200, {
        "content-type": type,
        "cache-control": isEntry ? "no-cache" : "max-age=31536000, immutable",
      }),
    );
  }
  return routes;
}
