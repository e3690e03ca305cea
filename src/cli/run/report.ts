/** `uncouple report`: one run as a page that stands alone, and its curves as pictures for a paper. */
import { join, resolve } from "node:path";
import { groupBy } from "../../core/group_by.js";
import { writeFilesAtomic } from "../../host/files/files.js";
import { type RunCurve, runCurvesSvg } from "../../report/run_curves.js";
import { PANELS } from "../../report/run_panels.js";
import { runReportHtml } from "../../report/run_report.js";
import type { OpenRun } from "../../watch/open_run.js";
import { plainCommand, type Register } from "../kit/options.js";
import { allOf, openRunAt, pointsOf } from "./opened.js";

export const register: Register = (program, { terminal }) => {
  plainCommand(program, "report", "write one run as an HTML file that stands alone, and its curves as SVG")
    .argument("<run>", "run folder")
    .option("--out <folder>", "where the files go (default: report/ in the run folder)")
    .action(async (path, { out }) => {
      const opened = await openRunAt(path);
      const folder = out ?? join(resolve(path), "report");
      const pictures = picturesOf(opened);
      const files: [string, string][] = [
        ...[...pictures].map(([name, svg]): [string, string] => [join(folder, `${name}.svg`), svg]),
        [
          join(folder, "report.html"),
          runReportHtml({
            ...(await opened.detail()),
            evaluations: opened.evaluations,
            pictures: [...pictures.values()],
          }),
        ],
      ];
      await writeFilesAtomic(files);
      for (const [file] of files) terminal.print(file);
    });
};

/** Curves by file name: success, then the panels of the page that the run has numbers for. */
function picturesOf(run: OpenRun): Map<string, string> {
  const columns = allOf(run, ["success", ...PANELS.flatMap(({ keys }) => keys)]);
  const evaluated = groupBy(run.evaluations, ({ split, mode, instructions }) =>
    [split, mode, ...(instructions === null ? [] : [`${instructions} instructions`])].join(" "),
  );
  const success: RunCurve[] = [
    { name: "training rollouts", points: pointsOf(columns, "success") },
    ...[...evaluated].map(([name, points]) => ({
      name,
      points: points.map(({ step, success: value }) => [step, value] as const),
      band: points.map(({ low, high }) => [low, high] as const),
    })),
  ];
  const panels = [
    {
      title: "Success",
      about: "Share of episodes that reached their goal, by updates; 95 % intervals.",
      curves: success,
    },
    ...PANELS.map(({ title, about, keys }) => ({
      title,
      about: about ?? "By updates.",
      curves: keys.map((key) => ({ name: key, points: pointsOf(columns, key) })),
    })),
  ];
  return new Map(
    panels.flatMap(({ title, about, curves }) => {
      const svg = runCurvesSvg(title, about, curves);
      return svg === undefined ? [] : [[title.toLowerCase().replaceAll(" ", "_"), svg] as const];
    }),
  );
}
