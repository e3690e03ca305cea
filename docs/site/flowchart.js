// Flow charts of the documents, drawn while the site is built: nothing has to be loaded to see them.
import { instance } from "@viz-js/viz";

const viz = await instance();
const STYLE = {
  graphAttributes: { bgcolor: "transparent", ranksep: 0.5, nodesep: 0.06 },
  nodeAttributes: {
    shape: "box",
    style: "rounded",
    height: 0.45,
    fontname: "sans-serif",
    fontsize: 17,
    margin: "0.2,0.05",
    color: "#777777",
  },
  edgeAttributes: { arrowsize: 0.8 },
};

/** Blocks of code in the language `mermaid`, of lines `a --> b` after a first line that says so. */
export function flowcharts(markdown) {
  const plain = markdown.renderer.rules.fence;
  markdown.renderer.rules.fence = (tokens, index, ...rest) =>
    tokens[index].info.trim() === "mermaid" ? drawn(tokens[index].content) : plain(tokens, index, ...rest);
}

function drawn(text) {
  const [head, ...lines] = text.trim().split("\n");
  const edges = lines.map((line) => {
    const [, tail, end] = /^\s*(\w+) --> (\w+)\s*$/.exec(line) ?? [];
    if (head !== "flowchart TD" || tail === undefined)
      throw new Error(
        `[flow chart] line cannot be drawn: got ${line}, expected a --> b after flowchart TD. Write it so.`,
      );
    return { tail, head: end };
  });
  const told = edges.map(({ tail, head: end }) => `${tail} to ${end}`).join(", ");
  const svg = viz
    .renderString({ directed: true, edges, ...STYLE }, { format: "svg" })
    // the page says how wide it is
    .replace(/^[\s\S]*?<svg width="[^"]*" height="[^"]*"/, `<svg role="img" aria-label="Flow chart: ${told}"`)
    .replaceAll(/(stroke|fill)="black"/g, '$1="currentColor"')
    .replaceAll("<text ", '<text fill="currentColor" ');
  return `<div class="flowchart" v-pre>${svg}</div>\n`;
}
