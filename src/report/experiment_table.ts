/** The Markdown report of an experiment. */
import { mean } from "../core/statistics.js";
import type { ExperimentResult, SplitResult } from "./experiment_rows.js";
import {
  byCell,
  type Estimate,
  evaluated,
  hasMode,
  pairedDifference,
  splitOf,
  successEstimate,
  successOf,
  tEstimate,
} from "./experiment_statistics.js";

/** What a report says beside the results. */
export interface ExperimentHead {
  readonly name: string;
  readonly description: string;
  /** Meaning of each split. */
  readonly splits: Readonly<Record<string, string>>;
  /** Runs that the experiment asks for, the start not counted. */
  readonly planned: number;
  readonly failures: readonly { readonly id: string; readonly message: string }[];
}

type Cells = ReadonlyMap<string, readonly ExperimentResult[]>;

/** The whole report; tables of what is there so far. */
export function experimentMarkdown(results: readonly ExperimentResult[], head: ExperimentHead): string {
  const cells = byCell(results);
  const { splits, modes } = evaluated(results);
  const parts = [
    [`# ${head.name}`, head.description, facts(results, head)],
    ...modes.map((mode) => [`## Success, ${mode}`, successTable(cells, splits, mode)]),
    ...modes.map((mode) => [
      `## Difference from the baseline, ${mode}`,
      differenceTable(cells, splits, mode),
    ]),
    ...modes.map((mode) => [`## Success by task type, ${mode}`, typeTable(cells, splits, mode)]),
    ...modes.map((mode) => [`## Habits, ${mode}`, habitTable(cells, splits, mode)]),
    ["## Coupling", COUPLING_NOTE, couplingTable(cells)],
    ["## Coupling, difference from the baseline", couplingDifferences(cells)],
    ["## Cost", costTable(cells)],
    ["## At the end of training", lastTable(cells)],
    ["## How to read the numbers", NOTES],
  ];
  return `${parts
    .filter((part) => part.every((text) => text !== undefined))
    .map((part) => part.filter((text) => text !== "").join("\n\n"))
    .join("\n\n")}\n`;
}

const NOTES = [
  "- Intervals are for 95 %. Cells with one seed: Wilson's interval about the episodes. Cells with several seeds: Student's t interval",
  "  over the seeds, about other seeds of training, or Wilson's about the episodes of one seed where that reaches further.",
  "- Modes: `greedy` takes the likeliest token always, `sampled` samples; cells with prompt-based correction were played without",
  "  and, where they ended with some, with their instructions. With them they are compared with the baseline without any.",
  "- Differences are in percentage points, of pairs of runs with the same seed. Their intervals are percentile bootstrap intervals over",
  "  seeds (10,000 resamples, always the same ones); with few seeds these are too narrow.",
  "- Coupling: shares of the punished samples that a plain step on all samples would raise; by other states alone; that one step of the",
  "  run's optimiser really raised. Cosines are of gradients of the action's tokens, see docs/coupling.md.",
  "- Repeated: share of steps that repeat an action under the very same observation; in the same state of the world; anywhere in the",
  "  episode. Invalid: share of steps with an invalid action. Cost: of training, evaluations not counted.",
].join("\n");

function facts(results: readonly ExperimentResult[], head: ExperimentHead): string {
  const runs = results.filter(({ kind }) => kind === "cell");
  const all = (of: (result: ExperimentResult) => string) =>
    [...new Set(results.map(of))].join(", ") || "none";
  const meanings = Object.entries(head.splits).filter(([, meaning]) => meaning !== "");
  return [
    `- ${runs.length} of ${head.planned} runs are done${head.failures.length > 0 ? `, ${head.failures.length} failed` : ""}`,
    ...head.failures.map(({ id, message }) => `- failed: ${id}: ${oneLine(message)}`),
    ...meanings.map(([name, meaning]) => `- ${name}: ${meaning}`),
    `- weights of the start: SHA-256 ${all(({ start_sha256 }) => start_sha256.slice(0, 16))}`,
    `- program: ${all(({ program: { version, commit, dirty } }) => `${version} ${commit?.slice(0, 10) ?? ""}${dirty ? " with changes" : ""}`.trim())}`,
    `- adapter: ${all(({ adapter }) => adapter)}`,
  ].join("\n");
}

function successTable(cells: Cells, splits: readonly string[], mode: string): string {
  return markdownTable(
    ["cell", "seeds", ...splits],
    [...cells]
      .filter(([, own]) => own.some((one) => hasMode(one, mode)))
      .map(([cell, own]) => [
        cell,
        String(own.length),
        ...splits.map((split) => {
          const found = own.flatMap((result) => splitOf(result, split, mode) ?? []);
          return shareText(successEstimate(found));
        }),
      ]),
  );
}

function differenceTable(cells: Cells, splits: readonly string[], mode: string): string | undefined {
  const rows = [...cells].flatMap(([cell, own]) => {
    const name = own[0].baseline;
    const baseline = name === null ? undefined : cells.get(name);
    if (name === null || baseline === undefined || !own.some((one) => hasMode(one, mode))) return [];
    const numbers = splits.map((split) =>
      pointsText(pairedDifference(own, baseline, (result) => successOf(result, split, mode))),
    );
    return [[cell, name, ...numbers]];
  });
  return rows.length === 0 ? undefined : markdownTable(["cell", "minus", ...splits], rows);
}

function typeTable(cells: Cells, splits: readonly string[], mode: string): string | undefined {
  const rows = [...cells].flatMap(([cell, own]) =>
    splits.flatMap((split) => {
      const found = own.flatMap((result) => splitOf(result, split, mode) ?? []);
      const types = [...new Set(found.flatMap((one) => Object.keys(one.types)))];
      return types.map((type) => [
        cell,
        split,
        type,
        shareText(successEstimate(found.flatMap((one) => one.types[type] ?? []))),
      ]);
    }),
  );
  return rows.length === 0 ? undefined : markdownTable(["cell", "split", "task type", "success"], rows);
}

const HABITS: readonly (readonly [
  title: string,
  of: (split: SplitResult) => number | null,
  isShare: boolean,
])[] = [
  ["repeated", (split) => split.repeated_action_rate, true],
  ["repeated in state", (split) => split.repeated_action_in_state_rate, true],
  ["repeated anywhere", (split) => split.repeated_action_anywhere_rate, true],
  ["invalid", (split) => split.invalid_action_rate, true],
  ["steps", (split) => split.mean_length, false],
];

function habitTable(cells: Cells, splits: readonly string[], mode: string): string {
  const rows = [...cells].flatMap(([cell, own]) =>
    splits.flatMap((split) => {
      const found = own.flatMap((result) => splitOf(result, split, mode) ?? []);
      if (found.length === 0) return [];
      const numbers = HABITS.map(([, of, isShare]) => {
        const values = found.map(of).filter((value) => value !== null);
        if (values.length === 0) return "";
        return isShare ? percent(mean(values)) : mean(values).toFixed(1);
      });
      return [[cell, split, ...numbers]];
    }),
  );
  return markdownTable(["cell", "split", ...HABITS.map(([title]) => title)], rows);
}

const COUPLING_NOTE =
  "Every policy reads the same samples: those that the start would train on next, with the same advantages.";

const COUPLING: readonly (readonly [title: string, of: (numbers: CouplingNumbers) => number | null])[] = [
  ["inversions", (numbers) => shareOfPunished(numbers, "inversions")],
  ["by other states", (numbers) => shareOfPunished(numbers, "inversions by coupling")],
  ["measured after a step", (numbers) => shareOfPunished(numbers, "inversions measured after its step")],
  ["harmful ratio", (numbers) => numbers["coupling/harmful_ratio"] ?? null],
  ["cosine good, bad, same state", (numbers) => numbers["action cosine, good and bad, same state"] ?? null],
  ["across states", (numbers) => numbers["action cosine, good and bad, across states"] ?? null],
  ["probe before", (numbers) => numbers["probe before the action"] ?? null],
  ["probe after", (numbers) => numbers["probe after the action"] ?? null],
];

type CouplingNumbers = NonNullable<ExperimentResult["coupling"]>;

function shareOfPunished(numbers: CouplingNumbers, name: string): number | null {
  const [count, all] = [numbers[name], numbers.punished];
  return typeof count === "number" && typeof all === "number" && all > 0 ? count / all : null;
}

function couplingTable(cells: Cells): string | undefined {
  const rows = [...cells].flatMap(([cell, own]) => {
    const found = own.flatMap(({ coupling }) => (coupling ? [coupling] : []));
    if (found.length === 0) return [];
    const numbers = COUPLING.map(([, of]) => {
      const values = found.map(of).filter((value) => value !== null);
      return values.length === 0 ? "" : numberText(tEstimate(values));
    });
    return [[cell, String(found.length), ...numbers]];
  });
  const head = ["cell", "seeds", ...COUPLING.map(([title]) => title)];
  return rows.length === 0 ? undefined : markdownTable(head, rows);
}

function couplingDifferences(cells: Cells): string | undefined {
  const rows = [...cells].flatMap(([cell, own]) => {
    const name = own[0].baseline;
    const baseline = name === null ? undefined : cells.get(name);
    if (name === null || baseline === undefined) return [];
    const numbers = COUPLING.map(([, of]) =>
      pairedDifference(own, baseline, ({ coupling }) => coupling && of(coupling)),
    );
    if (numbers.every((number) => number === undefined)) return [];
    return [[cell, name, ...numbers.map((number) => (number ? signedText(number) : ""))]];
  });
  const head = ["cell", "minus", ...COUPLING.map(([title]) => title)];
  return rows.length === 0 ? undefined : markdownTable(head, rows);
}

function costTable(cells: Cells): string {
  const rows = [...cells].map(([cell, own]) => {
    const of = (number: (result: ExperimentResult) => number) => tEstimate(own.map(number));
    return [
      cell,
      String(own[0].updates),
      numberText(of(({ tokens }) => tokens)),
      numberText(of(({ seconds }) => seconds)),
    ];
  });
  return markdownTable(["cell", "updates", "tokens", "seconds"], rows);
}

function lastTable(cells: Cells): string | undefined {
  const rows = [...cells].flatMap(([cell, own]) => {
    const names = [...new Set(own.flatMap(({ last }) => Object.keys(last)))];
    return names.map((name) => {
      const values = own.map(({ last }) => last[name]).filter((value) => value !== undefined);
      return [cell, `\`${name}\``, numberText(tEstimate(values))];
    });
  });
  return rows.length === 0 ? undefined : markdownTable(["cell", "number", "mean of the last updates"], rows);
}

function markdownTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) =>
    `| ${cells.map((text) => oneLine(text).replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), `|${"---|".repeat(head.length)}`, ...rows.map(line)].join("\n");
}

function oneLine(text: string): string {
  return text.replaceAll(/\s+/g, " ");
}

function percent(value: number): string {
  return `${(100 * value).toFixed(1)} %`;
}

function shareText(estimate: Estimate | undefined): string {
  if (estimate === undefined) return "";
  const { value, low, high } = estimate;
  return low === null || high === null
    ? percent(value)
    : `${percent(value)} (${percent(low)} to ${percent(high)})`;
}

function pointsText(estimate: Estimate | undefined): string {
  if (estimate === undefined) return "";
  const points = (value: number) => `${value < 0 ? "" : "+"}${(100 * value).toFixed(1)}`;
  const { value, low, high, seeds } = estimate;
  return low === null || high === null
    ? `${points(value)} (one seed)`
    : `${points(value)} (${points(low)} to ${points(high)}, ${seeds} seeds)`;
}

/** A difference, in the number's own unit. */
function signedText({ value, low, high, seeds }: Estimate): string {
  const signed = (number: number) => `${number < 0 ? "" : "+"}${number.toFixed(3)}`;
  return low === null || high === null
    ? signed(value)
    : `${signed(value)} (${signed(low)} to ${signed(high)}, ${seeds} seeds)`;
}

function numberText({ value, low, high }: Estimate): string {
  const short = (number: number) =>
    Math.abs(number) >= 1000 ? number.toFixed(0) : String(Number(number.toPrecision(4)));
  return low === null || high === null ? short(value) : `${short(value)} (${short(low)} to ${short(high)})`;
}
