/** Groups of one update: a strip of bars each, one bar an episode. */
import { useState } from "preact/hooks";
import { type GroupLine, type GroupPage, PAGE } from "../../src/watch/api.js";
import { api } from "../api.js";
import { useAsked } from "../live.js";
import { Choice, Pages, Shown } from "../parts/common.js";
import { UpdateChoice } from "../parts/update_choice.js";
import { link } from "../route.js";
import { figure, signed } from "../text.js";
import type { ViewProps } from "./view_props.js";

const ORDERS = [
  ["number", "as played"],
  ["spread", "largest spread first"],
  ["outcome", "best first"],
] as const;
type Order = (typeof ORDERS)[number][0];

export function Groups({ run, route }: ViewProps) {
  const steps = run.rolloutSteps;
  const [order, setOrder] = useState<Order>("number");
  const [from, setFrom] = useState(0);
  if (steps.length === 0) return <NoRollouts />;
  const step = Number(route.parts[3] ?? steps[steps.length - 1]);
  return (
    <>
      <div class="bar">
        <UpdateChoice
          steps={steps}
          step={step}
          onChoose={(next) => {
            setFrom(0);
            location.hash = link(["run", run.run, "groups", next]);
          }}
        />
        <Choice<Order> label="Order" value={order} options={ORDERS} onChoose={setOrder} />
      </div>
      <GroupList key={step} run={run.run} step={step} order={order} from={from} onMove={setFrom} />
    </>
  );
}

export function NoRollouts() {
  return (
    <p>This run keeps no rollouts. Train with log.rollouts=true to see its groups, episodes and states.</p>
  );
}

function GroupList({
  run,
  step,
  order,
  from,
  onMove,
}: {
  readonly run: string;
  readonly step: number;
  readonly order: Order;
  readonly from: number;
  readonly onMove: (from: number) => void;
}) {
  const asked = useAsked(`${step} ${order} ${from}`, () => api.groups(run, step, order, from));
  return (
    <Shown asked={asked}>
      {(page) => (
        <>
          <Notes page={page} />
          <Pages
            from={page.from}
            shown={page.groups.length}
            step={PAGE}
            total={page.total}
            what="groups"
            onMove={onMove}
          />
          <ol class="groups">
            {page.groups.map((group) => (
              <li key={group.group}>
                <GroupCard run={run} step={step} group={group} />
              </li>
            ))}
          </ol>
        </>
      )}
    </Shown>
  );
}

function Notes({ page }: { readonly page: GroupPage }) {
  const dead = page.groups.filter((group) => group.dead).length;
  return (
    <>
      {page.damaged > 0 && (
        <p class="problem">{`${page.damaged} lines of this update are damaged, and left out here.`}</p>
      )}
      <p class="quiet">
        {`Bars are episodes: their height is the outcome, their colour the advantage (blue rewarded, orange punished). ${dead} of ` +
          `these groups are dead: all their episodes ended alike.${page.verdicts > 0 ? ` Besides, ${page.verdicts} verdicts were trained on.` : ""}`}
      </p>
    </>
  );
}

function GroupCard({
  run,
  step,
  group,
}: {
  readonly run: string;
  readonly step: number;
  readonly group: GroupLine;
}) {
  const { episodes } = group;
  const most = Math.max(1e-9, ...episodes.map(({ outcome }) => Math.abs(outcome)));
  const reach = Math.max(1e-9, ...episodes.map(({ advantage }) => Math.abs(advantage)));
  const place = (first: number) =>
    link(["run", run, "episodes", step, group.group], { a: first, b: rival(group, first) });
  return (
    <article class="group">
      <h3>
        {`Group ${group.group}`} {group.dead && <span class="status failed">dead</span>}
      </h3>
      <p class="quiet">{[group.taskType, group.taskId].filter(Boolean).join(", ")}</p>
      <div class="strip">
        {episodes.map((line) => (
          <a key={line.episode} href={place(line.episode)} title={wordsOf(line)} aria-label={wordsOf(line)}>
            <span
              class={
                line.advantage > 0 ? "bar-mark low" : line.advantage < 0 ? "bar-mark high" : "bar-mark even"
              }
              style={{
                height: `${8 + (56 * Math.abs(line.outcome)) / most}px`,
                opacity: 0.35 + (0.65 * Math.abs(line.advantage)) / reach,
              }}
            />
            <span class="bar-text">{figure(line.outcome)}</span>
          </a>
        ))}
      </div>
    </article>
  );
}

function wordsOf(line: GroupLine["episodes"][number]): string {
  return (
    `Episode ${line.episode}: outcome ${figure(line.outcome)}, advantage ${signed(line.advantage)}, ${line.turns} turns, ` +
    `${line.invalid} invalid, ${line.repeated} repeated`
  );
}

/** The episode of the group that differs most from one: what to look at beside it. */
function rival({ episodes }: GroupLine, of: number): number {
  const own = episodes.find(({ episode }) => episode === of);
  const others = episodes.filter(({ episode }) => episode !== of);
  const apart = (line: (typeof others)[number]) =>
    Math.abs(line.outcome - (own?.outcome ?? 0)) * 1e3 + Math.abs(line.advantage - (own?.advantage ?? 0));
  return others.reduce((best, line) => (apart(line) > apart(best) ? line : best), others[0] ?? own).episode;
}
