/** Opening a device with all that is useful of its adapter, and the facts that kernels choose variants by. */
import { AdapterError, DeviceError } from "../core/errors.js";

/** A matrix shape that subgroups multiply in hardware: [M, K] x [K, N] -> [M, N]. Dawn's own addition to WebGPU. */
export interface MatrixConfig {
  /** Of both factors: f16, f32, u8 or i8. */
  readonly componentType: string;
  readonly resultComponentType: string;
  readonly M: number;
  readonly N: number;
  readonly K: number;
}

/**
 * How matrix products may treat their f32 operands; sums are f32 in all of them. `f32`: as they are. `split_f16`: as the sum
 * of two f16 (22 bits), by matrix hardware. `f16`: rounded to f16 (11 bits), by matrix hardware. Products for which the
 * adapter has no fitting matrix shape are computed as in `f32`.
 */
export type MatmulPrecision = "f32" | "split_f16" | "f16";

export const MATMUL_PRECISIONS: readonly MatmulPrecision[] = ["f32", "split_f16", "f16"];

/**
 * What was measured on this adapter and replaces shipped choices: name of a choice -> name of the variant that won. Which
 * there are, the kernels know (`kernels/tuning.ts`); what they find no entry for, or do not know, runs as shipped.
 */
export type Tuning = Readonly<Record<string, string>>;

/** What kernels choose their variants by: the device, the precision that was asked for, and what was measured on it. */
export interface KernelFacts {
  readonly vendor: string;
  readonly architecture: string;
  readonly device: string;
  readonly description: string;
  /** Runs on the CPU (lavapipe, SwiftShader): kernels use register tiles and no barriers. */
  readonly isSoftware: boolean;
  readonly subgroupMinSize: number;
  readonly subgroupMaxSize: number;
  readonly features: ReadonlySet<string>;
  readonly maxBindingBytes: number;
  readonly maxWorkgroupInvocations: number;
  readonly maxWorkgroupBytes: number;
  readonly maxStorageBuffers: number;
  readonly storageOffsetAlignment: number;
  /** Empty on adapters without matrix hardware, or whose driver does not show it. */
  readonly matrixConfigs: readonly MatrixConfig[];
  /** `f32` unless the caller asked for another. */
  readonly matmulPrecision: MatmulPrecision;
  /** Empty unless the caller gave choices. */
  readonly tuning: Tuning;
}

const MATRIX_FEATURE = "chromium-experimental-subgroup-matrix";

const WANTED_FEATURES: readonly string[] = [
  "shader-f16",
  "subgroups",
  "subgroup-size-control",
  "timestamp-query",
  MATRIX_FEATURE,
];
const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeWorkgroupStorageSize",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupSizeY",
] as const;

/**
 * A device with every useful feature and limit that the adapter offers.
 * @throws DeviceError when the adapter refuses
 */
export async function openDevice(adapter: GPUAdapter): Promise<GPUDevice> {
  const requiredFeatures = WANTED_FEATURES.filter((name) => adapter.features.has(name)) as GPUFeatureName[];
  const requiredLimits: Record<string, number> = {};
  for (const name of WANTED_LIMITS) requiredLimits[name] = adapter.limits[name];
  try {
    return await adapter.requestDevice({ requiredFeatures, requiredLimits, label: "uncouple" });
  } catch (error) {
    throw new DeviceError(
      `[device] the adapter refused a device: ${(error as Error).message}. Run \`uncouple doctor\`.`,
    );
  }
}

/** Facts of a device that was opened on an adapter. */
export function deviceFacts(adapter: GPUAdapter, device: GPUDevice): KernelFacts {
  const info = adapter.info as GPUAdapterInfo & { subgroupMinSize: number; subgroupMaxSize: number };
  const text = `${info.vendor} ${info.architecture} ${info.device} ${info.description}`.toLowerCase();
  return {
    vendor: info.vendor,
    architecture: info.architecture,
    device: info.device,
    description: info.description,
    isSoftware: /llvmpipe|lavapipe|swiftshader|basic render|warp/.test(text),
    subgroupMinSize: device.features.has("subgroups") ? info.subgroupMinSize : 0,
    subgroupMaxSize: device.features.has("subgroups") ? info.subgroupMaxSize : 0,
    features: new Set(device.features as unknown as Iterable<string>),
    maxBindingBytes: Math.min(device.limits.maxStorageBufferBindingSize, device.limits.maxBufferSize),
    maxWorkgroupInvocations: device.limits.maxComputeInvocationsPerWorkgroup,
    maxWorkgroupBytes: device.limits.maxComputeWorkgroupStorageSize,
    maxStorageBuffers: device.limits.maxStorageBuffersPerShaderStage,
    storageOffsetAlignment: device.limits.minStorageBufferOffsetAlignment,
    matrixConfigs: device.features.has(MATRIX_FEATURE) ? matrixConfigsOf(info) : [],
    matmulPrecision: "f32",
    tuning: {},
  };
}

/** The matrix shapes that an adapter lists. */
export function matrixConfigsOf(info: GPUAdapterInfo): MatrixConfig[] {
  const { subgroupMatrixConfigs } = info as GPUAdapterInfo & {
    subgroupMatrixConfigs?: Iterable<MatrixConfig>;
  };
  return [...(subgroupMatrixConfigs ?? [])].map(({ componentType, resultComponentType, M, N, K }) => ({
    componentType,
    resultComponentType,
    M,
    N,
    K,
  }));
}

/**
 * Whether an adapter can train in mixed precision.
 * @throws AdapterError when its shaders know no f16
 */
export function checkHalf({ features, description, device }: KernelFacts): void {
  if (features.has("shader-f16")) return;
  throw new AdapterError(
    `[device] mixed precision needs f16 in shaders: got ${description || device || "an adapter"} without the feature shader-f16. Use precision f32, or another adapter: a GPU, or lavapipe.`,
  );
}
