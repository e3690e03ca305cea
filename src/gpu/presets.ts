/** The two sets of Dawn toggles that the package runs under, as options of `create()` of the `webgpu` package.
 *  Dawn ignores misspelt toggles without a word: test/host/presets.test.ts holds every name against its binary. */

/** `checked` keeps Dawn's guards against kernel bugs, `fast` drops those that cost time in correct kernels. */
export type Preset = "checked" | "fast";

export const PRESETS: readonly Preset[] = ["checked", "fast"];

/** Names of Dawn toggles to force on and off. */
export interface Toggles {
  enable: readonly string[];
  disable: readonly string[];
}

/** Needed by both presets: experimental features, f16 on NVIDIA, and clocks that are not rounded to 65.5 us. */
const checked: Toggles = {
  enable: ["allow_unsafe_apis", "vulkan_enable_f16_on_nvidia"],
  disable: ["timestamp_quantization"],
};

/** On top: no index clamps and loop guards, no zeroing of workgroup memory, no guards on integer division,
 *  no host memset of mapped buffers, no second validation of the generated SPIR-V. */
const fast: Toggles = {
  enable: [
    ...checked.enable,
    "disable_robustness",
    "disable_workgroup_init",
    "disable_polyfills_on_integer_div_and_mod",
    "disable_lazy_clear_for_mapped_at_creation_buffer",
  ],
  disable: [...checked.disable, "enable_spirv_validation"],
};

export const presetToggles: Readonly<Record<Preset, Toggles>> = { checked, fast };

/** @returns the options of Dawn's `create()` that switch a preset on */
export function presetOptions(preset: Preset): string[] {
  const { enable, disable } = presetToggles[preset];
  return [`enable-dawn-features=${enable.join(",")}`, `disable-dawn-features=${disable.join(",")}`];
}
