/** `uncouple bench size`: what a model takes to load, to read, to answer and to train on this adapter, beside the memory plan. */
import { type Command, type CommandUnknownOpts, Option } from "@commander-js/extra-typings";
import Table from "cli-table3";
import { benchPeaks } from "../../../bench/peaks.js";
import {
  benchSize,
  SIZE_WORKS,
  type SizeOptions,
  type SizeRow,
  type SizeWork,
  smallSubject,
} from "../../../bench/size.js";
import { beforeWork } from "../../host/files/before_work.js";
import { readModelFolder } from "../../host/model/model_folder.js";
import { Launcher } from "../../kernels/index.js";
import { figure } from "../../report/bench_text.js";
import { wholeNumber } from "../kit/numbers.js";
import { type CliContext, gpuCommand, storageOption } from "../kit/options.js";
import { withGpu } from "../kit/session.js";
import { noTuneOption } from "../kit/tuning.js";

/** Adds the command below `bench`, whose own arguments and options do not matter to it. */
export function registerSize(bench: CommandUnknownOpts, context: CliContext): void {
  gpuCommand(
    bench as unknown as Command,
    "size",
    "What a model takes to load, to read, to answer and to train, beside the memory plan.",
  )
    .requiredOption("--model <folder>", "model in Hugging Face layout")
    .addOption(
      new Option("--work <names...>", "what to do")
        .choices(SIZE_WORKS)
        .default<readonly SizeWork[]>(["forward", "generate"]),
    )
    .addOption(storageOption())
    .option("--sequences <number>", "sequences", wholeNumber(1), 2)
    .option("--tokens <number>", "tokens of each", wholeNumber(2), 64)
    .option("--new-tokens <number>", "tokens of an answer", wholeNumber(1), 8)
    .option("--rank <number>", "rank of the adapter, on all matrices", wholeNumber(1), 8)
    .addOption(
      new Option("--moments <type>", "of AdamW").choices(["f32", "f16"] as const).default("f32" as const),
    )
    .option("--checkpointing", "compute layers again in backward")
    .option("--repeats <number>", "times that each work is done after the first", wholeNumber(0), 2)
    .option("--check <tokens>", "hold so many log-probabilities against float64", wholeNumber(0), 0)
    .option("--small", "measure the preset small too, in the same run")
    .addOption(noTuneOption())
    .option("--json", "print one JSON object")
    .action(async (options) => {
      const { terminal } = context;
      const folder = await beforeWork(() => readModelFolder(options.model));
      await withGpu(options, context, async ({ runtime, choice }) => {
        const launcher = new Launcher(runtime);
        const adapter = choice.driver || choice.device;
        const effort = { repeats: 5, sampleMs: 50, budgetMs: 3000 };
        const peaks = await benchPeaks({ launcher, adapter, effort });
        const peak = (of: "gflops" | "gbps") => Math.max(...peaks.map((row) => row[of] ?? 0));
        const most: Peaks = { gflops: peak("gflops"), gbps: peak("gbps") };
        const sizes: SizeOptions = {
          works: options.work,
          storage: options.storage ?? "f32",
          B: options.sequences,
          T: options.tokens,
          newTokens: options.newTokens,
          rank: options.rank,
          moments: options.moments,
          recompute: options.checkpointing === true,
          repeats: options.repeats,
          checked: options.check,
        };
        const subject = { name: options.model, config: folder.config, folder };
        const rows: SizeRow[] = [];
        for (const one of options.small ? [smallSubject(), subject] : [subject])
          rows.push(...(await benchSize(launcher, one, sizes, (row) => terminal.info(line(row, most)))));
        if (options.json) terminal.printJson({ peaks: most, rows });
        else terminal.print(sizeTable(rows, most));
      });
    });
}

/** GFLOP/s of multiply-adds in f32, and GB/s of copying. */
interface Peaks {
  readonly gflops: number;
  readonly gbps: number;
}

const gigabytes = (bytes: number) => `${figure(bytes / 1e9)} GB`;

function figures(
  { ms, firstMs, flops, bytes, peakBytes, plannedBytes, error }: SizeRow,
  peaks: Peaks,
): string[] {
  const speed = flops && flops / ms / 1e6;
  const reading = bytes && bytes / ms / 1e6;
  return [
    figure(firstMs / 1000),
    figure(ms / 1000),
    flops ? figure(ms / (flops / peaks.gflops / 1e6)) : "",
    figure(speed),
    figure(reading),
    `${gigabytes(peakBytes)} of ${gigabytes(plannedBytes)}`,
    error === undefined ? "" : error.toExponential(1),
  ];
}

const TITLES = [
  "first s",
  "s",
  "times the peak's",
  "GFLOP/s",
  "GB/s of weights",
  "in use, of planned",
  "off float64",
];

function line(row: SizeRow, peaks: Peaks): string {
  const cells = figures(row, peaks).map((text, index) => text && `${TITLES[index]} ${text}`);
  return `${row.model}, ${row.work}: ${cells.filter(Boolean).join(", ")}`;
}

function sizeTable(rows: readonly SizeRow[], peaks: Peaks): string {
  const table = new Table({ head: ["model", "work", ...TITLES], style: { head: [], border: [] } });
  for (const row of rows) table.push([row.model, row.work, ...figures(row, peaks)]);
  return `${table.toString()}\npeaks: ${figure(peaks.gflops)} GFLOP/s of multiply-adds, ${figure(peaks.gbps)} GB/s of copying`;
}
