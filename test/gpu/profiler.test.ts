import { expect, test } from "vitest";
import { Tensor } from "../../src/autograd/tensor.js";
import { Launcher } from "../../src/kernels/index.js";
import { addInto } from "../../src/kernels/layers/add.js";
import { testRuntime } from "../support/runtime.js";

const runtime = await testRuntime();
const launcher = new Launcher(runtime);

test.runIf(runtime.profiler.available)(
  "every dispatch has its time, its kernel and its bytes, however many there are",
  async () => {
    const [sum, one] = [0, 1].map((value) => Tensor.from(runtime, new Float32Array(8).fill(value)));
    const count = 5000;
    runtime.profiler.start();
    for (let i = 0; i < count; i++) addInto(launcher, sum, one);
    await runtime.finish();
    const times = await runtime.profiler.stop();
    expect(times).toHaveLength(count);
    expect(times.filter(({ nanoseconds }) => !(nanoseconds > 0 && nanoseconds < 1e10))).toEqual([]);
    expect(times[count - 1]).toMatchObject({
      label: "add_into.accumulate",
      bytes: 64,
      kernels: [{ op: "add_into", entry: "accumulate", sizes: { E: 8 } }],
    });
    expect([...(await sum.read())]).toEqual(new Array(8).fill(count));
    // a second profile begins anew
    runtime.profiler.start();
    addInto(launcher, sum, one);
    await runtime.finish();
    expect(await runtime.profiler.stop()).toHaveLength(1);
    expect(runtime.profiler.next(() => ({ label: "", kernels: [], bytes: 0 }))).toBeUndefined();
    sum.release();
    one.release();
  },
);
