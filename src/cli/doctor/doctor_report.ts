/** What `uncouple doctor` found, and how it looks in a terminal. */
import Table from "cli-table3";
import type { ClockResolution } from "../../gpu/self_test.js";
import type { DriverTraces } from "../../host/gpu/diagnosis.js";
import type { AdapterChoice } from "../../host/gpu/drivers.js";
import type { MatrixVerdict } from "../../host/gpu/matrix_check.js";
import type { Terminal } from "../kit/terminal.js";

/** The adapter in use. */
export interface AdapterReport {
  choice: AdapterChoice;
  /** a small kernel gave the right sums */
  computes: boolean;
  /** invocations; absent without subgroups */
  subgroupSizes?: { min: number; max: number };
  /** `input -> result MxNxK` of every shape that subgroups multiply in hardware */
  subgroupMatrices: string[];
  /** whether `--matmul` may ask for these, and why */
  matrixProducts: { f16: MatrixVerdict; split_f16: MatrixVerdict };
  /** what measuring chose on this adapter, and where it is kept; without `measured` there is nothing yet */
  tuning: { choices: Readonly<Record<string, string>>; measured?: string; file: string };
  /** nanoseconds; absent without timestamps */
  clock?: ClockResolution;
  features: string[];
  limits: Record<string, number>;
}

/** Everything; `--json` prints it as it is. */
export interface DoctorReport {
  versions: { uncouple: string; node: string; webgpu: string; swiftshader: string; platform: string };
  /** absent when none could be opened */
  adapter?: AdapterReport;
  /** why the adapter could not be opened or is not fit for use */
  error?: string;
  /** device names of the adapters of all installed drivers */
  installedAdapters: string[];
  traces: DriverTraces;
  /** what the world ScienceWorld needs; absent where there is none */
  scienceWorld: { java?: string; jar?: string };
  /** the environment variables that matter */
  environment: Record<string, string>;
  /** one line for each thing that is missing, with its cure */
  advice: string[];
}

type Row = [label: string, value: string];

const LABEL_WIDTH = 20;
const NO_JAR = "no jar: install the Python package scienceworld, or name one by SCIENCEWORLD_JAR";
const NO_JAVA = "no Java: on Debian apt install default-jre-headless";
/** Limits of drawing, which nothing here does; they are in the JSON only. */
const DRAWING = /Texture|Sampler|Vertex|Fragment|Color|InterStage/;

/** @returns a block of lines, made for pasting into an issue */
export function renderReport(
  report: DoctorReport,
  { colors, width }: Pick<Terminal, "colors" | "width">,
): string {
  const { versions, adapter, traces } = report;
  const rows: Row[] = [
    [
      "versions",
      `uncouple ${versions.uncouple}, webgpu ${versions.webgpu}, node ${versions.node}, ${versions.platform}`,
    ],
  ];
  if (adapter) rows.push(...adapterRows(adapter, colors));
  if (report.error) rows.push(["error", colors.red(report.error)]);
  rows.push(["installed adapters", report.installedAdapters.join("\n") || "none"]);
  rows.push(["bundled adapter", `SwiftShader, @sparticuz/chromium ${versions.swiftshader}`]);
  if (traces.manifests.length > 0) rows.push(["driver manifests", traces.manifests.join("\n")]);
  if (traces.mesaPackage) rows.push(["mesa package", traces.mesaPackage]);
  if (traces.gpuFiles.length > 0) rows.push(["GPU device files", traces.gpuFiles.join(" ")]);
  const { jar, java } = report.scienceWorld;
  rows.push(["ScienceWorld", `${jar ?? NO_JAR}\n${java ?? NO_JAVA}`]);
  const variables = Object.entries(report.environment).map(([name, value]) => `${name}=${value}`);
  rows.push(["environment", variables.join("\n") || "nothing that matters is set"]);
  if (adapter && adapter.choice.messages.length > 0) {
    rows.push(["driver messages", adapter.choice.messages.join("\n")]);
  }
  rows.push([
    "to do",
    report.advice.map((line) => colors.yellow(line)).join("\n") || colors.green("nothing"),
  ]);
  return renderRows(rows, width);
}

function adapterRows(adapter: AdapterReport, colors: Terminal["colors"]): Row[] {
  const { choice, subgroupSizes, clock } = adapter;
  const limits = Object.entries(adapter.limits).filter(([name]) => !DRAWING.test(name));
  const has = (feature: string) => (adapter.features.includes(feature) ? "yes" : colors.yellow("no"));
  return [
    ["adapter", colors.bold(`${choice.kind}: ${choice.description || choice.device}`)],
    ["vendor, device", `${choice.vendor}, ${choice.architecture}, ${choice.device}`],
    ["driver", choice.driver],
    ["backend", `${choice.backend}, preset ${choice.preset}`],
    ["chosen because", `${choice.reason} (asked for: ${choice.requested})`],
    [
      "computes",
      adapter.computes
        ? colors.green("yes, a small kernel gave the right sums")
        : colors.red("WRONG RESULTS"),
    ],
    ["f16", has("shader-f16")],
    [
      "subgroups",
      subgroupSizes ? `${subgroupSizes.min} to ${subgroupSizes.max} invocations` : colors.yellow("no"),
    ],
    ["subgroup matrices", adapter.subgroupMatrices.join("\n") || "no"],
    ...Object.entries(adapter.matrixProducts).map(
      ([name, { usable, reason }]): Row => [`matmul ${name}`, `${usable ? "yes" : "no"}, ${reason}`],
    ),
    ["kernels", kernelsText(adapter.tuning)],
    [
      "timestamps",
      clock ? `step ${clock.step} ns, smallest difference ${clock.smallest} ns` : colors.yellow("no"),
    ],
    ["features", adapter.features.join(" ")],
    ["limits", limits.map(([name, value]) => `${name} ${value}`).join("\n")],
  ];
}

function kernelsText({ choices, measured, file }: AdapterReport["tuning"]): string {
  if (!measured) return "as shipped; `uncouple bench --tune` measures which suit this adapter";
  const changed = Object.entries(choices).map(([choice, variant]) => `${choice} ${variant}`);
  return [`measured ${measured}, kept in ${file}`, changed.join(", ") || "all as shipped"].join("\n");
}

/** Two aligned columns without lines; long values wrap. */
function renderRows(rows: readonly Row[], width: number): string {
  const table = new Table({
    chars: Object.fromEntries(BORDERS.map((name) => [name, ""])),
    style: { "padding-left": 0, "padding-right": 1, head: [], border: [] },
    colWidths: [LABEL_WIDTH, Math.max(40, width - LABEL_WIDTH)],
    wordWrap: true,
  });
  table.push(...rows);
  return table
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

const BORDERS = [
  ...["top", "top-mid", "top-left", "top-right", "bottom", "bottom-mid", "bottom-left", "bottom-right"],
  ...["left", "left-mid", "mid", "mid-mid", "right", "right-mid", "middle"],
];
