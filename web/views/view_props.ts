/** What every view of a run gets. */
import type { Palette } from "../../src/report/palette.js";
import type { RunDetail, RunState } from "../../src/watch/api.js";
import type { Route } from "../route.js";

export interface ViewProps {
  readonly run: RunDetail;
  readonly state: RunState;
  readonly route: Route;
  readonly palette: Palette;
}
