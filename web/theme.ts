/** Colours of the page: as the system wants, or as chosen. */
import { useEffect, useState } from "preact/hooks";
import { DARK, LIGHT, type Palette } from "../src/report/palette.js";

export const THEMES = ["system", "light", "dark"] as const;
export type Theme = (typeof THEMES)[number];

const KEY = "uncouple-theme";
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function keptTheme(): Theme {
  const kept = localStorage.getItem(KEY);
  return THEMES.find((theme) => theme === kept) ?? "system";
}

function paletteOf(theme: Theme): Palette {
  return theme === "dark" || (theme === "system" && prefersDark.matches) ? DARK : LIGHT;
}

/** The palette in force, and how to choose another. */
export function useTheme(): {
  readonly theme: Theme;
  readonly palette: Palette;
  readonly choose: (theme: Theme) => void;
} {
  const [theme, setTheme] = useState(keptTheme);
  const [palette, setPalette] = useState(() => paletteOf(theme));
  useEffect(() => {
    const apply = () => {
      const next = paletteOf(theme);
      const { style } = document.documentElement;
      for (const [name, value] of Object.entries(next)) {
        if (typeof value === "string") style.setProperty(`--${name}`, value);
        else for (const [index, colour] of value.entries()) style.setProperty(`--series${index}`, colour);
      }
      style.setProperty("color-scheme", next === DARK ? "dark" : "light");
      setPalette(next);
    };
    apply();
    prefersDark.addEventListener("change", apply);
    return () => prefersDark.removeEventListener("change", apply);
  }, [theme]);
  const choose = (next: Theme) => {
    localStorage.setItem(KEY, next);
    setTheme(next);
  };
  return { theme, palette, choose };
}
