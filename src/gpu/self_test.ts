/** A few microseconds of work on a fresh device: does it compute, and how fine is its clock? */

/** What the GPU's clock can tell apart, in nanoseconds. */
export interface ClockResolution {
  /** greatest common divisor of all differences seen: the clock advances in multiples of it */
  step: number;
  /** smallest difference seen that is not 0 */
  smallest: number;
}

export interface SelfTestResult {
  /** the kernel's output was right */
  computes: boolean;
  /** absent when the device was made without `timestamp-query`, or when its clock stood still */
  clock?: ClockResolution;
}

const PASSES = 64;
const ELEMENTS = 256;
const BYTES = 4 * ELEMENTS;

/** One invocation adds its index + 1 to its own element; no shared memory, no barrier. */
const SHADER = `
@group(0) @binding(0) var<storage, read_write> sums: array<u32>;
@compute @workgroup_size(64)
fn accumulate(@builtin(global_invocation_id) id: vec3u) {
  sums[id.x] += id.x + 1u;
}`;

/** Runs a small kernel 64 times, each in a pass with timestamps where the device has them.
 *  @param device nothing of it is left behind
 *  @throws Error when the device rejects the work or is lost meanwhile */
export async function selfTest(device: GPUDevice): Promise<SelfTestResult> {
  const hasClock = device.features.has("timestamp-query");
  const module = device.createShaderModule({ code: SHADER, label: "self test" });
  const pipeline = await device.createComputePipelineAsync({ layout: "auto", compute: { module } });
  const sums = device.createBuffer({ size: BYTES, usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC });
  const group = device.createBindGroup({
    layout: pipeline.getBindGroupLayout(0),
    entries: [{ binding: 0, resource: { buffer: sums } }],
  });
  const tickBytes = 2 * PASSES * BigUint64Array.BYTES_PER_ELEMENT;
  const querySet = hasClock ? device.createQuerySet({ type: "timestamp", count: 2 * PASSES }) : undefined;
  const ticks = device.createBuffer({
    size: tickBytes,
    usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC,
  });
  const readback = device.createBuffer({
    size: tickBytes + BYTES,
    usage: GPUBufferUsage.COPY_DST | GPUBufferUsage.MAP_READ,
  });
  const encoder = device.createCommandEncoder();
  for (let index = 0; index < PASSES; index++) {
    const pass = encoder.beginComputePass({
      timestampWrites: querySet && {
        querySet,
        beginningOfPassWriteIndex: 2 * index,
        endOfPassWriteIndex: 2 * index + 1,
      },
    });
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(ELEMENTS / 64);
    pass.end();
  }
  if (querySet) encoder.resolveQuerySet(querySet, 0, 2 * PASSES, ticks, 0);
  encoder.copyBufferToBuffer(ticks, 0, readback, 0, tickBytes);
  encoder.copyBufferToBuffer(sums, 0, readback, tickBytes, BYTES);
  device.queue.submit([encoder.finish()]);
  await readback.mapAsync(GPUMapMode.READ);
  const bytes = readback.getMappedRange().slice(0);
  for (const buffer of [sums, ticks, readback]) buffer.destroy();
  querySet?.destroy();
  const results = new Uint32Array(bytes, tickBytes);
  return {
    computes: results.every((sum, index) => sum === PASSES * (index + 1)),
    clock: hasClock ? clockResolution([...new BigUint64Array(bytes, 0, 2 * PASSES)]) : undefined,
  };
}

/** @param ticks times in nanoseconds, in any order
 *  @returns undefined when they are all the same */
export function clockResolution(ticks: readonly bigint[]): ClockResolution | undefined {
  const sorted = [...ticks].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0));
  let step = 0n;
  let smallest: bigint | undefined;
  for (let index = 1; index < sorted.length; index++) {
    const difference = sorted[index] - sorted[index - 1];
    if (difference === 0n) continue;
    step = greatestCommonDivisor(step, difference);
    if (smallest === undefined || difference < smallest) smallest = difference;
  }
  return smallest === undefined ? undefined : { step: Number(step), smallest: Number(smallest) };
}

function greatestCommonDivisor(a: bigint, b: bigint): bigint {
  while (b !== 0n) [a, b] = [b, a % b];
  return a;
}
