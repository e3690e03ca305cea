/** Refuses gradients that are not finite, by the sample that they are of. */
import { ArgumentError } from "../core/errors.js";
import type { Qwen2Model } from "../model/qwen2.js";
import { defaultPieceBytes, firstBadAlone, samplePass, trainableNames } from "./pass.js";
import type { CouplingSample } from "./samples.js";
import { DotsSink } from "./sinks.js";
import { Workspace } from "./workspace.js";

/**
 * @param squares |g_s|^2 of each sample, by parameter
 * @throws ArgumentError that names the first sample whose gradient is not finite, alone if there is one such
 */
export async function requireFiniteNorms(
  policy: Qwen2Model,
  samples: readonly CouplingSample[],
  squares: ReadonlyMap<string, ArrayLike<number>>,
): Promise<void> {
  const nameOf = (s: number, of = squares, at = s) =>
    [...of.keys()].find((name) => !Number.isFinite(of.get(name)?.[at]));
  const bad = [...samples.keys()].filter((s) => nameOf(s) !== undefined);
  const alone = new Map<number, ReadonlyMap<string, ArrayLike<number>>>();
  const first = await firstBadAlone(bad, async (s) => {
    alone.set(s, await squaresAlone(policy, samples[s] as CouplingSample));
    return nameOf(s, alone.get(s), 0) === undefined;
  });
  if (first === undefined) return;
  const name = nameOf(first, alone.get(first), 0) ?? nameOf(first);
  throw new ArgumentError(
    `[coupling] sample ${first}: its gradient of ${name} is not finite: got a squared norm of ${squares.get(name as string)?.[first]}. Check the model's weights, lower the sample's weights, or leave it out.`,
  );
}

async function squaresAlone(
  policy: Qwen2Model,
  sample: CouplingSample,
): Promise<ReadonlyMap<string, ArrayLike<number>>> {
  const workspace = new Workspace(policy.launcher);
  const dots = new DotsSink(workspace, trainableNames(policy), 1, []);
  try {
    await samplePass(policy, [sample], {
      workspace,
      sinks: [dots],
      pieceBytes: defaultPieceBytes(policy.launcher),
    });
    return await dots.read();
  } finally {
    dots.release();
    workspace.release();
  }
}
