/** The pictures of a coupling analysis that stand alone. */
import { expect, test } from "vitest";
import type { CouplingDocument } from "../../src/report/coupling_document.js";
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

test("danger zone: the optimiser's where it was measured, a mark for each punished action, above the line where it rises", () => {
  const zone = (rises: number) => ({
    points: [0.1, 0.3, 0.6].map((q, index) => ({ index, q, drift: index < rises ? 0.5 : -0.5 })),
    toy: null,
  });
  for (const [measured, rises] of [
    [{ danger: zone(1), dangerOptimiser: zone(2) }, 2],
    [{ danger: zone(1), dangerOptimiser: null }, 1],
  ] as const) {
    const svg = couplingPictures({ ...document, ...measured }).get("coupling_danger_zone.svg") as string;
    expect(svg).toMatch(rises === 2 ? /through the optimiser's update/ : /by a plain gradient step/);
    const [line] = numbersOf(svg, /<line class="axis"[^>]* y1="([\d.]+)"/g);
    const heights = numbersOf(svg, /<circle [^>]*cy="([\d.]+)"/g);
    expect(heights).toHaveLength(3);
    expect(heights.filter((y) => y < line)).toHaveLength(rises);
    expect(svg).toContain(".rising { fill: var(--high)");
    expect(svg).toContain("prefers-color-scheme:dark");
  }
});

test("layers: a row for each, warm where rewarded samples push punished ones up", () => {
  const layers = [
    { name: "a", part: "x", share: 0.75, goodToBad: 0.4 },
    { name: "b", part: "x", share: 0.25, goodToBad: -0.2 },
  ];
  const svg = couplingPictures({ ...document, layers } as CouplingDocument).get(
    "coupling_layers.svg",
  ) as string;
  const widths = (name: string) => numbersOf(svg, new RegExp(`class="${name}"[^>]* width="([\\d.]+)"`, "g"));
  const [most, least] = widths("bar-even");
  expect(most).toBeCloseTo(3 * least, 5);
  expect(widths("bar-high")[0]).toBeCloseTo(2 * widths("bar-low")[0], 5);
});

test("nothing is drawn of nothing", () => {
  const rewarded = document.samples.map((sample) => ({ ...sample, advantage: 1 }));
  const none = { danger: { points: [], toy: null }, dangerOptimiser: null, layers: [] };
  expect([...couplingPictures({ ...document, ...none, samples: rewarded }).keys()]).toEqual([
    "coupling_heat_map.svg",
  ]);
  expect(couplingPictures({ ...document, ...none, samples: [], order: [], gram: [] }).size).toBe(0);
});
