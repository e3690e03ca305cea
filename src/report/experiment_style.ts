/** Frame of the pictures of an experiment, for light and for dark grounds. */
import { DARK, LIGHT, type Palette } from "./palette.js";
import { element, escaped, label } from "./svg.js";

/** Classes of marks: `series0` and so on fill, `stroke0` and so on draw lines. */
export function seriesClass(index: number): string {
  return `series${index % LIGHT.series.length}`;
}

export function strokeClass(index: number): string {
  return `stroke${index % LIGHT.series.length}`;
}

function rules({ ground, ink, quiet, line, series }: Palette): string {
  return [
    `.ground{fill:${ground}}`,
    `text{fill:${ink}}`,
    `.quiet{fill:${quiet}}`,
    `.grid{stroke:${line}}`,
    `.axis{stroke:${quiet}}`,
    ...series.map((colour, index) => `.series${index}{fill:${colour}}.stroke${index}{stroke:${colour}}`),
  ].join("");
}

/** A whole picture with title and a line of explanation. */
export function experimentPicture(
  width: number,
  height: number,
  { title, note }: { readonly title: string; readonly note: string },
  content: readonly string[],
): string {
  return element(
    "svg",
    {
      xmlns: "http://www.w3.org/2000/svg",
      width,
      height,
      viewBox: `0 0 ${Math.round(width)} ${Math.round(height)}`,
      "font-family": "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif",
    },
    element("title", {}, escaped(title)),
    element("style", {}, `${rules(LIGHT)}@media (prefers-color-scheme:dark){${rules(DARK)}}`),
    element("rect", { width, height, class: "ground" }),
    label(16, 28, title, { size: 17 }),
    label(16, 48, note, { size: 11, class: "quiet" }),
    ...content,
  );
}

/** Room that title and note take. */
export const HEAD = 62;

/** A linear axis from data to pixels with ticks at round numbers. */
export interface LinearScale {
  at(value: number): number;
  readonly ticks: readonly number[];
}

/** Covers all values with some four to seven ticks. @param start pixel of the low end */
export function linearScale(values: readonly number[], start: number, end: number): LinearScale {
  const least = values.reduce((a, b) => Math.min(a, b), Number.POSITIVE_INFINITY);
  const most = values.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY);
  const [from, to] = least < most ? [least, most] : [least - 0.5, least + 0.5];
  const step = roundStep((to - from) / 4);
  const [low, high] = [Math.floor(from / step + 1e-9), Math.ceil(to / step - 1e-9)];
  const span = Math.max(1, high - low);
  return {
    at: (value) => start + ((value / step - low) / span) * (end - start),
    ticks: Array.from({ length: span + 1 }, (_, i) => (low + i) * step),
  };
}

/** The largest of 1, 2 and 5 times a power of ten that is not above the size. */
function roundStep(size: number): number {
  const power = 10 ** Math.floor(Math.log10(size));
  const factor = [5, 2, 1].find((one) => one * power <= size * (1 + 1e-9)) ?? 1;
  return factor * power;
}

/** Text of a tick: at most three digits and a unit of thousands. */
export function tickText(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  return String(Number(value.toPrecision(3)));
}
