import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { debianVersion, findDriverTraces } from "../../src/host/gpu/diagnosis.js";
import { temporaryFolder } from "../support/folders.js";

const STATUS = `Package: mesa-va-drivers
Status: install ok installed
Version: 1.0

Package: mesa-vulkan-drivers
Status: install ok installed
Priority: optional
Version: 22.3.6-1+deb12u1

Package: libvulkan1
Status: deinstall ok config-files
Version: 1.3
`;

test("traces of drivers are found below any root", async () => {
  const root = temporaryFolder();
  const files = {
    "usr/share/vulkan/icd.d/lvp_icd.json": "{}",
    "usr/share/vulkan/icd.d/README": "",
    "etc/vulkan/icd.d/nvidia_icd.json": "{}",
    "home/.local/share/vulkan/icd.d/mine.json": "{}",
    "var/lib/dpkg/status": STATUS,
    "dev/nvidiactl": "",
  };
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  const traces = await findDriverTraces(root, join(root, "home"));
  expect(traces).toEqual({
    manifests: [
      join(root, "etc/vulkan/icd.d/nvidia_icd.json"),
      join(root, "usr/share/vulkan/icd.d/lvp_icd.json"),
      join(root, "home/.local/share/vulkan/icd.d/mine.json"),
    ],
    mesaPackage: "22.3.6-1+deb12u1",
    gpuFiles: [join(root, "dev/nvidiactl")],
  });
});

test("an empty machine has none", async () => {
  expect(await findDriverTraces("/nowhere", "/nowhere")).toEqual({ manifests: [], gpuFiles: [] });
});

test("only installed Debian packages count", () => {
  expect(debianVersion(STATUS, "mesa-va-drivers")).toBe("1.0");
  expect(debianVersion(STATUS, "libvulkan1")).toBeUndefined();
  expect(debianVersion(STATUS, "mesa")).toBeUndefined();
});
