/** The list of runs. */
import { useState } from "preact/hooks";
import type { RunLine } from "../../src/watch/api.js";
import { api } from "../api.js";
import { useAsked, useEvents } from "../live.js";
import { DataTable, Pages, Shown, Status } from "../parts/common.js";
import { link } from "../route.js";
import { moment, percent } from "../text.js";

/** Runs of one page of the list. */
const PAGE = 200;

export function Runs() {
  const asked = useAsked("runs", api.runs);
  const newest = useEvents<RunLine[]>("events");
  const [wanted, setWanted] = useState("");
  const [chosen, setChosen] = useState<readonly string[]>([]);
  const [from, setFrom] = useState(0);
  const choose = (run: string, isChosen: boolean) =>
    setChosen((before) => (isChosen ? [...before, run] : before.filter((one) => one !== run)));
  return (
    <Shown asked={newest ? { value: newest, error: undefined } : asked}>
      {(lines) => {
        const shown = lines.filter((line) => fits(line, wanted));
        return (
          <>
            <div class="bar">
              <h1>Runs</h1>
              <label class="choice">
                <span>Search</span>
                <input
                  type="search"
                  value={wanted}
                  placeholder="name, world, algorithm, status"
                  onInput={(event) => {
                    setWanted(event.currentTarget.value);
                    setFrom(0);
                  }}
                />
              </label>
              <a
                class={chosen.length < 2 ? "button off" : "button"}
                aria-disabled={chosen.length < 2}
                href={chosen.length < 2 ? undefined : link(["compare"], { run: chosen })}
              >
                {chosen.length < 2 ? "Choose two or more to compare" : `Compare ${chosen.length} runs`}
              </a>
            </div>
            {lines.length === 0 ? (
              <p>There is no run in this folder yet. `uncouple train` makes one, and it will show here.</p>
            ) : (
              <>
                {shown.length > PAGE && (
                  <Pages
                    from={from}
                    shown={Math.min(PAGE, shown.length - from)}
                    step={PAGE}
                    total={shown.length}
                    what="runs"
                    onMove={setFrom}
                  />
                )}
                <RunTable lines={shown.slice(from, from + PAGE)} chosen={chosen} onChoose={choose} />
              </>
            )}
            {lines.length > 0 && shown.length === 0 && <p>No run fits the search.</p>}
          </>
        );
      }}
    </Shown>
  );
}

/** Every word of the search is somewhere in the line. */
function fits(line: RunLine, wanted: string): boolean {
  const text = [line.run, line.status, line.world, line.algorithm, line.model].join(" ").toLowerCase();
  return wanted
    .toLowerCase()
    .split(/\s+/)
    .every((word) => text.includes(word));
}

const COLUMNS = [
  "",
  "run",
  "status",
  "updates",
  "success",
  "evaluated",
  "algorithm",
  "world",
  "policy",
  "seed",
  "started",
];

function RunTable({
  lines,
  chosen,
  onChoose,
}: {
  readonly lines: readonly RunLine[];
  readonly chosen: readonly string[];
  readonly onChoose: (run: string, isChosen: boolean) => void;
}) {
  return (
    <DataTable
      label="Runs"
      columns={COLUMNS.map((name) => (name === "" ? <span class="hidden">compare</span> : name))}
      kind="runs"
    >
      {lines.map((line) => (
        <tr key={line.run}>
          <td>
            <input
              type="checkbox"
              aria-label={`compare ${line.run}`}
              checked={chosen.includes(line.run)}
              onChange={(event) => onChoose(line.run, event.currentTarget.checked)}
            />
          </td>
          <th scope="row">
            <a href={link(["run", line.run])}>{line.run}</a>
          </th>
          <td>
            <Status status={line.status} reason={line.reason} />
            {line.alert !== null && (
              <span class="mark bad" title={line.alert}>
                alert
              </span>
            )}
          </td>
          <td class="number">{line.steps === null ? line.step : `${line.step} / ${line.steps}`}</td>
          <td class="number">{percent(line.success)}</td>
          <td class="number">{percent(line.evaluated)}</td>
          <td>{line.algorithm ?? "–"}</td>
          <td>{line.world ?? "–"}</td>
          <td>{line.model ?? "–"}</td>
          <td class="number">{line.seed ?? "–"}</td>
          <td>{moment(line.started)}</td>
        </tr>
      ))}
    </DataTable>
  );
}
