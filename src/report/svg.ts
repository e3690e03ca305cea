/** SVG as text: elements, escaping and logarithmic axes. */

type Attributes = Readonly<Record<string, string | number | undefined>>;

/** One element. Children are markup made by this function or by `escaped`. */
export function element(name: string, attributes: Attributes, ...children: readonly string[]): string {
  const given = Object.entries(attributes).filter(([, value]) => value !== undefined);
  const text = given.map(([key, value]) => ` ${key}="${escaped(format(value as string | number))}"`).join("");
  return children.length === 0 ? `<${name}${text}/>` : `<${name}${text}>${children.join("")}</${name}>`;
}

/** Text that means itself inside markup and attributes; control characters, which XML forbids, become blanks. */
export function escaped(text: string): string {
  return text
    .replaceAll(/\p{Cc}/gu, " ")
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

/** A label; `anchor` is start, middle or end. */
export function label(
  x: number,
  y: number,
  text: string,
  { anchor = "start", size = 12, ...rest }: Attributes & { anchor?: string; size?: number } = {},
): string {
  return element("text", { x, y, "text-anchor": anchor, "font-size": size, ...rest }, escaped(text));
}

/** A whole picture with a white ground and a font that every system has. */
export function picture(width: number, height: number, title: string, content: readonly string[]): string {
  return element(
    "svg",
    {
      xmlns: "http://www.w3.org/2000/svg",
      width,
      height,
      viewBox: `0 0 ${format(width)} ${format(height)}`,
      "font-family": "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif",
      fill: "#1b1f24",
    },
    element("title", {}, escaped(title)),
    element("rect", { width, height, fill: "#ffffff" }),
    ...content,
  );
}

/** A logarithmic axis from data to pixels. */
export interface LogScale {
  readonly low: number;
  readonly high: number;
  at(value: number): number;
  /** Powers of ten inside the range. */
  readonly ticks: readonly number[];
}

/** Covers the values, out to whole powers of ten. @param values above 0, at least one */
export function logScale(values: readonly number[], start: number, end: number): LogScale {
  const low = Math.floor(Math.log10(values.reduce((a, b) => Math.min(a, b))) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log10(values.reduce((a, b) => Math.max(a, b))) - 1e-9));
  return {
    low: 10 ** low,
    high: 10 ** high,
    at: (value) => start + ((Math.log10(value) - low) / (high - low)) * (end - start),
    ticks: Array.from({ length: high - low + 1 }, (_, i) => 10 ** (low + i)),
  };
}

/** The same in powers of two, for data that spans little; at most seven ticks. */
export function octaveScale(values: readonly number[], start: number, end: number): LogScale {
  const low = Math.floor(Math.log2(values.reduce((a, b) => Math.min(a, b))) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(Math.log2(values.reduce((a, b) => Math.max(a, b))) - 1e-9));
  const step = Math.ceil((high - low) / 6);
  return {
    low: 2 ** low,
    high: 2 ** high,
    at: (value) => start + ((Math.log2(value) - low) / (high - low)) * (end - start),
    ticks: Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, i) => 2 ** (low + step * i)),
  };
}

/** Colours that differ for colour-blind eyes too, by index. @source Okabe & Ito 2008, darkened yellow */
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9", "#e69f00", "#5e4fa2"];

export function colour(index: number): string {
  return COLOURS[index % COLOURS.length];
}

/** Short text of a positive number: 0.001, 1.5, 12,300. */
export function shortNumber(value: number): string {
  const rounded = Number(value.toPrecision(3));
  return rounded >= 1000 ? rounded.toLocaleString("en-US") : String(rounded);
}

/** Coordinates need no more than a tenth of a pixel. */
function format(value: string | number): string {
  return typeof value === "number" ? String(Math.round(value * 10) / 10) : value;
}
