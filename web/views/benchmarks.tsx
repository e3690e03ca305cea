/** Saved benchmarks of one adapter and preset: roofline, tables, and how a figure went from run to run. */
import { useState } from "preact/hooks";
import type { BenchAdapter, BenchList, BenchRun, BenchView } from "../../src/watch/api.js";
import { api } from "../api.js";
import { useAsked } from "../live.js";
import { BenchCurve } from "../parts/bench_curve.js";
import { Choice, DataTable, Shown } from "../parts/common.js";
import { Roofline } from "../parts/roofline.js";
import { link, type Route } from "../route.js";
import { figure } from "../text.js";

export function Benchmarks({ route }: { readonly route: Route }) {
  const asked = useAsked("benchmarks", api.benchmarks);
  return (
    <Shown asked={asked}>
      {(list) => (
        <>
          <h1>Benchmarks</h1>
          {list.problems.map(({ file, problem }) => (
            <p class="problem" key={file}>
              {problem}
            </p>
          ))}
          <Chosen list={list} route={route} />
        </>
      )}
    </Shown>
  );
}

function Chosen({ list: { folder, adapters }, route }: { readonly list: BenchList; readonly route: Route }) {
  if (adapters.length === 0)
    return (
      <p>
        {folder === null ? "There is no folder of benchmarks" : `No benchmark is in ${folder}`}
        {
          ". `uncouple bench --save` writes one to bench/results; `uncouple watch --bench` names another folder."
        }
      </p>
    );
  const [, adapter, preset = ""] = route.parts;
  const shown = adapters.find((one) => one.adapter === adapter && one.preset === preset) ?? adapters[0];
  const name = (one: BenchAdapter) => JSON.stringify([one.adapter, one.preset]);
  return (
    <>
      <div class="bar">
        <Choice
          label="Adapter and preset"
          value={name(shown)}
          options={adapters.map((one) => [
            name(one),
            `${[one.adapter, one.preset].filter(Boolean).join(", ")} (${one.measurements} measurements)`,
          ])}
          onChoose={(next) => {
            location.hash = link(["benchmarks", ...(JSON.parse(next) as string[])]);
          }}
        />
        <span class="quiet">{`measured last ${shown.newest || "at an unknown time"}`}</span>
      </div>
      <View key={name(shown)} {...shown} />
    </>
  );
}

function View({ adapter, preset }: BenchAdapter) {
  const asked = useAsked(`${adapter} ${preset}`, () => api.benchView(adapter, preset));
  return (
    <Shown asked={asked}>
      {(view) => (
        <>
          <Roofline view={view} adapter={adapter} />
          <Histories view={view} />
          {view.tables.map(({ title, titles, body, names }) => (
            <details key={title}>
              <summary>{`${title}, ${body.length} ${body.length === 1 ? "row" : "rows"}`}</summary>
              <Cells title={title} titles={titles} body={body} names={names} />
            </details>
          ))}
          <Runs runs={view.runs} />
        </>
      )}
    </Shown>
  );
}

function Cells({ title, titles, body, names }: BenchView["tables"][number]) {
  return (
    <DataTable label={title} columns={titles}>
      {body.map((cells, row) => (
        <tr key={row}>
          {cells.map((cell, column) => (
            <td key={titles[column]} class={column < names ? undefined : "number"}>
              {cell}
            </td>
          ))}
        </tr>
      ))}
    </DataTable>
  );
}

/** What was measured more than once, one at a time. */
function Histories({ view: { histories } }: { readonly view: BenchView }) {
  const [op, setOp] = useState<string>();
  const [key, setKey] = useState<string>();
  if (histories.length === 0)
    return (
      <p class="quiet">
        Every measurement was made once. A file keeps what a newer run takes the place of, so a history begins
        with the next `uncouple bench --save`.
      </p>
    );
  const ops = [...new Set(histories.map((one) => one.op))];
  const chosen = histories.find((one) => one.key === key) ?? histories.find((one) => one.op === op);
  const shown = chosen ?? histories[0];
  return (
    <section>
      <div class="bar">
        <h2>From run to run</h2>
        <Choice
          label="Op"
          value={shown.op}
          options={ops.map((one) => [one, one])}
          onChoose={(next) => {
            setOp(next);
            setKey(undefined);
          }}
        />
        <Choice
          label="Measurement"
          value={shown.key}
          options={histories
            .filter((one) => one.op === shown.op)
            .map((one) => [one.key, `${one.text} (${one.points} runs)`])}
          onChoose={setKey}
        />
      </div>
      <History key={shown.key} name={shown.key} title={`${shown.op} ${shown.text}`} />
    </section>
  );
}

function History({ name, title }: { readonly name: string; readonly title: string }) {
  const asked = useAsked(name, () => api.benchHistory(name));
  return <Shown asked={asked}>{({ points }) => <BenchCurve title={title} points={points} />}</Shown>;
}

function Runs({ runs }: { readonly runs: readonly BenchRun[] }) {
  return (
    <details>
      <summary>{`Runs that these figures come from: ${runs.length}`}</summary>
      <DataTable
        label="Runs that these figures come from"
        columns={["run", "commit", "command", "driver", "CPU", "load"]}
      >
        {runs.map(({ run, commit, command, driver, cpu, load }) => (
          <tr key={run}>
            <th scope="row">{run}</th>
            <td>{commit}</td>
            <td>
              <code>{command}</code>
            </td>
            <td>{driver}</td>
            <td>{cpu}</td>
            <td class="number">{figure(load)}</td>
          </tr>
        ))}
      </DataTable>
    </details>
  );
}
