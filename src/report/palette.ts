/** Colours of reports, pictures and the page of `uncouple watch`, for light and for dark grounds. */

export interface Palette {
  readonly ground: string;
  readonly panel: string;
  readonly ink: string;
  readonly quiet: string;
  readonly line: string;
  /** Negative, rewarded. */
  readonly low: string;
  /** Positive, punished. */
  readonly high: string;
  /** Lines and marks that belong to different things. */
  readonly series: readonly string[];
}

// hues that differ for colour-blind eyes too, darkened or lightened for the ground. @source Okabe & Ito 2008
export const LIGHT: Palette = {
  ground: "#ffffff",
  panel: "#f6f8fa",
  ink: "#1b1f24",
  quiet: "#57606a",
  line: "#d0d7de",
  low: "#0072b2",
  high: "#d55e00",
  series: ["#0072b2", "#d55e00", "#009e73", "#b0548c", "#8a6d00", "#3a8fc0", "#5e4fa2", "#57606a"],
};
export const DARK: Palette = {
  ground: "#14171b",
  panel: "#1e2329",
  ink: "#e6e9ec",
  quiet: "#a3acb6",
  line: "#3a424b",
  low: "#56b4e9",
  high: "#f0863a",
  series: ["#56b4e9", "#f0863a", "#2fc79a", "#e08fc0", "#e0c04a", "#8fd0f5", "#a99be8", "#a3acb6"],
};
