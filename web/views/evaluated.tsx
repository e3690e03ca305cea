/** Episodes of an evaluation, turn by turn; the same task after another evaluation stands beside. */
import type { EvaluatedEpisode, EvaluatedLine } from "../../src/watch/api.js";
import { api } from "../api.js";
import { useAsked } from "../live.js";
import { Choice, DataTable, Mark, Shown } from "../parts/common.js";
import { UpdateChoice } from "../parts/update_choice.js";
import { link } from "../route.js";
import { signed } from "../text.js";
import type { ViewProps } from "./view_props.js";

export function Evaluated({ run, route }: ViewProps) {
  const steps = run.transcriptSteps;
  if (steps.length === 0)
    return (
      <p>
        This run keeps no episodes of its evaluations. Runs keep a few of each split and mode, unless
        log.evaluation_episodes is 0; runs of older versions have none.
      </p>
    );
  const step = Number(route.parts[3] ?? steps[steps.length - 1]);
  const index = route.parts[4];
  return index === undefined ? (
    <>
      <div class="bar">
        <UpdateChoice
          steps={steps}
          step={step}
          onChoose={(next) => {
            location.hash = link(["run", run.run, "evaluations", next]);
          }}
        />
      </div>
      <EpisodeList key={step} run={run.run} step={step} />
    </>
  ) : (
    <Pair
      run={run.run}
      steps={steps}
      step={step}
      index={Number(index)}
      beside={Number(route.query.get("beside") ?? Number.NaN)}
    />
  );
}

const name = ({ split, mode, instructions }: EvaluatedLine) =>
  [split, mode, ...(instructions === null ? [] : [`${instructions} instructions`])].join(", ");

function EpisodeList({ run, step }: { readonly run: string; readonly step: number }) {
  const asked = useAsked(`${run} ${step}`, () => api.evaluated(run, step));
  return (
    <Shown asked={asked}>
      {({ episodes, damaged }) => (
        <>
          {damaged > 0 && <p class="problem">{`${damaged} lines are damaged, and left out here.`}</p>}
          <p class="quiet">
            The first episodes of each split and mode. Every evaluation plays the same tasks, so an episode
            can be seen beside the same task after another update.
          </p>
          {[...new Set(episodes.map(name))].map((part) => (
            <section key={part}>
              <h2>{part}</h2>
              <PartTable run={run} step={step} lines={episodes.filter((one) => name(one) === part)} />
            </section>
          ))}
        </>
      )}
    </Shown>
  );
}

function PartTable({
  run,
  step,
  lines,
}: {
  readonly run: string;
  readonly step: number;
  readonly lines: readonly EvaluatedLine[];
}) {
  return (
    <DataTable label="Evaluated episodes" columns={["task", "ended", "turns", "invalid", "repeated", "type"]}>
      {lines.map(({ index, taskId, taskType, sample, ended, turns, invalid, repeated }) => (
        <tr key={index}>
          <th scope="row">
            <a href={link(["run", run, "evaluations", step, index])}>
              {sample === 0 ? taskId : `${taskId}, sample ${sample}`}
            </a>
          </th>
          <td class={ended === "won" ? "is-low" : undefined}>{ended}</td>
          <td class="number">{turns}</td>
          <td class="number">{invalid}</td>
          <td class="number">{repeated}</td>
          <td>{taskType}</td>
        </tr>
      ))}
    </DataTable>
  );
}

/** The same task in the same part of another evaluation; undefined where that one kept none. */
async function sameTask(run: string, step: number, of: EvaluatedLine): Promise<EvaluatedEpisode | undefined> {
  const { episodes } = await api.evaluated(run, step);
  const found = episodes.find(
    (one) => name(one) === name(of) && one.taskId === of.taskId && one.sample === of.sample,
  );
  return found && api.evaluatedEpisode(run, step, found.index);
}

function Pair({
  run,
  steps,
  step,
  index,
  beside,
}: {
  readonly run: string;
  readonly steps: readonly number[];
  readonly step: number;
  readonly index: number;
  /** Update of another evaluation; NaN: none is shown. */
  readonly beside: number;
}) {
  const asked = useAsked(`${run} ${step} ${index} ${beside}`, async () => {
    const first = await api.evaluatedEpisode(run, step, index);
    return { first, second: Number.isNaN(beside) ? undefined : await sameTask(run, beside, first) };
  });
  const others = steps.filter((one) => one !== step).map((one) => [String(one), `update ${one}`] as const);
  return (
    <Shown asked={asked}>
      {({ first, second }) => (
        <>
          <div class="bar">
            <a href={link(["run", run, "evaluations", step])}>{`Evaluation after update ${step}`}</a>
            <h2>{first.taskId}</h2>
            <span class="quiet">{[name(first), first.taskType].filter(Boolean).join(", ")}</span>
            <Choice
              label="Beside it, the same task after"
              value={Number.isNaN(beside) ? "" : String(beside)}
              options={[["", "no other"], ...others]}
              onChoose={(next) => {
                const query = next === "" ? {} : { beside: next };
                location.hash = link(["run", run, "evaluations", step, index], query);
              }}
            />
          </div>
          <div class="pair">
            <Steps episode={first} />
            {second !== undefined && <Steps episode={second} />}
            {second === undefined && !Number.isNaN(beside) && (
              <p>{`The evaluation after update ${beside} kept no episode of this task.`}</p>
            )}
          </div>
        </>
      )}
    </Shown>
  );
}

function Steps({ episode: { step, ended, failure, steps } }: { readonly episode: EvaluatedEpisode }) {
  return (
    <section aria-label={`after update ${step}`}>
      <h3>{`After update ${step}: ${ended}, ${steps.length} turns`}</h3>
      {failure !== null && <p class="problem">{failure}</p>}
      <ol class="turns">
        {steps.map(({ observation, action, valid, truncated, repeated, reward }, turn) => (
          <li class="turn" key={turn}>
            <p class="quiet observation">{observation}</p>
            <p class="action">
              <strong>{action === "" ? "(no command)" : action}</strong>
              {!valid && <Mark kind="bad" text="not valid" />}
              {repeated && <Mark kind="bad" text="repeated" />}
              {truncated && <Mark kind="bad" text="cut off" />}
              {reward !== 0 && <Mark kind="good" text={`reward ${signed(reward)}`} />}
            </p>
          </li>
        ))}
      </ol>
    </section>
  );
}
