/** What a coupling analysis found, as `coupling.json` holds it and as the report shows it. */

/** Version of the document; readers refuse newer ones. */
export const COUPLING_VERSION = 2;

/** One distinct (state, action) of the update that was looked at. Changes are in nats, to first order. */
export interface CouplingSample {
  /** Hash of prompt and answer tokens: the same sample has the same id in every run. */
  readonly id: string;
  /** Samples with the same key were in the same state. */
  readonly state: string;
  /** What the policy read, or the part of it that tells states apart. */
  readonly stateText: string;
  readonly action: string;
  readonly taskType: string;
  /** Rows of the rollout that it stands for. */
  readonly rows: number;
  readonly advantage: number;
  /** Weight in the loss, all its rows together. */
  readonly weight: number;
  /** Log-probability of the whole action under the policy that was measured. */
  readonly logProb: number;
  readonly self: number;
  readonly cross: number;
  readonly total: number;
  /** Measured change of log-probability by a plain gradient step, where it was measured. */
  readonly realised: number | null;
  /** Changes of log-probability by one step of the run's optimiser, in nats of that step; null where none was made. */
  readonly optimiser: {
    /** Product of the gradient with the update that the optimiser really made. */
    readonly predicted: number;
    readonly realised: number;
  } | null;
}

/** One sample that lifts a punished one; indices into the samples. */
export interface CouplingPair {
  readonly from: number;
  readonly to: number;
  readonly gram: number;
  readonly cosine: number;
  /** Predicted change of `to` by `from` alone. */
  readonly change: number;
}

export interface CosineClass {
  readonly pairs: number;
  readonly mean: number | null;
}

/** Cosines of gradients by the classes of a pair's samples. */
export interface CosineClasses {
  readonly goodGood: CosineClass;
  readonly badBad: CosineClass;
  readonly goodBad: CosineClass;
}

/** Within one state and across states. */
export interface CosinesByState {
  readonly withinState: CosineClasses;
  readonly acrossStates: CosineClasses;
}

export interface CouplingLayer {
  /** Name of the parameter, as Hugging Face has it. */
  readonly name: string;
  /** attention, mlp, embedding or norm */
  readonly part: string;
  /** Share of the sum of squared gradient norms. */
  readonly share: number;
  /** Sum of predicted changes of punished samples by rewarded ones, through this layer. */
  readonly goodToBad: number;
}

export interface DangerZone {
  /** Punished actions: probability, and predicted change of the logit. */
  readonly points: readonly { readonly index: number; readonly q: number; readonly drift: number }[];
  /** The toy that fits them best: risk, drive, and where it rests; null where none fits. */
  readonly toy: {
    readonly risk: number;
    readonly drive: number;
    /** null: no safe regime. */
    readonly rest: { readonly stable: number; readonly unstable: number } | null;
  } | null;
}

/** A state with rewarded and punished answers. */
export interface GoodAnswerGroup {
  /** One of its rewarded samples. */
  readonly sample: number;
  /** Rows with a rewarded, and with a punished answer. */
  readonly positives: number;
  readonly negatives: number;
  /** Above 0: through the last layer the punished answers hold the rewarded ones down by more than these push themselves. */
  readonly gwhes: number;
  /** Mean predicted change of its rewarded samples: plain step per unit of learning rate; the optimiser's step in nats. */
  readonly raw: number;
  readonly optimiser: number;
  /** Tokens of its punished samples, and how many of them pull the rewarded answers down (NTHR). */
  readonly punishedTokens: number;
  readonly pullingTokens: number;
}

/** A token of a punished sample that pulls rewarded answers of its state down. */
export interface PullingToken {
  readonly sample: number;
  readonly text: string;
  readonly score: number;
  /** Of its state: the least mean score of a rewarded answer's own tokens. */
  readonly threshold: number;
}

/** Whether rewarded answers are held down by punished ones of their own state. */
export interface GoodAnswers {
  /** Worst first. */
  readonly groups: readonly GoodAnswerGroup[];
  /** Farthest above their threshold first. */
  readonly tokens: readonly PullingToken[];
  /** Spearman's correlation over the groups of -GWHES with the two predicted changes. */
  readonly rankRaw: number | null;
  readonly rankOptimiser: number | null;
}

/** Loss terms on the tokens that all answers to one prompt begin with. */
export interface SharedTokens {
  readonly groups: number;
  readonly tokens: number;
  /** 0: they cancel; 1: not at all. */
  readonly residual: number | null;
}

/** Hidden states of the samples at one place of their answers. */
export interface RepresentationView {
  /** The place, in words. */
  readonly what: string;
  /** A linear probe, good against bad, on held-out states; null where it could not be made. */
  readonly probe: {
    readonly judged: number;
    readonly balancedAccuracy: number;
    readonly chance: number;
    readonly chanceHigh: number;
  } | null;
  readonly centroids: { readonly cosine: number; readonly separation: number | null } | null;
  /** Coordinates of each sample along the two directions of largest variance, and their shares of it. */
  readonly plane: {
    readonly points: readonly (readonly [number, number])[];
    readonly shares: readonly [number, number];
  };
}

/** Whether the policy's action tells the state that it is in. Information in nats. */
export interface StateActionNumbers {
  readonly visits: number;
  readonly states: number;
  readonly actions: number;
  readonly actionEntropy: number;
  readonly plugIn: number;
  readonly shuffled: number;
  readonly corrected: number;
  readonly retrieval: number;
  readonly retrievalShuffled: number;
}

/** Predicted against measured changes of log-probability. */
export interface CouplingAgreement {
  /** What was compared, in words. */
  readonly what: string;
  readonly count: number;
  readonly correlation: number | null;
  readonly rankCorrelation: number | null;
  readonly signAgreement: number | null;
  readonly slope: number | null;
}

/** Tokens of one sample, each with a number. */
export interface TokenHeat {
  readonly sample: number;
  /** What the numbers say. */
  readonly what: string;
  readonly tokens: readonly { readonly text: string; readonly value: number }[];
}

export interface CouplingDocument extends CosinesByState {
  readonly version: number;
  /** Name of the run and the checkpoint. */
  readonly name: string;
  /** How the numbers came about: command, adapter, driver, commit, checkpoint, parameters. */
  readonly passport: Readonly<Record<string, string | number | null>>;
  readonly samples: readonly CouplingSample[];
  /** K, row-major [N, N], in samples' order; 6 significant digits. */
  readonly gram: readonly number[];
  /** Samples in the order of the heat map. */
  readonly order: readonly number[];
  /** Numbers under names that the glossary explains, and others under plain words. */
  readonly numbers: Readonly<Record<string, number | null>>;
  /** Worst first. */
  readonly pairs: readonly CouplingPair[];
  /** The cosines again, of gradients of the action's tokens alone; null where an answer is an action and nothing else. */
  readonly actionTokens: CosinesByState | null;
  readonly layers: readonly CouplingLayer[];
  readonly danger: DangerZone;
  /** The same with changes through the optimiser's actual update; null where no step was made. */
  readonly dangerOptimiser: DangerZone | null;
  readonly goodAnswers: GoodAnswers | null;
  readonly sharedTokens: SharedTokens | null;
  readonly views: readonly RepresentationView[];
  readonly stateAction: StateActionNumbers | null;
  readonly agreements: readonly CouplingAgreement[];
  readonly tokenHeat: TokenHeat | null;
}
