/** One run: its head, and the view of it that the address names. */
import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import type { Palette } from "../../src/report/palette.js";
import type { RunDetail, RunState, Series } from "../../src/watch/api.js";
import { api } from "../api.js";
import { useAsked, useRunState } from "../live.js";
import { PANEL_KEYS } from "../panels.js";
import { Shown, Status } from "../parts/common.js";
import { link, type Route } from "../route.js";
import { moment } from "../text.js";
import { Coupling } from "./coupling.js";
import { Curves } from "./curves.js";
import { Episodes } from "./episodes.js";
import { Evaluated } from "./evaluated.js";
import { Groups } from "./groups.js";
import { Settings } from "./settings.js";
import { States } from "./states.js";
import type { ViewProps } from "./view_props.js";

export function Run({ route, palette }: { readonly route: Route; readonly palette: Palette }) {
  const [, name, view = "curves"] = route.parts;
  const state = useRunState(name);
  // the curves are asked for together with the run, not after it
  const [early] = useState(() => (view === "curves" ? earlySample(name) : undefined));
  const key =
    state === undefined
      ? ""
      : [
          state.status,
          state.generation,
          state.rollouts,
          state.evaluations,
          state.alerts,
          state.keys,
          state.damaged,
        ].join();
  const asked = useAsked(`${name} ${key}`, () => api.run(name));
  return (
    <Shown asked={asked}>
      {(run) => (
        <>
          <Head run={run} state={state ?? run.state} view={view} />
          <Content
            view={view}
            run={run}
            state={state ?? run.state}
            route={route}
            palette={palette}
            early={early}
          />
        </>
      )}
    </Shown>
  );
}

function earlySample(run: string): Promise<Series> {
  const sample = api.sample(run, PANEL_KEYS);
  // told by whoever waits for it
  sample.catch(() => undefined);
  return sample;
}

function Content({
  view,
  early,
  ...props
}: ViewProps & {
  readonly view: string;
  readonly early: Promise<Series> | undefined;
}): ComponentChildren {
  if (view === "groups") return <Groups {...props} />;
  if (view === "episodes") return <Episodes {...props} />;
  if (view === "evaluations") return <Evaluated {...props} />;
  if (view === "states") return <States {...props} />;
  if (view === "coupling") return <Coupling {...props} />;
  if (view === "settings") return <Settings {...props} />;
  return <Curves {...props} early={early} />;
}

function Head({
  run,
  state,
  view,
}: {
  readonly run: RunDetail;
  readonly state: RunState;
  readonly view: string;
}) {
  const damaged = Object.entries(run.damaged).filter(([, lines]) => lines > 0);
  const step = Math.max(run.step, 0);
  return (
    <header class="run">
      <div class="bar">
        <h1>{run.run}</h1>
        <Status status={state.status} reason={run.reason} />
        <span class="quiet">
          {[run.algorithm, run.world, run.seed === null ? undefined : `seed ${run.seed}`]
            .filter(Boolean)
            .join(", ")}
        </span>
        {run.steps !== null && (
          <span class="quiet">
            <progress max={run.steps} value={step} aria-label="updates done" />{" "}
            {`${step} of ${run.steps} updates`}
          </span>
        )}
      </div>
      {run.reason !== null && <p class="problem">{run.reason}</p>}
      {state.status === "stale" && (
        <p class="problem">
          {`The record says running, but no process has given a sign of life lately (last change ${moment(run.updated)}). It was killed, or this is a copy.`}
        </p>
      )}
      {damaged.map(([file, lines]) => (
        <p
          class="problem"
          key={file}
        >{`${file} has ${lines} damaged ${lines === 1 ? "line" : "lines"}, left out here.`}</p>
      ))}
      {run.alerts.length > 0 && (
        <details class="problem">
          <summary>
            {`${run.alerts.length} ${run.alerts.length === 1 ? "alert" : "alerts"}, the newest after update ${run.alerts[run.alerts.length - 1].step}: ${run.alerts[run.alerts.length - 1].text}`}
          </summary>
          <ol>
            {run.alerts.map(({ step, kind, text }) => (
              <li key={`${step} ${kind}`}>{`update ${step}, ${kind.replaceAll("_", " ")}: ${text}`}</li>
            ))}
          </ol>
        </details>
      )}
      <nav aria-label="Views of the run">
        {TABS.map(([name, text]) => (
          <a
            key={name}
            href={link(["run", run.run, name])}
            aria-current={name === view || (name === "groups" && view === "episodes") ? "page" : undefined}
          >
            {text}
          </a>
        ))}
      </nav>
    </header>
  );
}

/** Views by the names in addresses. */
const TABS = [
  ["curves", "Curves"],
  ["groups", "Groups"],
  ["states", "States"],
  ["evaluations", "Evaluations"],
  ["coupling", "Coupling"],
  ["settings", "Settings"],
] as const;
