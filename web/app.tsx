/** The frame of the page, and which view the address names. */
import { useEffect, useRef } from "preact/hooks";
import type { Palette } from "../src/report/palette.js";
import { Choice } from "./parts/common.js";
import { link, type Route, useRoute } from "./route.js";
import { THEMES, type Theme, useTheme } from "./theme.js";
import { Benchmarks } from "./views/benchmarks.js";
import { Compare } from "./views/compare.js";
import { Run } from "./views/run.js";
import { Runs } from "./views/runs.js";

export function App() {
  const route = useRoute();
  const { theme, palette, choose } = useTheme();
  const main = useRef<HTMLElement>(null);
  const place = route.parts.join("/");
  useEffect(() => {
    document.title = [...route.parts.slice(1, 3), "uncouple watch"].join(" · ");
    scrollTo(0, 0);
  }, [place]);
  return (
    <>
      <a
        class="skip"
        href={location.hash}
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        To the content
      </a>
      <header class="top">
        <nav class="places" aria-label="Pages">
          <a class="brand" href={link([])}>
            uncouple watch
          </a>
          <a href={link(["benchmarks"])} aria-current={route.parts[0] === "benchmarks" ? "page" : undefined}>
            Benchmarks
          </a>
        </nav>
        <Choice<Theme>
          label="Colours"
          value={theme}
          options={THEMES.map((one) => [one, one])}
          onChoose={choose}
        />
      </header>
      <main ref={main} tabIndex={-1}>
        <View route={route} palette={palette} />
      </main>
    </>
  );
}

function View({ route, palette }: { readonly route: Route; readonly palette: Palette }) {
  const [view, name] = route.parts;
  if (view === undefined) return <Runs />;
  if (view === "run" && name !== undefined) return <Run key={name} route={route} palette={palette} />;
  if (view === "benchmarks") return <Benchmarks route={route} />;
  if (view === "compare") {
    const runs = route.query.getAll("run");
    return <Compare key={runs.join("/")} runs={runs} palette={palette} />;
  }
  return (
    <p class="problem" role="alert">
      {"No such page. "}
      <a href={link([])}>To the list of runs</a>
    </p>
  );
}
