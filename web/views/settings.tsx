/** Settings and sessions of a run. */
import { useState } from "preact/hooks";
import { DataTable } from "../parts/common.js";
import { moment } from "../text.js";
import type { ViewProps } from "./view_props.js";

export function Settings({ run }: ViewProps) {
  const [wanted, setWanted] = useState("");
  const settings = Object.entries(run.settings).filter(([path, value]) =>
    `${path} ${value}`.toLowerCase().includes(wanted.toLowerCase()),
  );
  return (
    <>
      <section>
        <h2>Sessions</h2>
        <DataTable label="Sessions" columns={["started", "from update", "command", "commit", "adapter"]}>
          {run.sessions.map((session) => (
            <tr key={session.started}>
              <td>{moment(session.started)}</td>
              <td class="number">{session.fromStep ?? "–"}</td>
              <td>
                <code>{session.command}</code>
              </td>
              <td>{session.commit}</td>
              <td>{session.adapter}</td>
            </tr>
          ))}
        </DataTable>
      </section>
      <section>
        <div class="bar">
          <h2>Settings</h2>
          <label class="choice">
            <span>Search</span>
            <input type="search" value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} />
          </label>
        </div>
        {run.settingsError !== null && <p class="problem">{run.settingsError}</p>}
        <SettingTable rows={settings.map(([path, value]) => [path, [value]])} runs={["value"]} />
      </section>
    </>
  );
}

/** Settings by path, a column for each run. */
export function SettingTable({
  rows,
  runs,
}: {
  readonly rows: readonly (readonly [path: string, values: readonly (string | undefined)[]])[];
  readonly runs: readonly string[];
}) {
  return (
    <DataTable label="Settings" columns={["setting", ...runs]}>
      {rows.map(([path, values]) => (
        <tr key={path}>
          <th scope="row">
            <code>{path}</code>
          </th>
          {values.map((value, index) => (
            <td key={runs[index]}>{value ?? <span class="quiet">not there</span>}</td>
          ))}
        </tr>
      ))}
    </DataTable>
  );
}
