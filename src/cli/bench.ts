/** `uncouple bench`: correctness and speed of every kernel, beside other libraries where they have the same operation. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Option } from "@commander-js/extra-typings";
import Table from "cli-table3";
import { benchProduct, PRODUCTS, productLabel, QUICK_PRODUCTS } from "../../bench/matmul.js";
import type { Effort } from "../../bench/measure.js";
import { benchOp } from "../../bench/ops.js";
import { type MissingPeer, openPeers, type Peer } from "../../bench/peers.js";
import type { BenchRow } from "../../bench/row.js";
import { CheckError, ConfigError } from "../core/errors.js";
import { type OpenGpu, openGpu } from "../host/drivers.js";
import { readGitState } from "../host/git.js";
import { findOwnPackage } from "../host/packages.js";
import { allOps, Launcher } from "../kernels/index.js";
import { type CliContext, gpuCommand, type Register } from "./options.js";
import { type GpuOptions, type GpuSession, withGpu } from "./session.js";

interface BenchOptions extends GpuOptions {
  readonly filter?: string;
  readonly shape?: RegExp;
  readonly peers?: true;
  readonly quick?: true;
  readonly json?: true;
  readonly save?: string;
  readonly repeats?: number;
}

export const register: Register = (program, context) => {
  gpuCommand(program, "bench", "Check every kernel against its reference and measure it.")
    .argument("[op]", "only ops whose name contains this")
    .option("--filter <text>", "the same as [op]")
    .addOption(
      new Option("--shape <pattern>", "only matmul shapes that match, as 512x512 or tn").argParser(
        (text) => new RegExp(text),
      ),
    )
    .option("--peers", "measure other libraries too (first: npm --prefix bench/peers ci)")
    .option("--quick", "small shapes and few repeats")
    .addOption(new Option("--repeats <count>", "samples of each row").argParser(readCount))
    .option("--json", "print the rows as one JSON array")
    .option("--save <file>", "write rows, adapter, commit and command to a JSON file")
    .action(async (op, options) => {
      const rows = await withGpu(options, context, (session) =>
        bench(session, { ...options, filter: op ?? options.filter }, context),
      );
      if (options.json) context.terminal.printJson(rows);
      else context.terminal.print(renderRows(rows));
      const wrong = rows.find((row) => row.implementation === "uncouple" && row.error?.includes("wrong "));
      if (wrong) {
        throw new CheckError(
          `[bench] ${wrong.op} ${wrong.direction} at ${wrong.shape}: ${wrong.error}. Report this with the output of \`uncouple doctor\`.`,
        );
      }
    });
};

function readCount(text: string): number {
  const count = Number(text);
  if (Number.isInteger(count) && count > 0) return count;
  throw new ConfigError(`[bench] --repeats is wrong: got ${text}, expected a positive integer. Correct it.`);
}

async function bench(session: GpuSession, options: BenchOptions, context: CliContext): Promise<BenchRow[]> {
  const { terminal, env } = context;
  const launcher = new Launcher(session.runtime);
  const adapter = session.choice.driver || session.choice.device;
  const effort: Effort = {
    repeats: options.repeats ?? (options.quick ? 5 : 15),
    sampleMs: options.quick ? 10 : 50,
  };
  const ops = allOps().filter(({ name }) => name.includes(options.filter ?? ""));
  if (ops.length === 0) {
    throw new ConfigError(
      `[bench] no op of this name: got "${options.filter}", expected a part of one of ${allOps()
        .map(({ name }) => name)
        .join(", ")}. Correct the filter.`,
    );
  }
  const { peers, close } = options.peers ? await openAllPeers(options, context) : NO_PEERS;
  const rows: BenchRow[] = [];
  for (const op of ops) {
    if (op.name !== "matmul") {
      terminal.info(`measuring ${op.name}`);
      rows.push(...(await benchOp({ launcher, adapter, effort, quick: options.quick === true }, op)));
      continue;
    }
    for (const product of options.quick ? QUICK_PRODUCTS : PRODUCTS) {
      const label = productLabel(product);
      if (options.shape && !options.shape.test(label)) continue;
      terminal.info(`measuring matmul ${label}`);
      rows.push(...(await benchProduct({ launcher, adapter, peers, effort }, product)));
    }
  }
  await close();
  if (options.save) await save(options.save, rows, session, options, env);
  return rows;
}

interface OpenPeers {
  readonly peers: readonly (Peer | MissingPeer)[];
  readonly close: () => Promise<void>;
}

const NO_PEERS: OpenPeers = { peers: [], close: async () => {} };

async function openAllPeers(options: GpuOptions, { env, terminal }: CliContext): Promise<OpenPeers> {
  const folder = join((await findOwnPackage())?.folder ?? ".", "bench", "peers");
  const { adapter, preset, cacheDir: cacheFolder } = options;
  // Dawn crashes when a GPU object is collected before its devices: `close` keeps them until then
  const opened: OpenGpu[] = [];
  const peers = await openPeers(folder, async () => {
    const open = await openGpu({ adapter, preset, env, cacheFolder, logger: terminal });
    opened.push(open);
    return open.adapter;
  });
  const close = async () => {
    for (const peer of peers) if (!("error" in peer)) await peer.close();
    opened.length = 0;
  };
  return { peers, close };
}

/** Rows with everything needed to repeat them. */
async function save(
  file: string,
  rows: readonly BenchRow[],
  { choice }: GpuSession,
  options: BenchOptions,
  env: CliContext["env"],
): Promise<void> {
  const own = await findOwnPackage();
  const git = own && (await readGitState(own.folder, env));
  const { filter, peers, quick } = options;
  const command = [
    "uncouple bench",
    filter,
    options.shape && `--shape "${options.shape.source}"`,
    peers && "--peers",
    quick && "--quick",
    options.repeats && `--repeats ${options.repeats}`,
    `--adapter ${options.adapter}`,
  ];
  const passport = {
    command: [...command, `--preset ${options.preset}`].filter(Boolean).join(" "),
    uncouple: own?.version,
    commit: git?.commit ?? null,
    dirty: git?.dirty ?? null,
    node: process.version,
    adapter: choice.device,
    driver: choice.driver,
    backend: choice.backend,
    preset: options.preset,
    date: new Date().toISOString(),
  };
  await writeFile(file, `${JSON.stringify({ passport, rows }, null, 2)}\n`);
}

function renderRows(rows: readonly BenchRow[]): string {
  const head = ["op", "direction", "shape", "implementation", "median ms", "p10", "p90", "GFLOP/s", "GB/s"];
  const table = new Table({ head, style: { head: [], border: [], compact: true } });
  for (const row of rows) {
    const { op, direction, shape, implementation } = row;
    const numbers = [row.medianMs, row.p10Ms, row.p90Ms, row.gflops, row.gbps];
    const cells = row.error
      ? [{ content: row.error, colSpan: numbers.length }]
      : numbers.map((value) => value?.toPrecision(4) ?? "");
    table.push([op, direction, shape, implementation, ...cells]);
  }
  return table.toString();
}
