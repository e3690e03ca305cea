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
