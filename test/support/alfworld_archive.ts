/** The archive of real games and the recordings of the real engine, which lie beside the project where it is developed. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { brotliDecompressSync } from "node:zlib";
import { needing } from "./needs.js";

const root = fileURLToPath(new URL("../../../shared/alfworld/", import.meta.url));
const archiveFile = `${root}alfworld-all-5034.jsonl.br`;
const goldenFolder = `${root}golden/`;

const needingGames = (...paths: string[]) =>
  needing({
    what: "real ALFWorld games and recordings of their engine",
    isThere: paths.every((path) => existsSync(path)),
    cure: "They are no part of the project, and are looked for in ../shared/alfworld; our own games are tested.",
  });

export const withArchive = needingGames(archiveFile);
export const withRecordings = needingGames(archiveFile, goldenFolder);
export const withDataFolder = needingGames(`${root}json_2.1.1`);
/** `json_2.1.1` as users have it on disk, cut down. */
export const dataFolder = root;

export interface ArchivedGame {
  readonly path: string;
  readonly split: string;
  readonly type: string;
  readonly task: string;
  readonly solvable: boolean | null;
  /** JSON text of the `game.tw-pddl` file. */
  text(): string;
}

interface Line {
  readonly path: string;
  readonly split: string;
  readonly type: string;
  readonly task: string;
  readonly solvable: boolean | null;
  readonly domain: string;
  readonly grammar: string;
  readonly problem: string;
}

/** Every game of the archive. */
export function readArchive(): ArchivedGame[] {
  const lines = brotliDecompressSync(readFileSync(archiveFile)).toString("utf8").split("\n").filter(Boolean);
  const header = JSON.parse(lines[0] as string) as {
    domains: Record<string, string>;
    grammars: Record<string, string>;
  };
  return lines.slice(1).map((line) => {
    const game = JSON.parse(line) as Line;
    const { path, split, type, task, solvable } = game;
    const text = (): string =>
      JSON.stringify({
        pddl_domain: header.domains[game.domain],
        grammar: (header.grammars[game.grammar] as string).replace("UNKNOWN GOAL.", () => task),
        pddl_problem: game.problem,
        solvable,
      });
    return { path, split, type, task, solvable, text };
  });
}

interface RecordedState {
  readonly admissible: readonly string[];
  readonly n_facts: number;
  readonly facts_sha1: string;
}

interface RecordedStep extends RecordedState {
  readonly command: string;
  readonly feedback: string;
  readonly reward: number;
  readonly score: number;
  readonly done: boolean;
  readonly won: boolean;
}

export interface RecordedEpisode extends RecordedState {
  readonly mode: string;
  readonly initial: string;
  readonly won: boolean;
  readonly entity_names?: Record<string, string>;
  readonly steps: readonly RecordedStep[];
}

export interface Recording {
  readonly name: string;
  readonly game: string;
  readonly variant: string;
  readonly task: string;
  readonly task_type: string;
  readonly solvable: boolean | null;
  readonly episodes: readonly RecordedEpisode[];
}

/** Plays recorded from the real engine. */
export function readRecordings(): Recording[] {
  return readdirSync(goldenFolder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => ({ ...JSON.parse(readFileSync(goldenFolder + name, "utf8")), name }) as Recording);
}

/** Domain and grammar of the 2.1.3 wording. */
export function newerRules(): { domain: string; grammar: string } {
  return {
    domain: readFileSync(`${root}alfred-0.5.0.pddl`, "utf8"),
    grammar: readFileSync(`${root}alfred-0.5.0.twl2`, "utf8"),
  };
}
