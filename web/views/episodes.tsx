/** Two episodes of a group side by side, turn by turn, from the first action in which they differ. */
import { useState } from "preact/hooks";
import type { EpisodePage, Turn } from "../../src/watch/api.js";
import { api } from "../api.js";
import { useAsked } from "../live.js";
import { Choice, Mark, Shown } from "../parts/common.js";
import { link } from "../route.js";
import { figure, percent, signed } from "../text.js";
import type { ViewProps } from "./view_props.js";

const COLOURINGS = [
  ["probability", "probability"],
  ["advantage", "advantage"],
  ["influence", "influence"],
] as const;
type Colouring = (typeof COLOURINGS)[number][0];

export function Episodes({ run, route }: ViewProps) {
  const [step, group] = route.parts.slice(3).map(Number);
  const [first, second] = ["a", "b"].map((name) => Number(route.query.get(name) ?? Number.NaN));
  const asked = useAsked(`${step} ${group} ${first} ${second}`, async () => {
    const { groups } = await allGroups(run.run, step, group);
    const wanted = Number.isNaN(first)
      ? groups.slice(0, 2)
      : [first, second].filter((one) => !Number.isNaN(one));
    const pages = await Promise.all(
      [...new Set(wanted)].map((episode) => api.episode(run.run, step, group, episode)),
    );
    return { pages, episodes: groups };
  });
  return (
    <Shown asked={asked}>
      {({ pages, episodes }) => (
        <EpisodePair
          {...{ pages, episodes }}
          focus={Number(route.query.get("turn") ?? Number.NaN)}
          back={link(["run", run.run, "groups", step])}
          onChoose={(a, b) => {
            location.hash = link(["run", run.run, "episodes", step, group], { a, b });
          }}
        />
      )}
    </Shown>
  );
}

/** Numbers of the episodes of one group, which may stand on any page of groups. */
async function allGroups(
  run: string,
  step: number,
  group: number,
): Promise<{ readonly groups: readonly number[] }> {
  for (let from = 0; ; ) {
    const page = await api.groups(run, step, "number", from);
    const found = page.groups.find((one) => one.group === group);
    from += page.groups.length;
    if (found || page.groups.length === 0 || from >= page.total)
      return { groups: found?.episodes.map(({ episode }) => episode) ?? [] };
  }
}

function EpisodePair({
  pages,
  episodes,
  focus,
  back,
  onChoose,
}: {
  readonly pages: readonly EpisodePage[];
  readonly episodes: readonly number[];
  readonly focus: number;
  readonly back: string;
  readonly onChoose: (a: number, b: number) => void;
}) {
  const [colouring, setColouring] = useState<Colouring>("probability");
  const [shared, setShared] = useState(false);
  const [a, b] = pages;
  const differing = b === undefined ? 0 : firstDifference(a, b);
  // turns in common are out of the way, unless one of them is asked for
  const from = shared || focus < differing ? 0 : differing;
  const options = episodes.map((one) => [String(one), `episode ${one}`] as const);
  return (
    <>
      <div class="bar">
        <a href={back}>{`Groups of update ${a.step}`}</a>
        <h2>{`Group ${a.group}`}</h2>
        <span class="quiet">{[a.taskType, a.taskId].filter(Boolean).join(", ")}</span>
        <Choice<Colouring> label="Tokens by" value={colouring} options={COLOURINGS} onChoose={setColouring} />
      </div>
      <p class="quiet">{COLOUR_WORDS[colouring]}</p>
      {differing > 0 && (
        <p>
          {differing === 1
            ? "The first turn has the same action. "
            : `The first ${differing} turns have the same actions. `}
          <button type="button" aria-expanded={from === 0} onClick={() => setShared(!shared)}>
            {from === 0 ? "hide them" : "show them"}
          </button>
        </p>
      )}
      <div class={b === undefined ? "pair one" : "pair"}>
        {pages.map((page, index) => (
          <section key={page.episode} aria-label={`episode ${page.episode}`}>
            <div class="bar">
              <Choice
                label={index === 0 ? "Left" : "Right"}
                value={String(page.episode)}
                options={options}
                onChoose={(chosen) =>
                  index === 0
                    ? onChoose(Number(chosen), b?.episode ?? a.episode)
                    : onChoose(a.episode, Number(chosen))
                }
              />
              <span>{`outcome ${figure(page.outcome)}, ${page.turns.length} turns`}</span>
            </div>
            <ol class="turns">
              {page.turns
                .filter((_, at) => at >= from)
                .map((turn) => (
                  <TurnCard
                    key={turn.turn}
                    turn={turn}
                    colouring={colouring}
                    isFocus={turn.turn === focus && index === 0}
                  />
                ))}
            </ol>
          </section>
        ))}
      </div>
    </>
  );
}

/** Turns at the beginning whose actions are the same. */
function firstDifference(a: EpisodePage, b: EpisodePage): number {
  const at = a.turns.findIndex((turn, index) => turn.action !== b.turns[index]?.action);
  const same = at < 0 ? a.turns.length : at;
  // equal to the end of one of them: there is nothing else to show
  return same >= Math.max(a.turns.length, b.turns.length) ? 0 : same;
}

const COLOUR_WORDS: Readonly<Record<Colouring, string>> = {
  probability: "Tokens: the fuller the colour, the less likely the token was when it was sampled.",
  advantage:
    "Tokens: advantage of the step times the token's weight in the loss; blue rewarded, orange punished.",
  influence:
    "Tokens: predicted change of the action's log-probability by the whole update, of a coupling analysis; blue falls, orange rises.",
};

function TurnCard({
  turn,
  colouring,
  isFocus,
}: {
  readonly turn: Turn;
  readonly colouring: Colouring;
  readonly isFocus: boolean;
}) {
  const surprise = turn.tokens.map(({ logProb }) => logProb).filter((value) => value !== null);
  const probability = Math.exp(surprise.reduce((sum, value) => sum + value, 0));
  return (
    <li class={isFocus ? "turn focus" : "turn"} id={`turn-${turn.turn}`}>
      <p class="quiet observation">{turn.observation}</p>
      {turn.instructions !== null && <p class="instructions">{turn.instructions}</p>}
      <p class="action">
        <strong>{turn.action === "" ? "(no command)" : turn.action}</strong>
        {turn.tag !== null && <Mark kind="plain" text={turn.tag} />}
        {!turn.valid && <Mark kind="bad" text="not valid" />}
        {turn.repeated && <Mark kind="bad" text="repeated" />}
        {turn.truncated && <Mark kind="bad" text="cut off" />}
        {turn.verdict !== null && (
          <Mark
            kind={turn.verdict === "good" ? "good" : "bad"}
            text={`labelled ${turn.verdict}${turn.judged === null ? "" : `, judged right with ${percent(turn.judged)}`}`}
          />
        )}
      </p>
      <p class="tokens">
        {turn.tokens.map((token, index) => (
          <Token key={index} turn={turn} token={token} colouring={colouring} />
        ))}
      </p>
      <dl class="facts">
        <Fact name="turn" value={String(turn.turn)} />
        {surprise.length > 0 && <Fact name="probability" value={percent(probability)} />}
        {surprise.length > 0 && (
          <Fact
            name="entropy (sampled)"
            value={`${figure(-surprise.reduce((sum, value) => sum + value, 0) / surprise.length)} nats a token`}
          />
        )}
        <Fact name="advantage" value={signed(turn.advantage)} />
        {Object.entries(turn.parts).map(([name, value]) => (
          <Fact key={name} name={name} value={signed(value)} />
        ))}
        {turn.reward !== 0 && <Fact name="reward" value={signed(turn.reward)} />}
        {turn.influence !== null && (
          <Fact
            name="influence"
            value={`${signed(turn.influence.total)}, of others ${signed(turn.influence.cross)}`}
          />
        )}
      </dl>
    </li>
  );
}

function Fact({ name, value }: { readonly name: string; readonly value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{value}</dd>
    </div>
  );
}

function Token({
  turn,
  token,
  colouring,
}: {
  readonly turn: Turn;
  readonly token: Turn["tokens"][number];
  readonly colouring: Colouring;
}) {
  const probability = token.logProb === null ? null : Math.exp(token.logProb);
  const value =
    colouring === "probability"
      ? 1 - (probability ?? 1)
      : colouring === "advantage"
        ? Math.tanh(turn.advantage * token.weight)
        : Math.sign(turn.influence?.total ?? 0) * 0.8 * token.weight;
  const isLow = colouring === "advantage" ? value > 0 : value < 0;
  const colour = colouring === "probability" ? "var(--quiet)" : isLow ? "var(--low)" : "var(--high)";
  const share = Math.round(55 * Math.min(1, Math.abs(value)));
  return (
    <span
      class="token"
      title={`probability ${percent(probability)}, weight in the loss ${figure(token.weight)}`}
      style={{ background: `color-mix(in srgb, ${colour} ${share}%, transparent)` }}
    >
      {token.text}
      <small>{percent(probability)}</small>
    </span>
  );
}
