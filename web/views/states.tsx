/** States that several episodes of a group were in, and what they tried there. */
import { useState } from "preact/hooks";
import { type AnchorAction, type AnchorState, PAGE } from "../../src/watch/api.js";
import { api } from "../api.js";
import { useAsked } from "../live.js";
import { DataTable, Pages, Shown } from "../parts/common.js";
import { UpdateChoice } from "../parts/update_choice.js";
import { link } from "../route.js";
import { figure, signed } from "../text.js";
import { NoRollouts } from "./groups.js";
import type { ViewProps } from "./view_props.js";

export function States({ run, route }: ViewProps) {
  const steps = run.rolloutSteps;
  const [from, setFrom] = useState(0);
  const step = Number(route.parts[3] ?? steps[steps.length - 1]);
  if (steps.length === 0) return <NoRollouts />;
  return (
    <>
      <div class="bar">
        <UpdateChoice
          steps={steps}
          step={step}
          onChoose={(next) => {
            setFrom(0);
            location.hash = link(["run", run.run, "states", next]);
          }}
        />
      </div>
      <p class="quiet">
        Anchor states: states of one group that were visited more than once. Those in which different actions
        were tried come first.
      </p>
      <StateList key={step} run={run.run} step={step} from={from} onMove={setFrom} />
    </>
  );
}

function StateList({
  run,
  step,
  from,
  onMove,
}: {
  readonly run: string;
  readonly step: number;
  readonly from: number;
  readonly onMove: (from: number) => void;
}) {
  const asked = useAsked(`${step} ${from}`, () => api.anchors(run, step, from));
  return (
    <Shown asked={asked}>
      {(page) => (
        <>
          <Pages
            from={page.from}
            shown={page.states.length}
            step={PAGE}
            total={page.total}
            what="states"
            onMove={onMove}
          />
          {page.states.map((state) => (
            <StateCard key={`${state.group} ${state.anchor}`} run={run} step={step} state={state} />
          ))}
        </>
      )}
    </Shown>
  );
}

function StateCard({
  run,
  step,
  state,
}: {
  readonly run: string;
  readonly step: number;
  readonly state: AnchorState;
}) {
  return (
    <article class="state panel">
      <h3>{`Group ${state.group}, ${state.visits} visits`}</h3>
      <p class="quiet observation">{state.observation}</p>
      <DataTable
        label="Actions tried in this state"
        columns={["action", "visits", "mean outcome", "mean advantage", "label", "where"]}
      >
        {state.actions.map((action) => (
          <ActionRow key={action.action} {...{ run, step, action }} group={state.group} />
        ))}
      </DataTable>
    </article>
  );
}

/** Links to visits at most. */
const MOST_PLACES = 6;

function ActionRow({
  run,
  step,
  group,
  action,
}: {
  readonly run: string;
  readonly step: number;
  readonly group: number;
  readonly action: AnchorAction;
}) {
  const { places } = action;
  return (
    <tr>
      <th scope="row">{action.action}</th>
      <td class="number">{action.visits}</td>
      <td class="number">{figure(action.outcome)}</td>
      <td class={`number ${action.advantage > 0 ? "is-low" : action.advantage < 0 ? "is-high" : ""}`}>
        {signed(action.advantage)}
      </td>
      <td>{action.verdict ?? "–"}</td>
      <td>
        {places.slice(0, MOST_PLACES).map(({ episode, turn }) => (
          <a
            class="place"
            key={`${episode} ${turn}`}
            href={link(["run", run, "episodes", step, group], { a: episode, turn })}
          >
            {`${episode}.${turn}`}
          </a>
        ))}
        {places.length > MOST_PLACES && (
          <span class="quiet">{`and ${places.length - MOST_PLACES} more`}</span>
        )}
      </td>
    </tr>
  );
}
