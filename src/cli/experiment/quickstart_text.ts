/** What the quickstart prints at its end. */
import Table from "cli-table3";
import { differenceInterval, wilsonInterval } from "../../core/statistics.js";
import type { CouplingDocument } from "../../report/coupling_document.js";
import { numberText, pairSentence } from "../../report/coupling_text.js";
import type { ExperimentResult } from "../../report/experiment_rows.js";
import { splitOf } from "../../report/experiment_statistics.js";

const TITLES: Readonly<Record<string, string>> = { start: "start", plain: "GRPO", gcd: "GRPO + GCD" };

function title({ cell }: ExperimentResult): string {
  return TITLES[cell] ?? cell;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)} %`;
}

function tableOf(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const table = new Table({ head: [...head], style: { head: [], border: [] } });
  table.push(...rows.map((row) => [...row]));
  return table.toString();
}

/** Success by split and mode, a column a policy, with 95 % intervals. */
export function successTable(results: readonly ExperimentResult[]): string {
  const rows = results[0].splits.map(({ split, mode, episodes }) => [
    split,
    mode,
    String(episodes),
    ...results.map((result) => {
      const found = splitOf(result, split, mode);
      if (found === undefined) return "";
      const { share, low, high } = wilsonInterval(found.wins, found.episodes);
      return `${percent(share)} (${percent(low)} to ${percent(high)})`;
    }),
  ]);
  return tableOf(["success", "", "games", ...results.map(title)], rows);
}

type Numbers = NonNullable<ExperimentResult["coupling"]>;

const COUPLING: readonly (readonly [title: string, of: (numbers: Numbers) => string])[] = [
  ["punished samples that a step would raise", (numbers) => ofPunished(numbers, "inversions")],
  ["of these by other states (coupling)", (numbers) => ofPunished(numbers, "inversions by coupling")],
  ["harmful-coupling ratio", (numbers) => numberText(numbers["coupling/harmful_ratio"])],
  [
    "cosine of good and bad, same state",
    (numbers) => numberText(numbers["action cosine, good and bad, same state"]),
  ],
  [
    "cosine of good and bad, across states",
    (numbers) => numberText(numbers["action cosine, good and bad, across states"]),
  ],
];

function ofPunished(numbers: Numbers, name: string): string {
  return `${numbers[name]} of ${numbers.punished}`;
}

/** The same samples under each policy; a column a policy. */
export function couplingTable(results: readonly ExperimentResult[]): string {
  const samples = results[0].coupling?.["coupling/samples"];
  const rows = COUPLING.map(([name, of]) => [
    name,
    ...results.map(({ coupling }) => (coupling ? of(coupling) : "")),
  ]);
  return tableOf([`${samples} samples of the start`, ...results.map(title)], rows);
}

/** Whether the two methods differ by more than noise, in a sentence. */
export function verdict(results: readonly ExperimentResult[]): string {
  const [, plain, gcd] = results;
  const differences = gcd.splits.flatMap((own) => {
    const other = splitOf(plain, own.split, own.mode);
    return other ? [{ name: `${own.split} ${own.mode}`, ...differenceInterval(own, other) }] : [];
  });
  const points = (value: number) => `${value < 0 ? "" : "+"}${(100 * value).toFixed(0)}`;
  const clear = differences.filter(({ low, high }) => low > 0 || high < 0);
  const texts = clear.map(
    ({ name, difference, low, high }) =>
      `${name} ${points(difference)} points (${points(low)} to ${points(high)})`,
  );
  const rest = differences.length - clear.length;
  const noise = `${rest === differences.length ? "all" : rest} of ${differences.length} differences in success are within noise (95 % intervals hold 0)`;
  return (
    `GCD beside plain GRPO: ${[...texts, noise].join(", ")}. One seed and some hundred games say little either way; ` +
    "docs/experiments has more."
  );
}

/** The pair of samples whose coupling lifts a punished action most. */
export function worstPair(document: CouplingDocument): string {
  const { samples, pairs, name } = document;
  const [worst] = pairs;
  if (worst === undefined) return `${name}: no rewarded sample lifts a punished one.`;
  return [
    `The worst pair under ${name}, of ${samples.length} samples: ${pairSentence(samples, worst)}.`,
    `  rewarded in: ${lastWords(samples[worst.from].stateText)}`,
    `  punished in: ${lastWords(samples[worst.to].stateText)}`,
  ].join("\n");
}

const MOST_LETTERS = 160;

/** The end of a prompt is what the policy saw last. */
function lastWords(text: string): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length <= MOST_LETTERS ? line : `…${line.slice(-MOST_LETTERS)}`;
}
