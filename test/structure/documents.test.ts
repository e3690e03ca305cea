/** The pages name files that exist, and their links lead somewhere. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));
// the site is a package of its own, without types
const { documents, pageOf }: { documents: () => string[]; pageOf: (path: string) => string } = await import(
  new URL("../../docs/site/sources.js", import.meta.url).href
);

test.each(["CONTRIBUTING.md", "docs/training_step.md", "test/golden/README.md"])("%s", (page) => {
  const text = readFileSync(root + page, "utf8");
  const named = [...text.matchAll(/`((?:src|test|shaders|docs|bench|configs)\/[\w./-]*)`/g)].map(
    ([, path]) => path,
  );
  // new files that the reader is to make
  const missing = named.filter((path) => !/my_(op|world)/.test(path) && !existsSync(root + path));
  expect(missing).toEqual([]);
});

/** Anchors of a page, by the rule of the hosts that show Markdown. */
function anchors(text: string): Set<string> {
  const seen = new Map<string, number>();
  return new Set(
    prose(text)
      .split("\n")
      .filter((line) => /^#+ /.test(line))
      .map((line) => {
        const plain = line.replace(/^#+ /, "").replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1");
        const slug = plain
          .toLowerCase()
          .replace(/[^\p{L}\p{N}\s_-]/gu, "")
          .replaceAll(" ", "-");
        const before = seen.get(slug) ?? 0;
        seen.set(slug, before + 1);
        return before === 0 ? slug : `${slug}-${before}`;
      }),
  );
}

/** A page without its blocks of code. */
function prose(text: string): string {
  return text.replace(/^```[\s\S]*?^```/gm, "");
}

/** Relative links of a page that lead to no file, or to no heading of one. */
function deadLinks(page: string, text: string): string[] {
  const links = [...prose(text).matchAll(/\]\(((?![a-z]+:)[^)\s]+)\)/g)].map(([, link]) => link);
  return links.filter((link) => {
    const [path, anchor] = link.split("#");
    const file = path === "" ? page : join(dirname(page), path);
    if (!existsSync(join(root, file))) return true;
    return anchor !== undefined && !anchors(readFileSync(join(root, file), "utf8")).has(anchor);
  });
}

/** Lines with what other readers of Markdown take for HTML, or for a template's braces. */
function markup(text: string): string[] {
  const spans = /(`+)[^`][\s\S]*?\1/g;
  const outside = prose(text).replace(spans, (span) => span.replaceAll(/[^\n]/g, "_"));
  const starting = prose(text).split("\n");
  return outside
    .split("\n")
    .map((line, at) => (/^\s*<[a-z/]/i.test(starting[at]) ? starting[at] : line))
    .filter((line) => !line.startsWith("    ") && /<\/?[a-z][\w-]*(\s[^<>]*)?>|\{\{/i.test(line));
}

describe("pages", () => {
  test.each(["test/golden/README.md", ...documents()])("%s: links and markup", (page) => {
    const text = readFileSync(join(root, page), "utf8");
    expect(deadLinks(page, text)).toEqual([]);
    expect(markup(text)).toEqual([]);
  });

  test("a page that is linked to is a page of the site, each at a place of its own", () => {
    expect(documents()).toEqual(expect.arrayContaining(["README.md", "docs/log.md", "models/README.md"]));
    expect(new Set(documents().map(pageOf)).size).toBe(documents().length);
    expect(
      ["README.md", "docs/experiments/README.md", "models/README.md", "docs/log.md"].map(pageOf),
    ).toEqual(["start.md", "experiments/index.md", "models/index.md", "log.md"]);
  });

  test("markup is noticed, code and comments are left alone", () => {
    const text = "a `<b>` c\n<!-- d -->\n```\n<e>\n```\nf <g> h\n`i\n<j>` k\nl {{ m }}\n1 < 2";
    expect(markup(text)).toEqual(["f <g> h", "<j>` k", "l {{ m }}"]);
  });

  test("links to nothing are noticed", () => {
    const text = "# A\n[a](log.md) [b](lag.md) [c](log.md#nowhere) [d](#a) [e](#b) [f](https://a.b/c)";
    expect(deadLinks("docs/page.md", text)).toEqual(["lag.md", "log.md#nowhere", "#a", "#b"]);
  });
});
