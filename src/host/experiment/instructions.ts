/** The instruction block that a run of prompt-based correction ended with. */
import { join } from "node:path";
import { z } from "zod";
import { DataError } from "../../core/errors.js";
import type { Logger } from "../../core/logger.js";
import { blockText, type Instruction } from "../../rl/correction/instructions.js";
import { readNewestCheckpoint } from "../run/checkpoints.js";
import { RUN_FILES } from "../run/run_info.js";

const stateSchema = z.looseObject({
  stages: z
    .looseObject({
      grpo: z
        .looseObject({
          correction: z
            .looseObject({ active: z.array(z.looseObject({ taskType: z.string(), text: z.string() })) })
            .nullish(),
        })
        .optional(),
    })
    .optional(),
});

/**
 * Block of each task type, as the run's newest checkpoint has it.
 * @returns undefined when the run has none: no correction, no habit that it gave an instruction for, or no checkpoint
 * @throws DataError when the checkpoint is malformed
 */
export async function instructionsOfRun(
  run: string,
  logger: Logger,
): Promise<Readonly<Record<string, string>> | undefined> {
  const { checkpoint } = await readNewestCheckpoint(join(run, RUN_FILES.checkpoints), logger);
  if (checkpoint === undefined) return undefined;
  const state = stateSchema.safeParse(checkpoint.state);
  if (!state.success) {
    const { path, message } = state.error.issues[0];
    throw new DataError(
      `[${checkpoint.path}] instructions are malformed: got ${message} at ${path.join(".")}, expected those of a run. ` +
        "Use the version of the program that wrote it.",
    );
  }
  const active = (state.data.stages?.grpo?.correction?.active ?? []) as unknown as readonly Instruction[];
  if (active.length === 0) return undefined;
  const types = [...new Set(active.map(({ taskType }) => taskType))];
  return Object.fromEntries(
    types.map((type) => [type, blockText(active.filter(({ taskType }) => taskType === type))]),
  );
}
