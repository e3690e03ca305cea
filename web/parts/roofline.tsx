/** The roofline: what each kernel reaches against what memory and arithmetic of the adapter allow, as a picture and as a table. */
import { useState } from "preact/hooks";
import { type RooflineGeometry, rooflineGeometry } from "../../src/report/roofline_geometry.js";
import { type LogScale, shortNumber } from "../../src/report/svg.js";
import type { BenchView } from "../../src/watch/api.js";
import { figure } from "../text.js";
import { Choice, DataTable, Scroll } from "./common.js";
import { COLOURS } from "./line_chart.js";

const WIDTH = 900;
const HEIGHT = 440;
const PLOT = { left: 56, right: 884, top: 16, bottom: 392 } as const;
const EVERY = "every op";

type Kernel = BenchView["points"][number];

export function Roofline({ view, adapter }: { readonly view: BenchView; readonly adapter: string }) {
  const [wanted, setWanted] = useState<string>(EVERY);
  const [hasTable, setTable] = useState(false);
  const { points } = view;
  if (points.length === 0)
    return <p class="quiet">No row has both FLOP and bytes, so there is no roofline.</p>;
  const ops = [...new Set(points.map(({ op }) => op))];
  const shown = wanted === EVERY ? points : points.filter(({ op }) => op === wanted);
  return (
    <figure class="panel">
      <figcaption class="bar">
        <h2>Roofline</h2>
        <Choice
          label="Op"
          value={wanted}
          options={[EVERY, ...ops].map((one) => [one, one])}
          onChoose={setWanted}
        />
        <span class="quiet">lines: peaks measured beside them; filled: forward, hollow: backward</span>
      </figcaption>
      <Scroll label="Roofline, which can be wider than the screen">
        <svg
          class="picture"
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          role="img"
          aria-label={inWords(view, adapter, shown)}
        >
          <Picture view={view} shown={shown} ops={ops} />
        </svg>
      </Scroll>
      {wanted === EVERY && (
        <p class="legend">
          {ops.map((op, index) => (
            <span class="key" key={op}>
              <i class={`swatch fill${index % COLOURS} ${isRound(index) ? "round" : "square"}`} />
              {op}
            </span>
          ))}
        </p>
      )}
      <details onToggle={({ currentTarget }) => setTable(currentTarget.open)}>
        <summary>As a table</summary>
        {hasTable && <KernelTable shown={shown} />}
      </details>
    </figure>
  );
}

function Picture({
  view: { points, gbps, ceilings },
  shown,
  ops,
}: {
  readonly view: BenchView;
  readonly shown: readonly Kernel[];
  readonly ops: readonly string[];
}) {
  // scales of all kernels: they stay where they are when one op is chosen
  const geometry = rooflineGeometry(points, { gbps, ceilings }, PLOT);
  const { x, y } = geometry;
  return (
    <>
      <Grid x={x} y={y} />
      {shown.map((kernel, index) => (
        <Mark
          key={index}
          kernel={kernel}
          op={ops.indexOf(kernel.op)}
          cx={x.at(kernel.intensity)}
          cy={y.at(kernel.gflops)}
        />
      ))}
      <Roofs gbps={gbps} {...geometry} />
    </>
  );
}

function Grid({ x, y }: { readonly x: LogScale; readonly y: LogScale }) {
  const middle = (PLOT.top + PLOT.bottom) / 2;
  return (
    <>
      {x.ticks.map((tick) => (
        <g key={tick}>
          <line class="grid" x1={x.at(tick)} x2={x.at(tick)} y1={PLOT.top} y2={PLOT.bottom} />
          <text x={x.at(tick)} y={PLOT.bottom + 16} text-anchor="middle">
            {shortNumber(tick)}
          </text>
        </g>
      ))}
      {y.ticks.map((tick) => (
        <g key={tick}>
          <line class="grid" x1={PLOT.left} x2={PLOT.right} y1={y.at(tick)} y2={y.at(tick)} />
          <text x={PLOT.left - 6} y={y.at(tick) + 4} text-anchor="end">
            {shortNumber(tick)}
          </text>
        </g>
      ))}
      <text x={(PLOT.left + PLOT.right) / 2} y={PLOT.bottom + 38} text-anchor="middle">
        FLOP per byte
      </text>
      <text transform={`rotate(-90 12 ${middle})`} x={12} y={middle} text-anchor="middle">
        GFLOP/s
      </text>
    </>
  );
}

/** Each ceiling of arithmetic, and the slope of the copy kernel up to the highest. */
function Roofs({
  gbps,
  ceilings,
  slope,
}: Pick<BenchView, "gbps"> & Pick<RooflineGeometry, "ceilings" | "slope">) {
  return (
    <>
      {ceilings.map(({ name, gflops, ...line }, index) => (
        <g key={name}>
          <line class={index === 0 ? "roof" : "roof lower"} {...line} />
          <text x={PLOT.right - 4} y={line.y1 - 5} text-anchor="end">
            {`${name}: ${shortNumber(gflops)} GFLOP/s`}
          </text>
        </g>
      ))}
      {gbps !== null && slope !== undefined && (
        <g>
          <line class="roof" {...slope} />
          <text x={slope.x1 + 24} y={slope.y1 - 8}>
            {`copy: ${shortNumber(gbps)} GB/s`}
          </text>
        </g>
      )}
    </>
  );
}

/** A circle for the first eight ops, a square for the next eight, which have the same colours. */
function Mark({
  kernel,
  op,
  cx,
  cy,
}: {
  readonly kernel: Kernel;
  readonly op: number;
  readonly cx: number;
  readonly cy: number;
}) {
  const look = `ink${op % COLOURS}${kernel.direction === "forward" ? "" : " hollow"}`;
  const title = <title>{sentence(kernel)}</title>;
  return isRound(op) ? (
    <circle class={look} cx={cx} cy={cy} r={4.5} stroke-width={2} fill-opacity={0.8}>
      {title}
    </circle>
  ) : (
    <rect class={look} x={cx - 4} y={cy - 4} width={8} height={8} stroke-width={2} fill-opacity={0.8}>
      {title}
    </rect>
  );
}

const isRound = (op: number) => Math.floor(op / COLOURS) % 2 === 0;

function sentence({ op, direction, shape, dtype, intensity, gflops }: Kernel): string {
  return `${op} ${direction}, ${shape}, ${dtype}: ${figure(gflops)} GFLOP/s at ${figure(intensity)} FLOP per byte`;
}

function inWords({ gbps, ceilings }: BenchView, adapter: string, shown: readonly Kernel[]): string {
  const roofs = [
    ...(gbps === null ? [] : [`copy ${figure(gbps)} GB/s`]),
    ...ceilings.map(({ name, gflops }) => `${name} ${figure(gflops)} GFLOP/s`),
  ];
  const best = shown.reduce((most, kernel) => (kernel.gflops > most.gflops ? kernel : most), shown[0]);
  return `Roofline of ${adapter}. Peaks: ${roofs.join(", ") || "not measured"}. ${shown.length} kernels; the fastest is ${sentence(best)}.`;
}

function KernelTable({ shown }: { readonly shown: readonly Kernel[] }) {
  return (
    <DataTable
      label="Kernels of the roofline"
      columns={["op", "direction", "shape", "dtype", "FLOP per byte", "GFLOP/s"]}
    >
      {shown.map(({ op, direction, shape, dtype, intensity, gflops }, index) => (
        <tr key={index}>
          <th scope="row">{op}</th>
          <td>{direction}</td>
          <td>{shape}</td>
          <td>{dtype}</td>
          <td class="number">{figure(intensity)}</td>
          <td class="number">{figure(gflops)}</td>
        </tr>
      ))}
    </DataTable>
  );
}
