/** Plays recorded from the real engine must come out the same, letter for letter. */
import { createHash } from "node:crypto";
import { expect, test } from "vitest";
import { AlfworldGame } from "../../src/env/alfworld/game.js";
import { ParseCache } from "../../src/env/alfworld/parse_cache.js";
import type { AlfworldPlay } from "../../src/env/alfworld/play.js";
import {
  type ArchivedGame,
  newerRules,
  type Recording,
  readArchive,
  readRecordings,
  withRecordings,
} from "../support/alfworld_archive.js";

const archive = new Map<string, ArchivedGame>();
const cache = new ParseCache();

function gameOf(recording: Recording): AlfworldGame {
  if (archive.size === 0) for (const game of readArchive()) archive.set(game.path, game);
  const path = recording.game.replace("json_2.1.1/", "");
  const rules = recording.variant === "2.1.3" ? newerRules() : {};
  return AlfworldGame.parse((archive.get(path) as ArchivedGame).text(), { file: path, cache, ...rules });
}

/** Number and digest of the facts as the recorder took them: display names, one fact a line, sorted. */
function digestOf(game: AlfworldGame, play: AlfworldPlay) {
  const lines = play
    .facts()
    .map(({ predicate, args }) => `${predicate}(${args.map((id) => game.names.nameOf(id).trim()).join(",")})`)
    .sort();
  return { n_facts: lines.length, facts_sha1: createHash("sha1").update(lines.join("\n")).digest("hex") };
}

withRecordings.describe("plays recorded from the real engine", () => {
  test.each(readRecordings().map((recording) => [recording.name, recording] as const))(
    "%s",
    (_, recording) => {
      const game = gameOf(recording);
      expect([game.task, game.taskType, game.solvable]).toEqual([
        recording.task,
        recording.task_type,
        recording.solvable,
      ]);
      for (const episode of recording.episodes) {
        if (episode.entity_names) expect(Object.fromEntries(game.names.byId)).toEqual(episode.entity_names);
        const play = game.start();
        expect({
          initial: play.intro(),
          admissible: play.admissibleCommands,
          won: play.won,
          ...digestOf(game, play),
        }).toEqual({
          initial: episode.initial,
          admissible: episode.admissible,
          won: episode.won,
          n_facts: episode.n_facts,
          facts_sha1: episode.facts_sha1,
        });
        for (const step of episode.steps) {
          const feedback = play.step(step.command);
          const score = play.won ? 1 : 0;
          expect({
            command: step.command,
            feedback,
            admissible: play.admissibleCommands,
            reward: score,
            score,
            done: play.won,
            won: play.won,
            ...digestOf(game, play),
          }).toEqual(step);
        }
      }
    },
  );
});
