/** The parts of ECharts that the page uses. Loaded after the page is in sight. */
import { LineChart } from "echarts/charts";
import { AxisPointerComponent, GridComponent, TooltipComponent } from "echarts/components";
import { init, use } from "echarts/core";
import { CanvasRenderer } from "echarts/renderers";

use([LineChart, GridComponent, TooltipComponent, AxisPointerComponent, CanvasRenderer]);

export { init };
