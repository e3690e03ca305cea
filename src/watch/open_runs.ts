/** Runs that were looked at lately, and the list of all. */
import type { RunLine, RunState } from "./api.js";
import { notFound } from "./errors.js";
import { OpenRun } from "./open_run.js";
import { runLine } from "./run_record.js";
import type { RunTree } from "./run_tree.js";

/** Runs kept in memory. */
const KEPT_RUNS = 12;
/** Milliseconds in which several askers get the same answer: as many tabs as one likes cost no more than one. */
const SHARED_FOR = 500;

/** The last answer, for those who ask shortly after. */
class Shared<T> {
  #asked = Number.NEGATIVE_INFINITY;
  #answer: Promise<T> | undefined;

  constructor(
    private readonly now: () => number,
    private readonly ask: () => Promise<T>,
  ) {}

  get(): Promise<T> {
    if (this.#answer === undefined || this.now() - this.#asked > SHARED_FOR) {
      this.#asked = this.now();
      this.#answer = this.ask();
    }
    return this.#answer;
  }
}

export class OpenRuns {
  /** Oldest use first. */
  readonly #runs = new Map<string, { readonly run: OpenRun; readonly state: Shared<RunState> }>();
  readonly #lines: Shared<RunLine[]>;

  /** @param now milliseconds since 1970 */
  constructor(
    readonly tree: RunTree,
    private readonly now: () => number,
  ) {
    this.#lines = new Shared(now, async () => {
      const names = await tree.runs();
      return Promise.all(names.map((run) => runLine(tree, run, now())));
    });
  }

  /** Every run, the one that was active last first. */
  async lines(): Promise<RunLine[]> {
    const lines = await this.#lines.get();
    return [...lines].sort(
      (a, b) => (b.updated ?? "").localeCompare(a.updated ?? "") || a.run.localeCompare(b.run),
    );
  }

  /** @throws RequestError when there is no such run */
  async get(name: string): Promise<OpenRun> {
    return (await this.#entry(name)).run;
  }

  /** @throws RequestError when there is no such run */
  async state(name: string): Promise<RunState> {
    return (await this.#entry(name)).state.get();
  }

  async #entry(name: string) {
    const known = this.#runs.get(name);
    // a folder that was removed meanwhile is none any more
    if (!(await this.tree.isRun(name))) {
      this.#runs.delete(name);
      throw notFound(`the run ${JSON.stringify(name)}`);
    }
    const run = known?.run ?? new OpenRun(this.tree, name, this.now);
    const entry = known ?? { run, state: new Shared(this.now, () => run.state()) };
    this.#runs.delete(name);
    this.#runs.set(name, entry);
    while (this.#runs.size > KEPT_RUNS) this.#runs.delete([...this.#runs.keys()][0]);
    return entry;
  }
}
