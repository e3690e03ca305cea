/** Episodes of an evaluation as lines of a file, so that it goes on where it was stopped. */
import { z } from "zod";
import type { MatrixStorage } from "../../autograd/parameter_slots.js";
import type { TrainConfig } from "../../config/schema.js";
import { ConfigError, DataError } from "../../core/errors.js";
import type { EpisodeRecords, EvaluationEpisode } from "../../rl/play/evaluate.js";
import { writeFileAtomic } from "../files/files.js";
import { AppendFile, jsonLine, readJsonLines } from "../files/json_lines.js";
import { adapterSha256, settingsSha256, weightsSha256 } from "./fingerprint.js";

/** What every line begins with; the rest is an `EvaluationEpisode`. */
const lineSchema = z.looseObject({
  evaluation: z.string(),
  split: z.string(),
  mode: z.enum(["greedy", "sampled"]),
  sample: z.int().min(0),
  taskId: z.string(),
  taskType: z.string(),
  ended: z.enum(["won", "lost", "truncated", "failed"]),
  rows: z.array(z.looseObject({ observation: z.string(), action: z.string(), valid: z.boolean() })),
});

/**
 * Identity of what decides the episodes of an evaluation: weights, world, prompt, sampling, instructions. How many episodes, of
 * which splits and modes, is not part of it: each episode is the same whatever others are played.
 */
export async function evaluationIdentity(
  config: TrainConfig,
  instructions: Readonly<Record<string, string>> | undefined,
  { lora, storage }: { readonly lora?: string; readonly storage?: MatrixStorage } = {},
): Promise<string> {
  const { world, prompt, grpo, eval: evaluation } = config;
  const { temperature, top_p, seed, task_types } = evaluation;
  return settingsSha256({
    weights: await weightsSha256(config.model.path as string),
    ...(lora !== undefined && { adapter: await adapterSha256(lora) }),
    precision: config.model.precision,
    ...(storage !== undefined && { storage }),
    world,
    prompt,
    sampling: { temperature, top_p, seed, maxNewTokens: grpo.max_completion_length },
    task_types,
    instructions: instructions ?? null,
  }).slice(0, 16);
}

/** An open file of episodes. */
export class EpisodeFile implements EpisodeRecords {
  private constructor(
    readonly played: readonly EvaluationEpisode[],
    private readonly identity: string,
    private readonly file: AppendFile,
  ) {}

  /**
   * Opens or makes a file; an unfinished last line is removed.
   * @throws ConfigError when its episodes belong to another evaluation
   * @throws DataError when a line is malformed
   */
  static async open(path: string, identity: string): Promise<EpisodeFile> {
    const lines = await readJsonLines(path);
    const played = lines.map((line, index) => episodeOf(line, `${path}:${index + 1}`, identity));
    await writeFileAtomic(path, lines.map((line) => jsonLine(line as object)).join(""));
    return new EpisodeFile(played, identity, await AppendFile.open(path));
  }

  /** @throws what the system says of an earlier write: episodes that cannot be kept need not be played */
  add(episode: EvaluationEpisode): void {
    if (this.file.failure !== undefined) throw this.file.failure;
    // a failed write is thrown by the next call, or by `close`
    this.file.append(jsonLine({ evaluation: this.identity, ...episode })).catch(() => {});
  }

  /** @throws what the system says of any write */
  async close(): Promise<void> {
    await this.file.close();
  }
}

function episodeOf(line: unknown, place: string, identity: string): EvaluationEpisode {
  const result = lineSchema.safeParse(line);
  if (!result.success) {
    const { path, message } = result.error.issues[0];
    throw new DataError(
      `[${place}] line is no episode: got ${message} at ${path.join(".") || "its root"}, expected a line of an evaluation. ` +
        "Choose another --out.",
    );
  }
  const { evaluation, ...episode } = result.data;
  if (evaluation === identity) return episode as unknown as EvaluationEpisode;
  throw new ConfigError(
    `[${place}] episode belongs to another evaluation: got ${evaluation}, expected ${identity}. Weights, world, prompt or ` +
      "sampling are others; choose another --out.",
  );
}
