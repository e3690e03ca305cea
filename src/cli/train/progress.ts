/** How far training is: a bar on a terminal, a line from time to time elsewhere. Reads the rows that the run records. */
import { Presets, SingleBar } from "cli-progress";
import type { Logger } from "../../core/logger.js";
import type { Metrics, RunSink } from "../../core/run_record.js";
import type { OutputStream } from "../kit/terminal.js";

export interface ProgressOptions {
  readonly stream: OutputStream;
  /** Whether a moving bar makes sense (`terminal.isLive`). */
  readonly isLive: boolean;
  /** Updates of the whole run. */
  readonly total: number;
  /** Updates done before: they do not count for the speed. */
  readonly done: number;
  /** Milliseconds on any clock. */
  readonly clock: () => number;
  /** Prints a line where there is no bar. */
  readonly print: (line: string) => void;
  /** Seconds between lines; default 10. */
  readonly seconds?: number;
}

/** `90` -> `1m30s` */
export function durationText(seconds: number): string {
  if (!Number.isFinite(seconds)) return "?";
  const whole = Math.round(seconds);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  if (hours > 0) return `${hours}h${String(minutes).padStart(2, "0")}m`;
  return minutes > 0 ? `${minutes}m${String(rest).padStart(2, "0")}s` : `${rest}s`;
}

/** Bytes in the largest binary unit that gives at least 1. */
export function bytesText(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  const power = bytes < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 2 ** (10 * power)).toFixed(power === 0 ? 0 : 1)} ${units[power]}`;
}

function short(value: number): string {
  return Math.abs(value) >= 1000 ? value.toFixed(0) : Number(value.toPrecision(3)).toString();
}

/** The numbers worth watching, of those that a row has. */
export function figures(row: Metrics): string {
  const shown: [name: string, key: string, format: (value: number) => string][] = [
    ["success", "success", (value) => `${(100 * value).toFixed(1)}%`],
    ["reward", "reward", short],
    ["loss", "loss", short],
    ["tokens/s", "perf/tokens_per_s", short],
    ["GPU", "gpu/bytes_live", bytesText],
  ];
  return shown
    .flatMap(([name, key, format]) => {
      const value = row[key];
      return typeof value === "number" ? [`${name} ${format(value)}`] : [];
    })
    .join(", ");
}

/** Updates over which the speed is measured. */
const SPEED_WINDOW = 20;

/** Shows the progress of one run. */
export class Progress {
  readonly #bar: SingleBar | undefined;
  /** Times of the last updates of the current stage, and before them that of its beginning. */
  #marks: { readonly step: number; readonly time: number }[];
  #stage: unknown;
  #lastLine: number | undefined;

  constructor(private readonly options: ProgressOptions) {
    this.#marks = [{ step: options.done, time: options.clock() }];
    if (!options.isLive) return;
    this.#bar = new SingleBar(
      {
        format: "{stage} {bar} {value}/{total}, {remaining} left{figures}",
        stream: options.stream,
        barsize: 24,
        hideCursor: true,
        // the last line stays as the record of the run
        clearOnComplete: false,
        gracefulExit: false,
      },
      Presets.rect,
    );
    this.#bar.start(options.total, options.done, { stage: "starting", remaining: "?", figures: "" });
  }

  /** Shows a row of metrics. */
  update(row: Metrics): void {
    const { total, clock, print, seconds = 10 } = this.options;
    const now = clock();
    const remaining = durationText(this.#secondsAnUpdate(row, now) * (total - row.step));
    const numbers = figures(row);
    const tail = numbers ? `, ${numbers}` : "";
    if (this.#bar) {
      this.#bar.update(row.step, { stage: row.stage, remaining, figures: tail });
      return;
    }
    const isDue = this.#lastLine === undefined || now - this.#lastLine >= 1000 * seconds;
    if (!isDue && row.step < total) return;
    this.#lastLine = now;
    print(`${row.stage} ${row.step}/${total}, ${remaining} left${tail}`);
  }

  /** Over the last updates of the stage: updates of another stage take another time. */
  #secondsAnUpdate({ stage, step }: Metrics, time: number): number {
    if (stage !== this.#stage) this.#marks = this.#marks.slice(-1);
    this.#stage = stage;
    this.#marks = [...this.#marks.slice(-SPEED_WINDOW), { step, time }];
    const first = this.#marks[0];
    return (time - first.time) / 1000 / (step - first.step);
  }

  /** A logger whose lines appear above the bar instead of in it. */
  logger(beside: Logger): Logger {
    const above = (write: (message: string) => void) => (message: string) => {
      // back to the start of the line and erase it; the bar is drawn again below the message
      if (this.#bar?.isActive) this.options.stream.write("\r\u001b[K");
      write(message);
      if (this.#bar?.isActive) this.#bar.render();
    };
    return {
      info: above((message) => beside.info(message)),
      warn: above((message) => beside.warn(message)),
    };
  }

  /** A sink that passes everything on and shows the metrics. */
  watch(sink: RunSink): RunSink {
    return {
      metrics: async (row) => {
        await sink.metrics(row);
        this.update(row);
      },
      evaluation: (row) => sink.evaluation(row),
      transcripts: async (step, episodes) => sink.transcripts?.(step, episodes),
      rollouts: (step, rows) => sink.rollouts(step, rows),
      checkpoint: (checkpoint) => sink.checkpoint(checkpoint),
    };
  }

  /** Leaves the last state on the screen and gives the cursor back. */
  stop(): void {
    this.#bar?.stop();
  }
}
