/** One run that somebody looks at: what was read of it stays in memory and grows with its files. */
import { stepOfName } from "../host/run/checkpoints.js";
import { RUN_FILES } from "../host/run/run_info.js";
import type { EvaluationPoint, RunDetail, RunState, ShownAlert } from "./api.js";
import { evaluationPoint } from "./evaluations.js";
import { JsonTail } from "./json_tail.js";
import { MetricsTable } from "./metrics_table.js";
import { listRolloutSteps, RolloutStore } from "./rollout_store.js";
import { type ReadInfo, readInfo, readRecord, runLine, shownAlert, statusOf } from "./run_record.js";
import type { RunTree } from "./run_tree.js";
import { type Decode, openDecoder } from "./token_texts.js";

export class OpenRun {
  readonly metrics = new MetricsTable();
  readonly rollouts: RolloutStore;
  #evaluations: EvaluationPoint[] = [];
  #malformedEvaluations = 0;
  #alerts: ShownAlert[] = [];
  readonly #alertsTail: JsonTail;
  readonly #metricsTail: JsonTail;
  readonly #evaluationsTail: JsonTail;
  #decoder: { readonly decode: Decode | undefined } | undefined;

  constructor(
    readonly tree: RunTree,
    readonly run: string,
    /** Milliseconds since 1970. */
    private readonly now: () => number,
  ) {
    this.rollouts = new RolloutStore(tree, run);
    this.#metricsTail = new JsonTail(
      () => tree.open(run, RUN_FILES.metrics),
      (row) => this.metrics.add(row),
      () => this.metrics.clear(),
    );
    this.#alertsTail = new JsonTail(
      () => tree.open(run, RUN_FILES.alerts),
      (row) => {
        const alert = shownAlert(row);
        if (alert) this.#alerts.push(alert);
      },
      () => {
        this.#alerts = [];
      },
    );
    this.#evaluationsTail = new JsonTail(
      () => tree.open(run, RUN_FILES.evaluations),
      (row) => {
        const point = evaluationPoint(row);
        if (point === undefined) this.#malformedEvaluations++;
        else this.#evaluations.push(point);
      },
      () => {
        this.#evaluations = [];
        this.#malformedEvaluations = 0;
      },
    );
  }

  get evaluations(): readonly EvaluationPoint[] {
    return this.#evaluations;
  }

  get generation(): number {
    return this.#metricsTail.generation + this.#evaluationsTail.generation;
  }

  /** Reads what was written since the last look. */
  async refresh(): Promise<void> {
    await Promise.all(
      [this.#metricsTail, this.#evaluationsTail, this.#alertsTail].map((tail) => tail.refresh()),
    );
  }

  async state(): Promise<RunState> {
    const [read, rolloutSteps] = await Promise.all([
      readInfo(this.tree, this.run),
      listRolloutSteps(this.tree, this.run),
      this.refresh(),
    ]);
    return this.#state(read, rolloutSteps);
  }

  async #state(read: ReadInfo, rolloutSteps: readonly number[]): Promise<RunState> {
    return {
      status: await statusOf(this.tree, this.run, read, this.now()),
      metrics: this.metrics.rows,
      evaluations: this.#evaluations.length,
      alerts: this.#alerts.length,
      generation: this.generation,
      rollouts: rolloutSteps.at(-1) ?? null,
    };
  }

  async detail(): Promise<RunDetail> {
    await this.refresh();
    const { tree, run } = this;
    const record = await readRecord(tree, run);
    const { read } = record;
    const { settings, problem } = record.settings;
    const [line, rolloutSteps, analyses] = await Promise.all([
      runLine(tree, run, this.now(), record),
      listRolloutSteps(tree, run),
      this.analyses(),
    ]);
    return {
      ...line,
      state: await this.#state(read, rolloutSteps),
      keys: this.metrics.keys,
      settings,
      settingsError: problem,
      sessions: "info" in read ? read.info.sessions.map(shownSession) : [],
      damaged: {
        [RUN_FILES.metrics]: this.#metricsTail.damaged,
        [RUN_FILES.evaluations]: this.#evaluationsTail.damaged + this.#malformedEvaluations,
      },
      alerts: this.#alerts,
      rolloutSteps,
      analyses,
    };
  }

  /** Folders of coupling analyses, oldest first. */
  async analyses(): Promise<string[]> {
    const names = await this.tree.list(this.run, RUN_FILES.coupling);
    return names.filter((name) => stepOfName(name) !== undefined).sort();
  }

  /** Texts of tokens; undefined where the run keeps no tokenizer that can be read. */
  async decoder(): Promise<Decode | undefined> {
    // a run that has just begun may write it later
    if (this.#decoder?.decode === undefined)
      this.#decoder = { decode: await openDecoder(this.tree, this.run) };
    return this.#decoder.decode;
  }
}

/** A session of a record that may be of another version. */
function shownSession(session: Readonly<Record<string, unknown>> | object): RunDetail["sessions"][number] {
  const { started, fromStep, argv, git, adapter } = session as Record<string, unknown>;
  const { commit, dirty } = (git ?? {}) as Record<string, unknown>;
  const { device, driver } = (adapter ?? {}) as Record<string, unknown>;
  return {
    started: String(started),
    fromStep: typeof fromStep === "number" ? fromStep : null,
    command: Array.isArray(argv) ? argv.join(" ") : "",
    commit:
      typeof commit === "string" ? `${commit.slice(0, 12)}${dirty === true ? " with changes" : ""}` : "",
    adapter: [driver, device].filter((one) => typeof one === "string" && one !== "").join(", "),
  };
}
