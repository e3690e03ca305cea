import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { PRESETS, presetOptions, presetToggles } from "../../src/gpu/presets.js";

/** Dawn's own binary for this machine: its toggle names lie in it as C strings. */
function readDawn(): Buffer {
  const architecture = process.platform === "darwin" ? "universal" : process.arch;
  const folder = dirname(createRequire(import.meta.url).resolve("webgpu"));
  return readFileSync(join(folder, "dist", `${process.platform}-${architecture}`, "dawn.node"));
}

test("every toggle is known to Dawn, which would ignore a misspelt one", () => {
  const binary = readDawn();
  const names = PRESETS.flatMap((preset) => [
    ...presetToggles[preset].enable,
    ...presetToggles[preset].disable,
  ]);
  expect(names.filter((name) => !binary.includes(`\0${name}\0`))).toEqual([]);
  expect(binary.includes("\0disable_robustnes\0")).toBe(false);
});

test("fast contains checked, and no toggle is both on and off", () => {
  for (const direction of ["enable", "disable"] as const) {
    expect(presetToggles.fast[direction]).toEqual(
      expect.arrayContaining([...presetToggles.checked[direction]]),
    );
  }
  for (const preset of PRESETS) {
    const { enable, disable } = presetToggles[preset];
    expect(enable.filter((name) => disable.includes(name))).toEqual([]);
  }
});

test("options are spelt as dawn.node reads them", () => {
  expect(presetOptions("checked")).toEqual([
    "enable-dawn-features=allow_unsafe_apis,vulkan_enable_f16_on_nvidia",
    "disable-dawn-features=timestamp_quantization",
  ]);
});
