/** The coupling report: one HTML file that needs nothing beside it. */
import { ArgumentError } from "../core/errors.js";
import { classCharts, dangerCharts, layerFigure, partSums, tokenHeat } from "./coupling_charts.js";
import type { CouplingDocument } from "./coupling_document.js";
import { HEAT_SCRIPT, heatLegend, heatMap } from "./coupling_heat_map.js";
import { goodAnswersPart, optimiserText, statesPart } from "./coupling_state_charts.js";
import { couplingStyle } from "./coupling_style.js";
import { pairArticles, table } from "./coupling_text.js";
import { element, escaped } from "./svg.js";

/**
 * A page about one analysis, or about two side by side.
 * @param documents one, or two to compare
 * @returns a whole HTML document; every text of the samples is escaped, nothing is loaded from elsewhere
 * @throws ArgumentError for another number of documents, or a Gram that does not fit the samples
 */
export function couplingReportHtml(documents: readonly CouplingDocument[]): string {
  if (documents.length !== 1 && documents.length !== 2) {
    throw new ArgumentError(
      `[coupling report] got ${documents.length} analyses, expected 1, or 2 to compare. Pass as many.`,
    );
  }
  for (const { name, samples, gram, order } of documents) {
    if (gram.length !== samples.length ** 2 || order.length !== samples.length) {
      throw new ArgumentError(
        `[coupling report] ${name} does not fit together: got ${gram.length} products and ${order.length} places for ` +
          `${samples.length} samples, expected N x N and N. Write the analysis again.`,
      );
    }
  }
  const title = `Gradient coupling: ${documents.map(({ name }) => name).join(" and ")}`;
  const body = [
    element(
      "header",
      {},
      element("h1", {}, escaped(title)),
      element(
        "p",
        { class: "quiet" },
        "Which samples of an update push which. K is the inner product of two samples' gradients; to first order a sample " +
          "changes another's log-probability by its weight times its advantage times K. A punished sample whose total is " +
          "above 0 becomes likelier.",
      ),
    ),
    element("main", {}, ...sections(documents)),
    element("script", {}, HEAT_SCRIPT),
  ];
  return `<!doctype html>\n${element(
    "html",
    { lang: "en" },
    element(
      "head",
      {},
      '<meta charset="utf-8">',
      '<meta name="viewport" content="width=device-width, initial-scale=1">',
      element("title", {}, escaped(title)),
      element("style", {}, couplingStyle()),
    ),
    element("body", {}, ...body),
  )}\n`;
}

/** Every section shows all analyses beside each other. */
function sections(documents: readonly CouplingDocument[]): string[] {
  const section = (title: string, about: string, show: (document: CouplingDocument, at: number) => string) =>
    element(
      "section",
      {},
      element("h2", {}, escaped(title)),
      element("p", { class: "quiet" }, escaped(about)),
      element(
        "div",
        { class: documents.length === 2 ? "runs two" : "runs" },
        ...documents.map((document, at) => {
          const head = documents.length === 2 ? element("h3", {}, escaped(document.name)) : "";
          return element("div", {}, head, show(document, at));
        }),
      ),
    );
  return [
    element("section", {}, element("h2", {}, "Numbers"), numbersTable(documents)),
    section(
      "Heat map",
      "Cosines between gradients. Samples that push alike are neighbours. The edge bands are blue for rewarded samples and " +
        "orange for punished ones: an orange cell where blue and orange meet is a rewarded sample that lifts a punished one.",
      (document, at) => heatLegend() + heatMap(document, `heat${at}`),
    ),
    section(
      "Worst pairs",
      "Pairs in which a sample lifts a punished one most, by predicted change.",
      pairArticles,
    ),
    section(
      "Cosines by class",
      "Mean cosine of pairs, and how many there are. Good is an advantage above 0, bad one below. Answers with thoughts or tags are " +
        "measured twice, since what all of them share makes whole answers look alike.",
      classCharts,
    ),
    section(
      "Danger zone",
      "Punished actions by their probability and by the predicted change of their logit. The zones are those of a toy with one " +
        "flawed action, fitted to the points: our reconstruction, a description of this batch only.",
      dangerCharts,
    ),
    section(
      "Rewarded answers held down",
      "Punished answers can pull the rewarded ones of their own state down with them. GWHES says by how much, NTHR by which tokens; both " +
        "know the last layer only (2505.18830). Beside them stands what all layers and all states predict.",
      goodAnswersPart,
    ),
    section(
      "Hidden states",
      "Where good and bad actions lie. A linear probe is fitted on some states and judges the others; with shuffled labels it shows what " +
        "chance gives. Before the action the state alone is known, so actions of one state cannot be told apart there.",
      statesPart,
    ),
    section(
      "Layers",
      "Through which parameters rewarded samples push punished ones; the layers with most of it.",
      (document) => layerFigure(document) + partTable(document),
    ),
    section("Tokens of one sample", "", tokenHeat),
    section("Predicted and measured", "How well first order holds.", agreementTable),
    section("Samples", "All samples, in the order of the heat map.", samplesTable),
    element("section", {}, element("h2", {}, "How it was measured"), passportTable(documents)),
  ];
}

function numbersTable(documents: readonly CouplingDocument[]): string {
  const names = [...new Set(documents.flatMap(({ numbers }) => Object.keys(numbers)))];
  return table(
    "Numbers of the whole batch",
    ["number", ...documents.map(({ name }) => name)],
    names.map((name) => [name, ...documents.map(({ numbers }) => numbers[name] ?? null)]),
  );
}

function partTable({ layers }: CouplingDocument): string {
  return table("By part", ["part", "share of |g|²", "rewarded on punished"], partSums(layers));
}

function agreementTable({ agreements }: CouplingDocument): string {
  if (agreements.length === 0) return element("p", {}, "Nothing was measured: run with --verify.");
  return table(
    "Predicted against measured changes of log-probability",
    ["compared", "count", "correlation", "rank correlation", "same sign", "slope"],
    agreements.map((row) => [
      row.what,
      row.count,
      row.correlation,
      row.rankCorrelation,
      row.signAgreement,
      row.slope,
    ]),
  );
}

function samplesTable({ samples, order }: CouplingDocument): string {
  return table(
    "Samples",
    [
      "id",
      "action",
      "rows",
      "advantage",
      "probability",
      "self",
      "cross",
      "total",
      "measured",
      "by the optimiser",
    ],
    order.map((i) => {
      const { id, action, rows, advantage, logProb, self, cross, total, realised } = samples[i];
      const probability = Math.exp(logProb);
      return [
        id,
        action,
        rows,
        advantage,
        probability,
        self,
        cross,
        total,
        realised,
        optimiserText(samples[i]),
      ];
    }),
  );
}

function passportTable(documents: readonly CouplingDocument[]): string {
  const names = [...new Set(documents.flatMap(({ passport }) => Object.keys(passport)))];
  return table(
    "Passport",
    ["what", ...documents.map(({ name }) => name)],
    names.map((name) => [
      name,
      ...documents.map(({ passport }) => {
        const value = passport[name];
        return value === null || value === undefined ? "" : String(value);
      }),
    ]),
  );
}
