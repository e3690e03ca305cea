import { expect, test } from "vitest";
import { describeAdapter } from "../../src/host/gpu/adapters.js";
import { chooseAdapter, type Machine } from "../../src/host/gpu/choice.js";
import { readMessages } from "../../src/host/gpu/dawn.js";

const H200 = fakeInfo("nvidia", "hopper", "nvidia-h200", "NVIDIA: 580.95.05");
const VIRTUAL = fakeInfo("mesa", "", "virtio-gpu-venus", "venus: Mesa 25.0.7");
const LAVAPIPE = fakeInfo("mesa", "software", "llvmpipe", "llvmpipe: Mesa 25.0.7-2 (LLVM 15.0.6)", true);
const SWIFTSHADER = fakeInfo("google", "swiftshader", "swiftshader-device", "SwiftShader driver 5.0.0", true);
const WARP = fakeInfo("microsoft", "", "microsoft-basic-render-driver", "10.0", true);

const OLD_MESA = "Vulkan shaderUniform*ArrayDynamicIndexing required.";

function fakeInfo(
  vendor: string,
  architecture: string,
  device: string,
  description: string,
  isFallbackAdapter = false,
) {
  return { vendor, architecture, device, description, isFallbackAdapter } as GPUAdapterInfo;
}

/** A machine whose installed drivers show these adapters, in Dawn's order; the handle is the device name. */
function fakeMachine(infos: GPUAdapterInfo[], rest: Partial<Machine<string>> = {}): Machine<string> {
  const all = infos.map((info) => ({ facts: describeAdapter(info), handle: info.device }));
  return {
    installed: async (name) => all.find(({ handle }) => name === undefined || handle.includes(name)),
    installedNames: async () => all.map(({ handle }) => handle),
    bundled: async () => ({ facts: describeAdapter(SWIFTSHADER), handle: "bundled" }),
    messages: [],
    ...rest,
  };
}

async function choose(wanted: string, machine: Machine<string>): Promise<string> {
  return (await chooseAdapter(wanted, machine)).handle;
}

test("auto: hardware, then lavapipe, then SwiftShader from npm", async () => {
  expect(await choose("auto", fakeMachine([H200, LAVAPIPE]))).toBe("nvidia-h200");
  expect(await choose("auto", fakeMachine([LAVAPIPE]))).toBe("llvmpipe");
  expect(await choose("auto", fakeMachine([]))).toBe("bundled");
});

test("auto: a virtual GPU behind a software adapter is preferred to it", async () => {
  expect(await choose("auto", fakeMachine([LAVAPIPE, VIRTUAL]))).toBe("virtio-gpu-venus");
});

test("auto: Windows falls back to WARP", async () => {
  const machine = fakeMachine([], { bundled: undefined, softwareName: "Microsoft" });
  machine.installed = async (name) =>
    name === "Microsoft" ? { facts: describeAdapter(WARP), handle: "warp" } : undefined;
  const { handle, facts } = await chooseAdapter("auto", machine);
  expect(handle).toBe("warp");
  expect(facts).toMatchObject({ kind: "other", isSoftware: true });
});

test("auto: drivers that the user named are all there is", async () => {
  const userDrivers = "VK_DRIVER_FILES=/mine.json";
  expect(await choose("auto", fakeMachine([LAVAPIPE], { userDrivers }))).toBe("llvmpipe");
  await expect(choose("auto", fakeMachine([], { userDrivers }))).rejects.toThrow(
    /got none from the drivers of VK_DRIVER_FILES=\/mine.json.*Unset VK_DRIVER_FILES/,
  );
  await expect(choose("swiftshader", fakeMachine([], { userDrivers }))).rejects.toThrow(
    /Unset VK_DRIVER_FILES/,
  );
});

test("names with a meaning of their own, in any case", async () => {
  const machine = fakeMachine([H200, LAVAPIPE]);
  expect(await choose("GPU", machine)).toBe("nvidia-h200");
  expect(await choose("hardware", machine)).toBe("nvidia-h200");
  expect(await choose("Lavapipe", machine)).toBe("llvmpipe");
  expect(await choose(" swiftshader ", machine)).toBe("bundled");
});

test("any other name is a part of vendor, architecture, device or description", async () => {
  const machine = fakeMachine([H200, LAVAPIPE]);
  expect(await choose("h200", machine)).toBe("nvidia-h200");
  expect(await choose("NVIDIA", machine)).toBe("nvidia-h200");
  expect(await choose("mesa 25", machine)).toBe("llvmpipe");
});

test("errors name what was found and the cure", async () => {
  await expect(choose("radeon", fakeMachine([H200, LAVAPIPE]))).rejects.toThrow(
    /got "radeon", expected auto, .*nvidia-h200, llvmpipe/,
  );
  await expect(choose("gpu", fakeMachine([LAVAPIPE]))).rejects.toThrow(/no hardware GPU found: got llvmpipe/);
  await expect(choose("lavapipe", fakeMachine([], { messages: [OLD_MESA] }))).rejects.toThrow(
    /too old; on Debian 12: apt install -t bookworm-backports mesa-vulkan-drivers/,
  );
  await expect(choose("auto", fakeMachine([], { bundled: undefined }))).rejects.toMatchObject({
    name: "AdapterError",
    exitCode: 3,
  });
});

test("the reason for SwiftShader tells why the installed driver was refused", async () => {
  const { reason } = await chooseAdapter("auto", fakeMachine([], { messages: [OLD_MESA] }));
  expect(reason).toContain(OLD_MESA);
});

test("an adapter's words are read", () => {
  expect(describeAdapter(H200)).toMatchObject({
    kind: "hardware",
    isSoftware: false,
    driver: "NVIDIA 580.95.05",
  });
  expect(describeAdapter(LAVAPIPE)).toMatchObject({
    kind: "lavapipe",
    isSoftware: true,
    driver: "Mesa 25.0.7-2",
  });
  expect(describeAdapter(SWIFTSHADER)).toMatchObject({ kind: "swiftshader", driver: "SwiftShader 5.0.0" });
});

test("of what drivers print, complaints stay and noise goes", () => {
  const text = [
    "Warning: maxDynamicUniformBuffersPerPipelineLayout artificially reduced from 1000000 to 16 to fit.",
    `Warning: ${OLD_MESA}`,
    " - While initializing adapter (backend=BackendType::Vulkan)",
    "    at InitializeImpl (/somewhere/PhysicalDeviceVk.cpp:257)",
    "",
    `Warning: ${OLD_MESA}`,
  ];
  expect(readMessages(text.join("\n"))).toEqual([OLD_MESA]);
});
