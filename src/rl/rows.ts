/** What training works on: one row for each answer of the policy or of an expert. */

/** What a row trains on: the tokens read and the tokens that were answered. */
export interface TokenRow {
  readonly prompt: readonly number[];
  readonly answer: readonly number[];
}

/** A row of the policy stream: its tokens, one advantage, and what sampled it. */
export interface PolicyRow extends TokenRow {
  readonly advantage: number;
  /** 0 leaves the row out of the loss. */
  readonly counts: boolean;
  /** Behaviour policy's log-probabilities of `answer`, as recorded when sampling. */
  readonly sampledLogProbs: readonly number[];
}
