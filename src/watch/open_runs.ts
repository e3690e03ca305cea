/** Runs that were looked at lately, and the list of all. */
import type { RunLine, RunState } from "./api.js";
import { notFound } from "./errors.js";
import { OpenRun } from "./open_run.js";
import { RunList } from "./run_list.js";
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
  readonly #list: RunList;

  /** @param now milliseconds since 1970 */
  constructor(
    readonly tree: RunTree,
    private readonly now: () => number,
  ) {
    this.#list = new RunList(tree, now);
    this.#lines = new Shared(now, () => this.#list.lines(false));
  }

  /** Every run, the one that was active last first; of very many, some may be `unread`. */
  lines(): Promise<RunLine[]> {
    return this.#lines.get();
  }

  /** The same, with every run read. */
  allLines(): Promise<RunLine[]> {
    return this.#list.lines(true);
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
    // a folder that was removed meanwhile is none any more
    if (!(await this.tree.isRun(name))) {
      this.#runs.delete(name);
      throw notFound(`the run ${JSON.stringify(name)}`);
    }
    // looked up after the wait: of several first questions at the same time one opens the run
    const known = this.#runs.get(name);
    const run = known?.run ?? new OpenRun(this.tree, name, this.now);
    const entry = known ?? { run, state: new Shared(this.now, () => run.state()) };
    this.#runs.delete(name);
    this.#runs.set(name, entry);
    while (this.#runs.size > KEPT_RUNS) this.#runs.delete([...this.#runs.keys()][0]);
    return entry;
  }
}
