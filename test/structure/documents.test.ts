/** The pages for people who carry on name files that exist. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));

test.each(["CONTRIBUTING.md", "docs/training_step.md", "test/golden/README.md"])("%s", (page) => {
  const text = readFileSync(root + page, "utf8");
  const named = [...text.matchAll(/`((?:src|test|shaders|docs|bench|configs)\/[\w./-]*)`/g)].map(
    ([, path]) => path,
  );
  const linked = [...text.matchAll(/\]\(((?!http)[^)#]+)/g)].map(([, path]) => path);
  // new files that the reader is to make
  const missing = [...named, ...linked].filter((path) => !path.includes("my_op") && !existsSync(root + path));
  expect(missing).toEqual([]);
});
