/** One run that somebody looks at: what was read of it stays in memory and grows with its files. */
import type { EvaluationTranscript, RolloutRow } from "../core/run_record.js";
import { stepOfName } from "../host/run/checkpoints.js";
import { parseRolloutRow } from "../host/run/rollout_rows.js";
import { RUN_FILES } from "../host/run/run_info.js";
import { parseTranscript } from "../host/run/transcripts.js";
import type { EvaluationPoint, RunDetail, RunState, Series, ShownAlert } from "./api.js";
import { evaluationPoint } from "./evaluations.js";
import { JsonTail, sampledRows } from "./json_tail.js";
import { MetricsTable, sampleSeries } from "./metrics_table.js";
import { type ReadInfo, readInfo, readRecord, runLine, shownAlert, statusOf } from "./run_record.js";
import type { RunTree } from "./run_tree.js";
import { listSteps, StepFiles } from "./step_files.js";
import { type Decode, openDecoder } from "./token_texts.js";

/** Points of a first answer: about one for each pixel of a curve. */
const SAMPLED_POINTS = 400;

/** Bytes of metrics that take a while to read. */
const LONG = 1 << 20;

export class OpenRun {
  readonly metrics = new MetricsTable();
  readonly rollouts: StepFiles<RolloutRow>;
  readonly transcripts: StepFiles<EvaluationTranscript>;
  #evaluations: EvaluationPoint[] = [];
  #malformedEvaluations = 0;
  #wasAsked = false;
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
    this.rollouts = new StepFiles(tree, run, RUN_FILES.rollouts, parseRolloutRow);
    this.transcripts = new StepFiles(tree, run, RUN_FILES.transcripts, parseTranscript);
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

  /** Does not wait for a long file of metrics at the first look: whoever comes to the page sees it before everything is read. */
  async state(): Promise<RunState> {
    const isFirst = !this.#wasAsked;
    this.#wasAsked = true;
    const [read, rolloutSteps] = await Promise.all([
      readInfo(this.tree, this.run),
      listSteps(this.tree, this.run, RUN_FILES.rollouts),
      isFirst ? this.#quickRefresh() : this.refresh(),
    ]);
    return this.#state(read, rolloutSteps);
  }

  async #quickRefresh(): Promise<void> {
    if (this.#metricsTail.isRead || !(await this.#isLong())) return this.refresh();
    await Promise.all([this.#evaluationsTail, this.#alertsTail].map((tail) => tail.refresh()));
  }

  async #isLong(): Promise<boolean> {
    const handle = await this.tree.open(this.run, RUN_FILES.metrics);
    if (handle === undefined) return false;
    const { size } = await handle.stat().finally(() => handle.close());
    return size > LONG;
  }

  async #state(read: ReadInfo, rolloutSteps: readonly number[]): Promise<RunState> {
    return {
      status: await statusOf(this.tree, this.run, read, this.now()),
      metrics: this.metrics.rows,
      evaluations: this.#evaluations.length,
      alerts: this.#alerts.length,
      generation: this.generation,
      rollouts: rolloutSteps.at(-1) ?? null,
      keys: this.metrics.keys.length,
      damaged: Object.values(this.#damaged).reduce((sum, lines) => sum + lines),
    };
  }

  get #damaged(): Readonly<Record<string, number>> {
    return {
      [RUN_FILES.metrics]: this.#metricsTail.damaged,
      [RUN_FILES.evaluations]: this.#evaluationsTail.damaged + this.#malformedEvaluations,
    };
  }

  /**
   * Columns of a few updates, from which the course of a curve is seen: at once, however long the run. Everything, where it was
   * read already.
   */
  async sample(keys: readonly string[]): Promise<Series> {
    const open = () => this.tree.open(this.run, RUN_FILES.metrics);
    const sampled = this.#metricsTail.isRead ? undefined : await sampledRows(open, SAMPLED_POINTS);
    if (sampled !== undefined) return sampleSeries(sampled, keys);
    await this.refresh();
    return this.metrics.series(keys, 0, this.generation, SAMPLED_POINTS);
  }

  /** @param isWhole whether to wait for a long file of metrics; else names and damaged lines are those known by then */
  async detail(isWhole = true): Promise<RunDetail> {
    const { tree, run } = this;
    await (isWhole ? this.refresh() : this.#quickRefresh());
    const record = await readRecord(tree, run);
    const { read } = record;
    const { settings, problem } = record.settings;
    const [line, rolloutSteps, transcriptSteps, analyses] = await Promise.all([
      runLine(tree, run, this.now(), record),
      listSteps(tree, run, RUN_FILES.rollouts),
      listSteps(tree, run, RUN_FILES.transcripts),
      this.analyses(),
    ]);
    return {
      ...line,
      state: await this.#state(read, rolloutSteps),
      keys: this.metrics.keys,
      settings,
      settingsError: problem,
      sessions: "info" in read ? read.info.sessions.map(shownSession) : [],
      damaged: this.#damaged,
      alerts: this.#alerts,
      rolloutSteps,
      transcriptSteps,
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
