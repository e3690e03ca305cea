import { readdirSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { Tensor } from "../../src/autograd/tensor.js";
import { DeviceError } from "../../src/core/errors.js";
import { Runtime } from "../../src/gpu/runtime.js";
import { testAdapter } from "../support/gpu.js";

test("what is read after dispose is refused, by what is wrong", async () => {
  const runtime = await Runtime.create(await testAdapter());
  const tensor = Tensor.from(runtime, new Float32Array(2), [2]);
  expect(await tensor.read()).toEqual(new Float32Array(2));
  await runtime.dispose();
  const reading = tensor.read();
  await expect(reading).rejects.toBeInstanceOf(DeviceError);
  await expect(reading).rejects.toThrow(/read after the end: got a runtime that was disposed/);
});

// a program that opens one device after the other, as a service or these tests do, would end with thousands of threads
test.runIf(process.platform === "linux")(
  "what is disposed of and forgotten keeps no thread of its driver",
  async () => {
    setFlagsFromString("--expose-gc");
    const collect = runInNewContext("gc") as () => void;
    const threadsAfter = async () => {
      await (await Runtime.create(await testAdapter())).dispose();
      // natives are freed by finalizers, which run between tasks
      for (let round = 0; round < 5; round++) {
        collect();
        await setTimeout(20);
      }
      return readdirSync("/proc/self/task").length;
    };
    const first = await threadsAfter();
    for (let opened = 0; opened < 3; opened++) await threadsAfter();
    expect(await threadsAfter()).toBeLessThanOrEqual(first + 1);
  },
);
