/** The heat map of cosines: samples in clustered order, one cell a pair, text of a pair under the pointer or the keys. */
import type { CouplingDocument } from "./coupling_document.js";
import { sampleText } from "./coupling_text.js";
import { element, escaped } from "./svg.js";

/** Steps of colour on each side of 0. */
export const HEAT_STEPS = 10;
/** Units of the picture on each side. */
export const SIZE = 560;
const BAND = 10;

/** Step of colour from -HEAT_STEPS to HEAT_STEPS. @param value from -1 to 1 */
export function heatStep(value: number): number {
  // + 0: never -0
  return Math.max(-HEAT_STEPS, Math.min(HEAT_STEPS, Math.round(value * HEAT_STEPS))) + 0;
}

/** Class of a step, for the style sheet. */
export function heatClass(step: number): string {
  return step < 0 ? `n${-step}` : `p${step}`;
}

/** Cosine of two samples of a document; 0 when one has no gradient. */
function cosineOf(gram: readonly number[], count: number, i: number, j: number): number {
  const norms = Math.sqrt(gram[i * count + i] * gram[j * count + j]);
  return norms > 0 ? gram[i * count + j] / norms : 0;
}

/**
 * The picture with what its script reads. Rows push, columns are pushed; the band along both edges is blue for rewarded
 * samples and orange for punished ones.
 * @param id unique on the page
 */
export function heatMap({ samples, gram, order, numbers }: CouplingDocument, id: string): string {
  const count = samples.length;
  if (count === 0) return element("p", {}, "No samples.");
  const summary =
    `Heat map of ${count} by ${count} cosines between gradients of samples, in clustered order. ` +
    `${samples.filter(({ advantage }) => advantage > 0).length} samples are rewarded, ` +
    `${samples.filter(({ advantage }) => advantage < 0).length} punished, ` +
    `${numbers.inversions ?? 0} punished ones are predicted to rise. The pairs that matter most are listed below as text.`;
  const data = {
    order,
    gram,
    samples: samples.map((sample) => ({
      text: sampleText(sample),
      state: sample.state,
      push: sample.weight * sample.advantage,
    })),
  };
  return (
    element(
      "div",
      {
        class: "heat",
        id,
        tabindex: 0,
        role: "group",
        "aria-label": `${summary} Arrow keys move from pair to pair.`,
        "aria-describedby": `${id}-text`,
      },
      element(
        "svg",
        { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": summary },
        element("title", {}, escaped(summary)),
        heatCells({ samples, gram, order }),
        element("rect", { class: "cursor", width: 0, height: 0 }),
      ),
    ) +
    element(
      "p",
      { class: "readout", id: `${id}-text`, "aria-live": "polite" },
      "Point at a cell, or move with the arrow keys, to read what the sample of its row does to that of its column.",
    ) +
    element("script", { type: "application/json", id: `${id}-data` }, scriptJson(data))
  );
}

/** JSON that may stand inside a script element. */
function scriptJson(value: unknown): string {
  return JSON.stringify(value).replaceAll("<", "\\u003c");
}

/** Bands and cells, from 0 to `SIZE`. */
export function heatCells({
  samples,
  gram,
  order,
}: Pick<CouplingDocument, "samples" | "gram" | "order">): string {
  return bands(order.map((i) => samples[i].advantage)) + cells(order, gram, samples.length);
}

/** One path a colour, in units of cells. */
function cells(order: readonly number[], gram: readonly number[], count: number): string {
  const paths = new Map<string, string[]>();
  order.forEach((i, y) => {
    order.forEach((j, x) => {
      const name = heatClass(heatStep(cosineOf(gram, count, i, j)));
      const path = paths.get(name) ?? [];
      path.push(`M${x} ${y}h1v1h-1z`);
      paths.set(name, path);
    });
  });
  const scale = ((SIZE - BAND) / count).toPrecision(8);
  return element(
    "g",
    { transform: `translate(${BAND} ${BAND}) scale(${scale})`, "shape-rendering": "crispEdges" },
    ...[...paths].sort().map(([name, path]) => element("path", { class: name, d: path.join("") })),
  );
}

function bands(advantages: readonly number[]): string {
  const step = (SIZE - BAND) / advantages.length;
  return advantages
    .flatMap((advantage, at) => {
      const kind = advantage > 0 ? "good" : advantage < 0 ? "bad" : "even";
      const place = BAND + at * step;
      return [
        element("rect", { class: kind, x: place, y: 0, width: step, height: BAND - 2 }),
        element("rect", { class: kind, x: 0, y: place, width: BAND - 2, height: step }),
      ];
    })
    .join("");
}

/** The colours from cosine -1 to 1, a unit each. */
export function heatLegendMarks(): string[] {
  return Array.from({ length: 2 * HEAT_STEPS + 1 }, (_, x) =>
    element("rect", { class: heatClass(x - HEAT_STEPS), x, y: 0, width: 1, height: 1 }),
  );
}

/** The legend: cosine from -1 to 1. */
export function heatLegend(): string {
  const marks = heatLegendMarks();
  const label = "Colours from cosine -1 over 0 to cosine +1";
  return element(
    "div",
    { class: "legend", role: "img", "aria-label": label },
    element("span", {}, "cosine -1"),
    element("svg", { viewBox: `0 0 ${marks.length} 1`, preserveAspectRatio: "none" }, ...marks),
    element("span", {}, "+1"),
  );
}

/** Script of all heat maps of a page: text of the cell under the pointer, or the one that arrow keys chose. */
export const HEAT_SCRIPT = `
for (const root of document.querySelectorAll(".heat")) {
  const data = JSON.parse(document.getElementById(root.id + "-data").textContent);
  const text = document.getElementById(root.id + "-text");
  const picture = root.querySelector("svg");
  const cursor = root.querySelector(".cursor");
  const count = data.order.length;
  const cell = (${SIZE} - ${BAND}) / count;
  let at = { x: 0, y: 0 };
  const digits = (value) => (value === 0 ? "0" : Number(value.toPrecision(3)).toString());
  const show = (x, y) => {
    at = { x: Math.max(0, Math.min(count - 1, x)), y: Math.max(0, Math.min(count - 1, y)) };
    const [i, j] = [data.order[at.y], data.order[at.x]];
    const k = data.gram[i * count + j];
    const norms = Math.sqrt(data.gram[i * count + i] * data.gram[j * count + j]);
    const change = data.samples[i].push * k;
    const verb = change > 0 ? "raises" : change < 0 ? "lowers" : "does not move";
    const where = data.samples[i].state === data.samples[j].state ? "same state" : "other state";
    text.textContent = (i === j ? data.samples[i].text + " itself" :
      data.samples[i].text + " " + verb + " " + data.samples[j].text + ", " + where) +
      ": predicted change " + digits(change) + ", K = " + digits(k) + ", cosine " + digits(norms > 0 ? k / norms : 0);
    for (const [name, value] of Object.entries({ x: ${BAND} + at.x * cell, y: ${BAND} + at.y * cell, width: cell, height: cell }))
      cursor.setAttribute(name, value);
  };
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const place = (offset, size) => Math.floor(((offset / size) * ${SIZE} - ${BAND}) / cell);
    show(place(event.clientX - box.left, box.width), place(event.clientY - box.top, box.height));
  });
  root.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    show(at.x + step[0], at.y + step[1]);
  });
}
`;
