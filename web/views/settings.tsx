/** Settings and sessions of a run. */
import { useState } from "preact/hooks";
import { Scroll } from "../parts/common.js";
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
        <Scroll label="Sessions">
          <table>
            <thead>
              <tr>
                {["started", "from update", "command", "commit", "adapter"].map((name) => (
                  <th scope="col" key={name}>
                    {name}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
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
            </tbody>
          </table>
        </Scroll>
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
    <Scroll label="Settings">
      <table>
        <thead>
          <tr>
            <th scope="col">setting</th>
            {runs.map((run) => (
              <th scope="col" key={run}>
                {run}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
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
        </tbody>
      </table>
    </Scroll>
  );
}
