/** A device that keeps count of memory and computes nothing: what a program would allocate is found out by running it. */
import { type KernelFacts, Runtime } from "./runtime.js";

/** Of lavapipe, and of GPUs' drivers. */
const BINDING_BYTES = { software: 2 ** 27, gpu: 2 ** 31 };
/** Uniform blocks begin at multiples of 256 bytes on every adapter. */
const UNIFORM_ALIGNMENT = 256;

const nothing = (): void => {};
const done = async (): Promise<void> => {};

/** As much of an encoder as commands use. */
const ENCODER = {
  beginComputePass: () => ({
    setPipeline: nothing,
    setBindGroup: nothing,
    dispatchWorkgroups: nothing,
    end: nothing,
  }),
  copyBufferToBuffer: nothing,
  clearBuffer: nothing,
  resolveQuerySet: nothing,
  finish: () => ({}),
};

/** A buffer is a size; what is read of it is zero. */
function bufferOf({ size }: { readonly size: number }) {
  return {
    size,
    destroy: nothing,
    mapAsync: done,
    unmap: nothing,
    getMappedRange: (_offset: number, bytes: number) => new ArrayBuffer(bytes),
  };
}

function planningDevice(): GPUDevice {
  const empty = () => ({});
  return {
    limits: { minUniformBufferOffsetAlignment: UNIFORM_ALIGNMENT, minStorageBufferOffsetAlignment: 256 },
    features: new Set<string>(),
    lost: new Promise(nothing),
    addEventListener: nothing,
    removeEventListener: nothing,
    pushErrorScope: nothing,
    popErrorScope: done,
    createBuffer: bufferOf,
    createShaderModule: empty,
    createBindGroupLayout: empty,
    createPipelineLayout: empty,
    createBindGroup: empty,
    createComputePipelineAsync: async () => ({}),
    createCommandEncoder: () => ENCODER,
    queue: { submit: nothing, writeBuffer: nothing, onSubmittedWorkDone: done },
    destroy: nothing,
  } as unknown as GPUDevice;
}

/** What kernels are chosen by where no adapter was asked: a GPU with subgroups of 32, or the processor. */
function assumedFacts(isSoftware: boolean): KernelFacts {
  return {
    vendor: "",
    architecture: "",
    device: "",
    description: isSoftware ? "a software adapter" : "a GPU",
    isSoftware,
    subgroupMinSize: isSoftware ? 8 : 32,
    subgroupMaxSize: isSoftware ? 8 : 32,
    features: new Set(["shader-f16", "subgroups"]),
    maxBindingBytes: isSoftware ? BINDING_BYTES.software : BINDING_BYTES.gpu,
    maxWorkgroupInvocations: 1024,
    maxWorkgroupBytes: 32768,
    maxStorageBuffers: 16,
    storageOffsetAlignment: 256,
    matrixConfigs: [],
    matmulPrecision: "f32",
    tuning: {},
  };
}

/**
 * A runtime on which everything can be called, in no time and without memory; its pool counts as a real one does.
 * @param facts of the adapter that is planned for, or whether it is a software adapter
 * @remarks needs WebGPU's constants (`GPUBufferUsage`, ...) as globals
 */
export async function planningRuntime(
  facts: KernelFacts | { readonly isSoftware: boolean },
): Promise<Runtime> {
  const device = planningDevice();
  const adapter = {
    limits: {},
    features: new Set<string>(),
    info: {},
    requestDevice: async () => device,
  } as unknown as GPUAdapter;
  const known = "vendor" in facts ? facts : assumedFacts(facts.isSoftware);
  return Runtime.create({ gpu: {} as GPU, adapter }, { facts: known });
}
