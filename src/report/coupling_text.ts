/** Text of the coupling report: numbers in words, sentences about samples and pairs, small HTML parts. */
import type { CouplingDocument, CouplingPair, CouplingSample } from "./coupling_document.js";
import { element, escaped } from "./svg.js";

/** Three digits: 0.0123, 1.5, -2e-7; "none" of what is not defined. */
export function numberText(value: number | null | undefined): string {
  if (value === null || value === undefined) return "none";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size < 1e-3 || size >= 1e5 ? value.toExponential(2) : String(Number(value.toPrecision(3)));
}

/** The same with its sign. */
export function signedText(value: number | null | undefined): string {
  return typeof value === "number" && value > 0 ? `+${numberText(value)}` : numberText(value);
}

/** Cut to a number of characters. */
export function shortText(text: string, most: number): string {
  const letters = [...text.trim()];
  return letters.length <= most ? letters.join("") : `${letters.slice(0, most - 1).join("")}…`;
}

/** An action with its advantage, for one line. */
export function sampleText({ action, advantage }: CouplingSample): string {
  return `“${shortText(action, 60)}” (advantage ${signedText(advantage)})`;
}

/** What one sample does to another, in a sentence. */
export function pairSentence(
  samples: readonly CouplingSample[],
  { from, to, gram, cosine, change }: CouplingPair,
): string {
  const direction = change > 0 ? "raises" : change < 0 ? "lowers" : "does not move";
  const same = samples[from].state === samples[to].state ? "the same state" : "another state";
  return from === to
    ? `${sampleText(samples[to])} moves itself by ${signedText(change)}; K = ${numberText(gram)}`
    : `${sampleText(samples[from])} ${direction} ${sampleText(samples[to])} in ${same}: predicted change ` +
        `${signedText(change)}, K = ${numberText(gram)}, cosine ${numberText(cosine)}`;
}

/** A picture inside the page, with its text alternative. Sizes are in units of its own. */
export function figure(
  width: number,
  height: number,
  alternative: string,
  content: readonly string[],
): string {
  return element(
    "svg",
    { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": alternative },
    element("title", {}, escaped(alternative)),
    ...content,
  );
}

/** A table with its head; cells are text. Numbers are set right. */
export function table(
  caption: string,
  head: readonly string[],
  rows: readonly (readonly (string | number | null)[])[],
): string {
  const cell = (value: string | number | null) =>
    typeof value === "string"
      ? element("td", {}, escaped(value))
      : element("td", { class: "number" }, escaped(numberText(value)));
  return element(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", {}, escaped(caption)),
      element(
        "thead",
        {},
        element("tr", {}, ...head.map((text) => element("th", { scope: "col" }, escaped(text)))),
      ),
      element("tbody", {}, ...rows.map((cells) => element("tr", {}, ...cells.map(cell)))),
    ),
  );
}

/** The worst pairs to read: both states, both actions, and what was predicted and measured. */
export function pairArticles({ samples, pairs }: CouplingDocument): string {
  if (pairs.length === 0) return element("p", {}, "No sample raises a punished one.");
  return element(
    "ol",
    { class: "pairs" },
    ...pairs.map((pair) => {
      const [from, to] = [samples[pair.from], samples[pair.to]];
      return element(
        "li",
        {},
        element(
          "dl",
          {},
          ...term("pushed", `${sampleText(to)}, probability ${numberText(Math.exp(to.logProb))}`),
          ...term("in state", to.stateText, "state"),
          ...term("pushed by", sampleText(from)),
          ...term("in state", from.state === to.state ? "the same" : from.stateText, "state"),
          ...term(
            "how",
            `K = ${numberText(pair.gram)}, cosine ${numberText(pair.cosine)}, predicted change by this pair alone ` +
              signedText(pair.change),
          ),
          ...term(
            "in all",
            `self ${signedText(to.self)}, cross ${signedText(to.cross)}, predicted ${signedText(to.total)}, ` +
              `measured ${to.realised === null ? "not" : signedText(to.realised)}`,
          ),
        ),
      );
    }),
  );
}

function term(name: string, text: string, kind?: string): string[] {
  // the text of a state is turned to its end, where the newest observation stands: see the style of dd.state
  const content = kind === undefined ? lines(text) : [element("div", {}, ...lines(text))];
  return [element("dt", {}, escaped(name)), element("dd", { class: kind }, ...content)];
}

/** Line breaks stay. */
function lines(text: string): string[] {
  return text.split("\n").flatMap((line, index) => (index === 0 ? [escaped(line)] : ["<br>", escaped(line)]));
}
