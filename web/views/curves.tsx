/** Curves of one run. */

import { useMemo, useState } from "preact/hooks";
import { PANELS } from "../../src/report/run_panels.js";
import type { Series } from "../../src/watch/api.js";
import { evaluationLines, evaluationName, lineOf, PANEL_KEYS, stageStart, typeLines } from "../panels.js";
import { Choice, Shown } from "../parts/common.js";
import { LineChart } from "../parts/line_chart.js";
import { link } from "../route.js";
import { useEvaluations, useSeries } from "../series.js";
import { nearestOf } from "../steps.js";
import type { ViewProps } from "./view_props.js";

export function Curves({
  run,
  state,
  palette,
  early,
}: ViewProps & { readonly early: Promise<Series> | undefined }) {
  const [smoothing, setSmoothing] = useState(0);
  const [further, setFurther] = useState<readonly string[]>([]);
  const keys = useMemo(() => [...PANEL_KEYS, ...further], [further]);
  const series = useSeries(run.run, keys, state, early);
  const evaluations = useEvaluations(run.run, state);
  const pick = (step: number) => {
    const kept = nearestOf(run.rolloutSteps, step);
    if (kept !== undefined) location.hash = link(["run", run.run, "groups", kept]);
  };
  const stages = [...new Set(series.value?.stage)];
  const [chosen, setStage] = useState<string>();
  // the stages differ in what they measure, so one at a time is looked at: at first the newest
  const stage = chosen === ALL ? undefined : (chosen ?? stages[stages.length - 1]);
  const common = { palette, smoothing, onPick: run.rolloutSteps.length > 0 ? pick : undefined };
  const evaluated = (columns: Columns) =>
    (evaluations.value ?? []).filter(({ step }) => step >= stageStart(columns, stage));
  return (
    <Shown asked={series}>
      {(columns) => (
        <>
          {stages.length > 1 && (
            <Choice
              label="Stage"
              value={stage ?? ALL}
              options={[...stages, ALL].map((one) => [one, one])}
              onChoose={setStage}
            />
          )}
          <CurveTools
            smoothing={smoothing}
            onSmooth={setSmoothing}
            names={run.keys.filter((key) => !keys.includes(key))}
            onAdd={(key) => setFurther((before) => [...before, key])}
          />
          <div class="panels">
            <SuccessPanel columns={columns} stage={stage} evaluations={evaluated(columns)} common={common} />
            <TypePanel evaluations={evaluated(columns)} common={common} />
            {[...PANELS, ...further.map((key) => ({ title: key, keys: [key] }))].map((panel) => (
              <PanelChart key={panel.title} panel={panel} columns={columns} stage={stage} common={common} />
            ))}
          </div>
          {columns.total === 0 && <p>No update is recorded yet.</p>}
          {columns.stride > 1 && (
            <p class="quiet">
              {columns.isSample
                ? `Every ${columns.stride}th of ${columns.total} updates; the others are being read.`
                : `Each point is the mean of ${columns.stride} updates; the run has ${columns.total}.`}
            </p>
          )}
        </>
      )}
    </Shown>
  );
}

/** Choice of every stage together. */
const ALL = "all stages";

type Common = Pick<Parameters<typeof LineChart>[0], "palette" | "smoothing" | "onPick">;
type Columns = Parameters<typeof lineOf>[0];

function PanelChart({
  panel,
  columns,
  stage,
  common,
}: {
  readonly panel: (typeof PANELS)[number];
  readonly columns: Columns;
  readonly stage: string | undefined;
  readonly common: Common;
}) {
  const lines = useMemo(
    () => panel.keys.map((key, index) => lineOf(columns, key, index, key, stage)),
    [columns, stage, panel.keys.join()],
  );
  return <LineChart {...panel} {...common} lines={lines} />;
}

function SuccessPanel({
  columns,
  stage,
  evaluations,
  common,
}: {
  readonly columns: Columns;
  readonly stage: string | undefined;
  readonly evaluations: Parameters<typeof evaluationLines>[0];
  readonly common: Common;
}) {
  const lines = useMemo(
    () => [lineOf(columns, "success", 7, "training rollouts", stage), ...evaluationLines(evaluations, 0)],
    [columns, stage, evaluations],
  );
  return (
    <LineChart
      {...common}
      title="Success"
      about="Share of episodes that reached their goal; evaluations with their 95 % intervals."
      range={[0, 1]}
      lines={lines}
    />
  );
}

function TypePanel({
  evaluations,
  common,
}: {
  readonly evaluations: Parameters<typeof typeLines>[0];
  readonly common: Common;
}) {
  const names = [...new Set(evaluations.map(evaluationName))];
  const [chosen, setChosen] = useState<string>();
  const name = chosen ?? names[0];
  const lines = useMemo(
    () => typeLines(evaluations.filter((point) => evaluationName(point) === name)),
    [evaluations, name],
  );
  if (lines.length === 0) return null;
  return (
    <div>
      <LineChart
        {...common}
        title="Success by task type"
        about={`Evaluations, ${name}, with 95 % intervals.`}
        range={[0, 1]}
        lines={lines}
      />
      {names.length > 1 && (
        <Choice
          label="Evaluation"
          value={name}
          options={names.map((one) => [one, one])}
          onChoose={setChosen}
        />
      )}
    </div>
  );
}

/** Smoothing, and further metrics by name. */
export function CurveTools({
  smoothing,
  onSmooth,
  names,
  onAdd,
}: {
  readonly smoothing: number;
  readonly onSmooth: (steps: number) => void;
  readonly names: readonly string[];
  readonly onAdd: (key: string) => void;
}) {
  return (
    <div class="bar">
      <label class="choice">
        <span>{smoothing === 0 ? "Smoothing: none" : `Smoothing: ${smoothing} updates`}</span>
        <input
          type="range"
          min={0}
          max={50}
          value={smoothing}
          onInput={(event) => onSmooth(Number(event.currentTarget.value))}
        />
      </label>
      <label class="choice">
        <span>Add a curve</span>
        <select
          value=""
          onChange={(event) => {
            if (event.currentTarget.value !== "") onAdd(event.currentTarget.value);
          }}
        >
          <option value="">{`${names.length} more metrics`}</option>
          {names.map((name) => (
            <option value={name} key={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
    </div>
  );
}
