/** Style sheet of the coupling report, for light and for dark screens. */
import { HEAT_STEPS, heatClass } from "./coupling_heat_map.js";
import { DARK, LIGHT, type Palette } from "./palette.js";

/** Marks of the charts. */
const MARKS = `.good, .bar-low { fill: var(--low); } .bad, .bar-high { fill: var(--high); } .even, .bar-even { fill: var(--quiet); }
.falling { fill: var(--low); } .rising { fill: var(--high); stroke: var(--ink); }
.curve { fill: none; stroke: var(--quiet); stroke-width: 1.5; stroke-dasharray: 5 4; }
.zone-safe { fill: var(--low); fill-opacity: .12; } .zone-danger { fill: var(--high); fill-opacity: .14; }`;

/** Everything that the page shows, no file beside it. */
export function couplingStyle(): string {
  return `
:root { color-scheme: light dark; ${variables(LIGHT)} }
@media (prefers-color-scheme: dark) { :root { ${variables(DARK)} } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main, header { max-width: 1240px; margin: 0 auto; padding: 0 20px; }
h1 { font-size: 24px; margin: 24px 0 4px; } h2 { font-size: 19px; margin: 36px 0 6px; } h3 { font-size: 15px; margin: 8px 0; }
p { margin: 6px 0 12px; max-width: 80ch; } .quiet { color: var(--quiet); }
.runs { display: grid; gap: 28px; grid-template-columns: minmax(0, 1fr); }
.runs.two { grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); }
.heat, .chart, .legend { display: block; width: 100%; max-width: 600px; }
.heat svg { display: block; width: 100%; }
:focus-visible { outline: 3px solid var(--low); outline-offset: 2px; }
.legend { display: flex; gap: 8px; align-items: center; font-size: 12px; margin: 6px 0; } .legend svg { flex: 1; height: 12px; }
.readout { min-height: 4.5em; max-width: 600px; overflow-wrap: anywhere; }
.cursor { fill: none; stroke: var(--ink); stroke-width: 2; }
.chart text { fill: var(--ink); } .grid { stroke: var(--line); } .axis { stroke: var(--ink); }
${MARKS}
.frame { fill: none; stroke: var(--line); } .mark { stroke: var(--ground); stroke-width: .8; }
.planes { display: grid; gap: 20px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 260px), 320px)); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; margin: 6px 0 14px; font-size: 13.5px; }
caption { text-align: left; white-space: nowrap; color: var(--quiet); padding-bottom: 4px; }
th, td { text-align: left; padding: 3px 12px 3px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.pairs { padding-left: 24px; } .pairs li { margin-bottom: 14px; }
dl { display: grid; grid-template-columns: 92px minmax(0, 1fr); gap: 2px 10px; margin: 0; padding: 10px; background: var(--panel); }
dt { color: var(--quiet); } dd { margin: 0; overflow-wrap: anywhere; }
dd.state { display: flex; flex-direction: column-reverse; max-height: 9em; overflow: auto; color: var(--quiet); font-size: 13px; }
.tokens { line-height: 2.6; } .token { display: inline-block; padding: 0 5px; margin-right: 3px; border: 1px solid var(--line); white-space: pre-wrap; line-height: 1.3; }
.token small { display: block; font-size: 10px; }
${heatColours()}
@media print { .scroll { overflow: visible; } }
`;
}

/** Colours of the heat map and of the marks of charts, for a picture that stands alone. */
export function pictureRules(): string {
  return (
    `svg{${variables(LIGHT)}}@media (prefers-color-scheme:dark){svg{${variables(DARK)}}}` +
    `${MARKS} .total { fill: var(--ink); }` +
    heatColours()
  );
}

function variables(palette: Palette): string {
  const { series: _lines, ...colours } = palette;
  const named = Object.entries(colours).map(([name, value]) => `--${name}: ${value};`);
  const mixed = steps().map((step) => {
    const [share, full] = [Math.abs(step) / HEAT_STEPS, step < 0 ? palette.low : palette.high];
    // text on a full colour must keep its contrast: tokens are drawn with the half of it
    return `--${heatClass(step)}: ${mix(palette.panel, full, share)}; --t${heatClass(step)}: ${mix(palette.panel, full, share / 2)};`;
  });
  return [...named, ...mixed].join(" ");
}

function heatColours(): string {
  return steps()
    .map(heatClass)
    .map((name) => `.${name} { fill: var(--${name}); } .token.${name} { background: var(--t${name}); }`)
    .join("\n");
}

function steps(): number[] {
  return Array.from({ length: 2 * HEAT_STEPS + 1 }, (_, i) => i - HEAT_STEPS);
}

/** Colour between two, by share of the second. */
function mix(from: string, to: string, share: number): string {
  const part = (colour: string, at: number) => Number.parseInt(colour.slice(1 + 2 * at, 3 + 2 * at), 16);
  const mixed = [0, 1, 2].map((at) => Math.round(part(from, at) * (1 - share) + part(to, at) * share));
  return `#${mixed.map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}
