/** One figure of one measurement from run to run, with its commits. */
import { useState } from "preact/hooks";
import { BENCH_FIGURES, type BenchFigure, type BenchHistory } from "../../src/watch/api.js";
import { figure } from "../text.js";
import { Choice, DataTable, Scroll } from "./common.js";

const WIDTH = 900;
const HEIGHT = 240;
const PLOT = { left: 56, right: 884, top: 14, bottom: 206 } as const;

const NAMES: Readonly<Record<BenchFigure, string>> = {
  medianMs: "milliseconds, wall clock",
  gpuMs: "milliseconds, GPU clock",
  gflops: "GFLOP/s",
  gbps: "GB/s",
  tokensPerSecond: "tokens/s",
};

type Measured = BenchHistory["points"][number];

export function BenchCurve({
  title,
  points,
}: {
  readonly title: string;
  readonly points: readonly Measured[];
}) {
  const known = BENCH_FIGURES.filter((name) => points.some((point) => point[name] !== null));
  const [wanted, setWanted] = useState<BenchFigure>("medianMs");
  const name = known.includes(wanted) ? wanted : known[0];
  const drawn = points.filter((point) => point[name] !== null);
  return (
    <figure class="panel">
      <figcaption class="bar">
        <h3>{title}</h3>
        <Choice
          label="Figure"
          value={name}
          options={known.map((one) => [one, NAMES[one]])}
          onChoose={setWanted}
        />
      </figcaption>
      <Scroll label={`Picture of ${title}, which can be wider than the screen`}>
        <svg
          class="picture"
          viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
          role="img"
          aria-label={`${title}, ${NAMES[name]}, oldest run first: ${drawn.map((point) => `${figure(point[name])} at ${point.commit || "an unknown commit"}`).join(", ")}.`}
        >
          <Picture points={drawn} name={name} />
        </svg>
      </Scroll>
      <DataTable label={`${title} by run`} columns={["run", "commit", NAMES[name], "p10 to p90", "load"]}>
        {drawn.map((point) => (
          <tr key={point.run}>
            <th scope="row">{point.run}</th>
            <td>{point.commit}</td>
            <td class="number">{figure(point[name])}</td>
            <td class="number">
              {name === "medianMs" && point.p10Ms !== null
                ? `${figure(point.p10Ms)} to ${figure(point.p90Ms)}`
                : ""}
            </td>
            <td class="number">{figure(point.load)}</td>
          </tr>
        ))}
      </DataTable>
    </figure>
  );
}

/** From 0 on: a change of a few percent shall look like one. */
function Picture({ points, name }: { readonly points: readonly Measured[]; readonly name: BenchFigure }) {
  const isTime = name === "medianMs";
  const most = Math.max(
    1e-12,
    ...points.map((point) => Math.max(point[name] ?? 0, isTime ? (point.p90Ms ?? 0) : 0)),
  );
  const x = (at: number) =>
    points.length === 1
      ? (PLOT.left + PLOT.right) / 2
      : PLOT.left + 30 + (at / (points.length - 1)) * (PLOT.right - PLOT.left - 60);
  const y = (value: number) => PLOT.bottom - (value / most) * (PLOT.bottom - PLOT.top);
  return (
    <>
      {[0, 0.5, 1].map((share) => (
        <g key={share}>
          <line class="grid" x1={PLOT.left} x2={PLOT.right} y1={y(share * most)} y2={y(share * most)} />
          <text x={PLOT.left - 6} y={y(share * most) + 4} text-anchor="end">
            {figure(share * most)}
          </text>
        </g>
      ))}
      <polyline
        class="curve"
        points={points.map((point, at) => `${x(at)},${y(point[name] ?? 0)}`).join(" ")}
      />
      {points.map((point, at) => (
        <g key={point.run}>
          {isTime && point.p10Ms !== null && point.p90Ms !== null && (
            <line class="spread" x1={x(at)} x2={x(at)} y1={y(point.p10Ms)} y2={y(point.p90Ms)} />
          )}
          <circle class="ink0" cx={x(at)} cy={y(point[name] ?? 0)} r={4.5}>
            <title>{`${point.run}, ${point.commit}: ${figure(point[name])}`}</title>
          </circle>
          {points.length <= 12 && (
            <text x={x(at)} y={PLOT.bottom + 18} text-anchor="middle">
              {point.commit.slice(0, 7)}
            </text>
          )}
        </g>
      ))}
    </>
  );
}
