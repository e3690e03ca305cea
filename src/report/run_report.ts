/** One run as a page that stands alone. */
import { couplingStyle } from "./coupling_style.js";
import { table } from "./coupling_text.js";
import { element, escaped } from "./svg.js";

/** A process that worked on a run. */
export interface RunSessionText {
  readonly started: string;
  readonly command: string;
  readonly commit: string;
  readonly adapter: string;
}

/** Success in one evaluation, with its interval. */
export interface RunEvaluation {
  readonly step: number;
  readonly split: string;
  readonly mode: string;
  readonly instructions: string | null;
  readonly episodes: number;
  readonly success: number;
  readonly low: number;
  readonly high: number;
}

export interface RunReport {
  readonly run: string;
  readonly status: string;
  readonly reason: string | null;
  readonly step: number;
  readonly started: string | null;
  readonly settings: Readonly<Record<string, string>>;
  readonly sessions: readonly RunSessionText[];
  readonly evaluations: readonly RunEvaluation[];
  /** Whole SVG documents. */
  readonly pictures: readonly string[];
}

/** @returns a whole HTML document: every text is escaped, nothing is loaded from elsewhere */
export function runReportHtml(report: RunReport): string {
  const { run, status, reason, step, started, pictures } = report;
  const state = `${status}${reason === null ? "" : ` (${reason})`}, ${step} updates, started ${started ?? "at an unknown time"}`;
  const section = (title: string, ...content: readonly string[]) =>
    element("section", {}, element("h2", {}, title), ...content);
  return `<!doctype html>\n${element(
    "html",
    { lang: "en" },
    element(
      "head",
      {},
      '<meta charset="utf-8">',
      '<meta name="viewport" content="width=device-width, initial-scale=1">',
      element("title", {}, escaped(run)),
      element("style", {}, `${couplingStyle()}\n.pictures svg { max-width: 100%; height: auto; }`),
    ),
    element(
      "body",
      {},
      element(
        "header",
        {},
        element("h1", {}, escaped(run)),
        element("p", { class: "quiet" }, escaped(state)),
      ),
      element(
        "main",
        {},
        section("Evaluations", evaluationTable(report)),
        section(
          "Curves",
          element("div", { class: "runs two pictures" }, ...pictures.map((svg) => element("div", {}, svg))),
        ),
        section("Sessions", sessionTable(report)),
        section("Settings", table("Settings", ["setting", "value"], Object.entries(report.settings))),
      ),
    ),
  )}\n`;
}

function evaluationTable({ evaluations }: RunReport): string {
  if (evaluations.length === 0) return element("p", {}, "Nothing was evaluated.");
  return table(
    "Success with 95 % intervals",
    ["after update", "split", "mode", "instructions", "episodes", "success", "low", "high"],
    evaluations.map((one) => [
      one.step,
      one.split,
      one.mode,
      one.instructions ?? "none",
      one.episodes,
      one.success,
      one.low,
      one.high,
    ]),
  );
}

function sessionTable({ sessions }: RunReport): string {
  return table(
    "Processes that worked on the run",
    ["started", "command", "commit", "adapter"],
    sessions.map(({ started, command, commit, adapter }) => [started, command, commit, adapter]),
  );
}
