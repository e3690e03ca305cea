/** Which samples push which: analyses of a run, the worst pairs with their turns, and cosines over training. */
import { useMemo, useState } from "preact/hooks";
import type { LinkedPair, TurnPlace } from "../../src/watch/api.js";
import { api, reportAddress } from "../api.js";
import { useAsked } from "../live.js";
import { lineOf } from "../panels.js";
import { Choice, Shown } from "../parts/common.js";
import { LineChart } from "../parts/line_chart.js";
import { link } from "../route.js";
import { useSeries } from "../series.js";
import { figure, signed } from "../text.js";
import type { ViewProps } from "./view_props.js";

export function Coupling(props: ViewProps) {
  const { run } = props;
  const [chosen, setChosen] = useState<string>();
  const analysis = chosen ?? run.analyses[run.analyses.length - 1];
  return (
    <>
      {analysis === undefined ? (
        <p>No analysis is in this run folder. `uncouple coupling --run` makes one of a checkpoint.</p>
      ) : (
        <>
          <div class="bar">
            <h2>Analysis</h2>
            <Choice
              label="Of the update after checkpoint"
              value={analysis}
              options={run.analyses.map((one) => [one, String(Number(one.replace(/\D+/g, "")))])}
              onChoose={setChosen}
            />
          </div>
          <Pairs key={analysis} run={run.run} analysis={analysis} />
        </>
      )}
      <h2>Over training</h2>
      <OverTraining {...props} />
      {analysis !== undefined && <Report key={analysis} run={run.run} analysis={analysis} />}
    </>
  );
}

/** Metrics of coupling that the run measured while it trained. */
function OverTraining({ run, state, palette }: ViewProps) {
  const keys = useMemo(() => run.keys.filter((key) => key.startsWith("coupling/")), [run.keys.join()]);
  const series = useSeries(run.run, keys, state);
  if (keys.length === 0)
    return (
      <p class="quiet">
        Nothing was measured while training. Train with coupling.every=10 and coupling.gram=true to see it
        here.
      </p>
    );
  return (
    <Shown asked={series}>
      {(columns) => (
        <div class="panels">
          {panelsOf(keys).map(([title, own]) => (
            <LineChart
              key={title}
              title={title}
              lines={own.map((key, index) => {
                const line = lineOf(columns, key, index, key.slice("coupling/".length));
                // measured now and then: the updates between are no gaps
                return { ...line, sparse: true, points: line.points.filter(([, value]) => value !== null) };
              })}
              palette={palette}
              smoothing={0}
            />
          ))}
        </div>
      )}
    </Shown>
  );
}

/** Panels by what they have in common; what belongs nowhere stands by itself. */
function panelsOf(keys: readonly string[]): (readonly [string, readonly string[]])[] {
  const named = [
    ["Cosines by class", /cosine/],
    ["Inversions and harm, shares", /inversion|harmful|cross_share/],
    ["Push on rewarded and punished samples, itself and by others", /(good|bad)\/(self|cross)$/],
    ["Predicted against measured", /correlation|agreement/],
  ] as const;
  const homes = named.map(([title, pattern]) => [title, keys.filter((key) => pattern.test(key))] as const);
  const housed = new Set(homes.flatMap(([, own]) => own));
  const alone = keys
    .filter((key) => !housed.has(key) && !/samples$/.test(key))
    .map((key) => [key, [key]] as const);
  return [...homes.filter(([, own]) => own.length > 0), ...alone];
}

function Pairs({ run, analysis }: { readonly run: string; readonly analysis: string }) {
  const asked = useAsked(analysis, () => api.pairs(run, analysis));
  return (
    <Shown asked={asked}>
      {(pairs) => (
        <section>
          <h3>Worst pairs, with their turns</h3>
          {pairs.length === 0 ? (
            <p>No sample raises a punished one.</p>
          ) : (
            <ol class="linked">
              {pairs.map((pair) => (
                <li key={pair.text}>
                  <PairLine run={run} pair={pair} />
                </li>
              ))}
            </ol>
          )}
        </section>
      )}
    </Shown>
  );
}

function PairLine({ run, pair }: { readonly run: string; readonly pair: LinkedPair }) {
  return (
    <>
      <TurnLink run={run} place={pair.from} action={pair.fromAction} />
      {" lifts "}
      <TurnLink run={run} place={pair.to} action={pair.toAction} />
      <span class="quiet">{` by ${signed(pair.change)}, cosine ${figure(pair.cosine)}`}</span>
    </>
  );
}

function TurnLink({
  run,
  place,
  action,
}: {
  readonly run: string;
  readonly place: TurnPlace | null;
  readonly action: string;
}) {
  if (place === null) return <strong>{action}</strong>;
  const { step, group, episode, turn } = place;
  return <a href={link(["run", run, "episodes", step, group], { a: episode, turn })}>{action}</a>;
}

/** The report itself, of one run or of two side by side. */
function Report({ run, analysis }: { readonly run: string; readonly analysis: string }) {
  const [other, setOther] = useState("");
  const asked = useAsked("runs", () => otherAnalyses(run));
  const address = reportAddress([`${run}/${analysis}`, ...(other === "" ? [] : [other])]);
  return (
    <section>
      <div class="bar">
        <h2>Report</h2>
        <Choice
          label="Beside it"
          value={other}
          options={[["", "no other run"] as const, ...(asked.value ?? []).map((one) => [one, one] as const)]}
          onChoose={setOther}
        />
        <a href={address} target="_blank" rel="noreferrer">
          The report alone
        </a>
      </div>
      <iframe
        class="report"
        title={`Report of the coupling analysis of ${run}${other === "" ? "" : ` beside ${other}`}`}
        src={address}
        // its own policy lets no script run but the report's
        onLoad={({ currentTarget }) => {
          const height = currentTarget.contentDocument?.documentElement.scrollHeight;
          if (height !== undefined) currentTarget.style.height = `${height + 40}px`;
        }}
      />
    </section>
  );
}

async function otherAnalyses(run: string): Promise<string[]> {
  const runs = (await api.runs()).filter((line) => line.run !== run);
  const details = await Promise.all(runs.map((line) => api.run(line.run)));
  return details.flatMap((detail) => detail.analyses.map((analysis) => `${detail.run}/${analysis}`));
}
