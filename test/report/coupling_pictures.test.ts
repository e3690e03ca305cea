/** The pictures of a coupling analysis that stand alone. */
import { expect, test } from "vitest";
import { couplingPictures } from "../../src/report/coupling_pictures.js";
import { drawnDocument } from "../support/coupling_document.js";

const document = drawnDocument(12);

function numbersOf(svg: string, element: RegExp): number[] {
  return [...svg.matchAll(element)].map(([, value]) => Number(value));
}

test("parts: a column for each punished sample, from the most lifted on, with the sum above 0 where it rises", () => {
  const svg = couplingPictures(document).get("coupling_parts.svg") as string;
  const punished = document.samples.filter(({ advantage }) => advantage < 0);
  const rising = punished.filter(({ total }) => total > 0).length;
  expect(rising).toBeGreaterThan(0);
  expect(rising).toBeLessThan(punished.length);
  expect(svg).toContain(`Why ${rising} of ${punished.length} punished actions rise`);
  const [zero] = numbersOf(svg, /<line[^>]* y1="([\d.]+)"[^>]* class="axis"/g);
  // the last circle is the legend's
  const sums = numbersOf(svg, /<circle[^>]* cy="([\d.]+)"/g).slice(0, -1);
  expect(sums).toHaveLength(punished.length);
  expect(sums).toEqual([...sums].sort((a, b) => a - b));
  expect(sums.filter((y) => y < zero)).toHaveLength(rising);
  // lifted by others: the bar ends at 0; pushed down: it begins where the self part ends
  const lifting = punished.filter(({ cross }) => cross > 0).length;
  expect(svg.match(/class="bad"/g)).toHaveLength(lifting + 1);
  expect(svg.match(/class="even"/g)).toHaveLength(punished.length - lifting + 1);
});

test("heat map: as many cells as pairs, in colours for both grounds", () => {
  const svg = couplingPictures(document).get("coupling_heat_map.svg") as string;
  expect(svg.match(/h1v1h-1z/g)).toHaveLength(12 * 12);
  // the diagonal is the full colour
  expect(/class="p10" d="([^"]*)"/.exec(svg)?.[1].match(/M/g)?.length).toBeGreaterThanOrEqual(12);
  expect(svg).toContain("prefers-color-scheme:dark");
  for (const name of new Set([...svg.matchAll(/class="([np]\d+)"/g)].map(([, found]) => found)))
    expect(svg).toContain(`.${name} { fill: var(--${name})`);
});

test("nothing is drawn of nothing", () => {
  const rewarded = document.samples.map((sample) => ({ ...sample, advantage: 1 }));
  expect([...couplingPictures({ ...document, samples: rewarded }).keys()]).toEqual(["coupling_heat_map.svg"]);
  expect(couplingPictures({ ...document, samples: [], order: [], gram: [] }).size).toBe(0);
});
