/** What an adapter is, read from the few words that WebGPU tells about it. */

/** `hardware` a GPU; `lavapipe` Mesa on the CPU; `swiftshader` Google's driver on the CPU; `other` another software
 *  driver (WARP on Windows). */
export type AdapterKind = "hardware" | "lavapipe" | "swiftshader" | "other";

/** Which adapter, in words fit for printing. */
export interface AdapterFacts {
  kind: AdapterKind;
  /** e.g. `nvidia`, `mesa`, `google` */
  vendor: string;
  /** e.g. `ampere`, `software`, `swiftshader` */
  architecture: string;
  device: string;
  /** the driver's own words */
  description: string;
  /** name and version of the driver, as far as its words tell it */
  driver: string;
  /** runs on the CPU */
  isSoftware: boolean;
}

/** Vulkan device names start with these on drivers that run on the CPU. */
const SOFTWARE_NAME = /llvmpipe|swiftshader|microsoft basic render/i;

/** @param info of a `GPUAdapter` */
export function describeAdapter(info: GPUAdapterInfo): AdapterFacts {
  const words = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`;
  const kind = classify(words, info.isFallbackAdapter);
  return {
    kind,
    vendor: info.vendor,
    architecture: info.architecture,
    device: info.device,
    description: info.description,
    driver: driverVersion(info.description),
    isSoftware: kind !== "hardware",
  };
}

/** Whether a driver's device name is that of a software adapter. */
export function isSoftwareName(name: string): boolean {
  return SOFTWARE_NAME.test(name);
}

/** Whether what a user wrote names this adapter: a part of its vendor, architecture, device or description, or of the
 *  driver's device name; upper and lower case are the same. */
export function isNamed(facts: AdapterFacts, deviceName: string, wanted: string): boolean {
  const words = [facts.vendor, facts.architecture, facts.device, facts.description, deviceName];
  return words.some((word) => word.toLowerCase().includes(wanted.toLowerCase()));
}

function classify(words: string, isFallback: boolean): AdapterKind {
  if (/swiftshader/i.test(words)) return "swiftshader";
  if (/llvmpipe|lavapipe/i.test(words)) return "lavapipe";
  return isFallback || SOFTWARE_NAME.test(words) ? "other" : "hardware";
}

/** Descriptions look like `llvmpipe: Mesa 25.0.7-2 (LLVM 15.0.6) 0.0.1`, `SwiftShader driver 5.0.0`, `NVIDIA: 580.95.05`. */
function driverVersion(description: string): string {
  const mesa = /Mesa [^\s(]+/.exec(description);
  return mesa ? mesa[0] : description.replace(/ driver|:/g, "");
}
