/** Several runs: their curves together, and where their settings differ. */

import { useMemo, useState } from "preact/hooks";
import type { Palette } from "../../src/report/palette.js";
import { PANELS } from "../../src/report/run_panels.js";
import type { EvaluationPoint, RunDetail, RunState, Series } from "../../src/watch/api.js";
import { api } from "../api.js";
import { useAsked, useEvents } from "../live.js";
import { evaluationLines, lineOf, PANEL_KEYS } from "../panels.js";
import { Shown } from "../parts/common.js";
import { type Line, LineChart } from "../parts/line_chart.js";
import { link } from "../route.js";
import { CurveTools } from "./curves.js";
import { SettingTable } from "./settings.js";

/** Runs beside each other at most: more lines cannot be told apart. */
const MOST = 8;

interface Compared {
  readonly run: RunDetail;
  readonly series: Series;
  readonly evaluations: readonly EvaluationPoint[];
}

async function readAll(names: readonly string[], further: readonly string[]): Promise<Compared[]> {
  return Promise.all(
    names.map(async (name) => {
      const [run, series, evaluations] = await Promise.all([
        api.run(name),
        api.series(name, [...PANEL_KEYS, ...further], 0, 0),
        api.evaluations(name),
      ]);
      return { run, series, evaluations };
    }),
  );
}

export function Compare({ runs, palette }: { readonly runs: readonly string[]; readonly palette: Palette }) {
  const names = runs.slice(0, MOST);
  const [smoothing, setSmoothing] = useState(5);
  const [further, setFurther] = useState<readonly string[]>([]);
  const newest = useEvents<RunState>(`events?run=${encodeURIComponent(names[0] ?? "")}`);
  const asked = useAsked(
    `${names.join("/")} ${further.join()} ${newest?.metrics} ${newest?.generation}`,
    () => readAll(names, further),
  );
  return (
    <Shown asked={asked}>
      {(compared) => (
        <>
          <div class="bar">
            <h1>{`${names.length} runs`}</h1>
            {names.map((name, index) => (
              <span class="key" key={name}>
                <i class={`swatch fill${index}`} />
                <a href={link(["run", name])}>{name}</a>
              </span>
            ))}
          </div>
          <CurveTools
            smoothing={smoothing}
            onSmooth={setSmoothing}
            names={[...new Set(compared.flatMap(({ run }) => run.keys))].filter(
              (key) => !PANEL_KEYS.includes(key) && !further.includes(key),
            )}
            onAdd={(key) => setFurther((before) => [...before, key])}
          />
          <ComparedCharts compared={compared} further={further} palette={palette} smoothing={smoothing} />
          <Differences runs={compared.map(({ run }) => run)} />
        </>
      )}
    </Shown>
  );
}

function ComparedCharts({
  compared,
  further,
  palette,
  smoothing,
}: {
  readonly compared: readonly Compared[];
  readonly further: readonly string[];
  readonly palette: Palette;
  readonly smoothing: number;
}) {
  const panels = useMemo(() => panelsOf(compared, further), [compared, further]);
  return (
    <div class="panels">
      {panels.map(({ title, range, lines }) => (
        <LineChart key={title} {...{ title, range, lines, palette, smoothing }} />
      ))}
    </div>
  );
}

interface ComparedPanel {
  readonly title: string;
  readonly range?: readonly [number, number];
  readonly lines: readonly Line[];
}

/** One panel a metric, one line a run. */
function panelsOf(compared: readonly Compared[], further: readonly string[]): ComparedPanel[] {
  const evaluated = compared.map(({ run, evaluations }, colour) =>
    evaluationLines(evaluations, 0).map((line) => ({
      evaluation: line.name,
      line: { ...line, name: run.run, colour },
    })),
  );
  const evaluations = [...new Set(evaluated.flat().map(({ evaluation }) => evaluation))];
  const columns = (key: string) =>
    compared.map(({ run, series }, colour) => lineOf(series, key, colour, run.run));
  return [
    { title: "Success of training rollouts", range: [0, 1], lines: columns("success") },
    ...evaluations.map(
      (name): ComparedPanel => ({
        title: `Success, ${name}`,
        range: [0, 1],
        lines: evaluated
          .flat()
          .filter(({ evaluation }) => evaluation === name)
          .map(({ line }) => line),
      }),
    ),
    ...PANELS.flatMap(({ keys, range }) => keys.map((key) => ({ title: key, range, lines: columns(key) }))),
    ...further.map((key) => ({ title: key, lines: columns(key) })),
  ];
}

/** Settings that are not the same in all. */
function Differences({ runs }: { readonly runs: readonly RunDetail[] }) {
  const paths = [...new Set(runs.flatMap(({ settings }) => Object.keys(settings)))].sort();
  const rows = paths
    .map((path) => [path, runs.map(({ settings }) => settings[path])] as const)
    .filter(([, values]) => new Set(values).size > 1);
  return (
    <section>
      <h2>Settings that differ</h2>
      {rows.length === 0 ? (
        <p>None: the settings are the same.</p>
      ) : (
        <SettingTable rows={rows} runs={runs.map(({ run }) => run)} />
      )}
    </section>
  );
}
