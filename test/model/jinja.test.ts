/** Chat templates against Python's Jinja2: rendered the same, or refused. The texts were made by `jinja_golden.py`. */
import { readFileSync } from "node:fs";
import { Template } from "@huggingface/jinja";
import { expect, test } from "vitest";
import { compileTemplate } from "../../src/model/jinja.js";

interface Row {
  readonly template: string;
  /** Absent where Jinja2 refuses. */
  readonly text?: string;
}

const file = new URL("jinja_golden.json", import.meta.url);
const golden: { rows: Row[]; variables: Record<string, unknown> } = JSON.parse(readFileSync(file, "utf8"));

/** What comes out, or undefined for a refusal. */
function rendered(render: () => string): string | undefined {
  try {
    return render();
  } catch {
    return undefined;
  }
}

test("every template is rendered as Jinja2 does or refused", () => {
  const wrong = golden.rows.filter(({ template, text }) => {
    const ours = rendered(() => compileTemplate(template)(golden.variables));
    return ours !== undefined && ours !== text;
  });
  expect(wrong).toEqual([]);
});

test("few of those that Jinja2 renders are refused, and the library alone would get many wrong", () => {
  const rows = golden.rows.filter(({ text }) => text !== undefined);
  const ours = rows.filter(({ template, text }) => {
    return rendered(() => compileTemplate(template)(golden.variables)) === text;
  });
  const library = rows.filter(({ template, text }) => {
    return rendered(() => new Template(template).render(golden.variables)) === text;
  });
  expect(rows.length).toBeGreaterThan(300);
  expect(ours.length / rows.length).toBeGreaterThan(0.8);
  expect(library.length).toBeLessThan(ours.length - 50);
});

test.each([
  ["{{ 1 < 2 < 3 }}", "a chain of comparisons"],
  ["{{ 'a'.find('a') }}", "the method find()"],
  ["{{ lipsum(1) }}", "the function `lipsum`"],
  ["{{ [1]|unique }}", "the filter unique"],
  ["{{ nothing.x }}", "a part of `nothing`, which is undefined"],
  ["{% raw %}x{% endraw %}", "raw"],
  ["a%}\nb", "a text that looks like a part of a tag"],
  ["{% for i in range(100001) %}x{% endfor %}", "a range of more than"],
])("%s is refused by name", (template, name) => {
  expect(() => compileTemplate(template)({})).toThrow(name);
});

test("a template that does not end is given up", () => {
  const loops = "{% for a in range(100000) %}".repeat(3) + "{% endfor %}".repeat(3);
  expect(() => compileTemplate(loops)({})).toThrow("does not end");
});
