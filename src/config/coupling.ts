/** The section `coupling` of a configuration: which samples push which, measured while training. */
import { flag, integerFrom, section } from "./fields.js";

export const couplingSection = section({
  every: integerFrom(0)
    .default(0)
    .describe(
      "measure at every so many updates of the RL stage, 10 costs a few percent of the time; 0 = never",
    ),
  samples: integerFrom(2)
    .default(32)
    .describe("rows of the update that are measured, drawn among those with an advantage"),
  gram: flag()
    .default(false)
    .describe("the Gram of all pairs, for cosines by class, rather than the push on each sample alone"),
  drop_harmful: integerFrom(0)
    .default(0)
    .describe(
      "samples left out of each update of the RL stage: rewarded ones, those that lift punished ones most by prediction; four more " +
        "passes an update. 0 = none. Ours",
    ),
});
