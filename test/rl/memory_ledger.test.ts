/** Who holds how much when most is held, by hand. */
import { expect, test } from "vitest";
import { type BufferPool, GpuBuffer, type PoolObserver } from "../../src/gpu/buffers.js";
import { MemoryLedger } from "../../src/rl/loop/memory_ledger.js";

/** A ledger, and a pool's side of it. */
function openLedger() {
  const pool = { observer: undefined as PoolObserver | undefined };
  const ledger = new MemoryLedger(pool as BufferPool);
  let id = 0;
  const take = (label: string, bytes: number): GpuBuffer => {
    const buffer = new GpuBuffer({} as GPUBuffer, id++, bytes);
    pool.observer?.acquired(buffer, label);
    return buffer;
  };
  return { ledger, take, give: (buffer: GpuBuffer) => pool.observer?.released(buffer) };
}

test.each([
  ["parameters 0", "weights"],
  ["scaled factors 12", "weights"],
  ["scaled factors", "weights"],
  ["masters 1", "masters"],
  ["gradients 0", "gradients"],
  ["first moments 3", "moments"],
  ["second moments 3", "moments"],
  ["key cache", "KV cache"],
  ["value cache", "KV cache"],
  ["linear_log_prob.logits", "head tile"],
  ["linear_log_prob.scratch.logits", "head tile"],
  ["token_log_prob.log_prob", "head tile"],
  ["attention.scratch.scores", "scratch"],
  ["rms_norm.d_x", "activations"],
  ["gated_mlp.grad", "activations"],
  ["linear_log_prob.entropy", "activations"],
  ["input", "other"],
  ["old parameters 0", "other"],
  ["the masters 1", "other"],
  ["my gradients 0", "other"],
  ["last first moments 3", "other"],
  ["key caches", "other"],
  ["a key cache", "other"],
  ["scaled factors of", "weights"],
  ["more scaled factors", "other"],
  ["scaled factorship", "other"],
  ["linear_log_prob.logits_sum", "activations"],
  ["my_linear_log_prob.logits", "activations"],
  ["my_token_log_prob.log_prob", "activations"],
  ["rms_norm", "other"],
  ["rms_norm.Y", "other"],
  ["rms_norm.y.z", "other"],
])("%s is counted as %s", (label, kind) => {
  const { ledger, take } = openLedger();
  take(label, 8);
  expect([...ledger.peak.kinds]).toEqual([[kind, 8]]);
});

test("kinds at the peak are those of the moment when most was held", async () => {
  const { ledger, take, give } = openLedger();
  expect(ledger.peak).toEqual({ bytes: 0, kinds: new Map() });
  expect(ledger.largest).toEqual({ label: "", bytes: 0 });
  take("parameters 0", 100);
  const first = take("rms_norm.y", 30);
  take("input", 5);
  give(first);
  // as much as before, in other hands, is no new peak
  take("key cache", 30);
  expect(ledger.peak).toEqual({
    bytes: 135,
    kinds: new Map([
      ["weights", 100],
      ["activations", 30],
      ["other", 5],
    ]),
  });
  const cache = take("value cache", 40);
  expect([...ledger.peak.kinds]).toEqual([
    ["weights", 100],
    ["activations", 0],
    ["other", 5],
    ["KV cache", 70],
  ]);
  give(cache);
  expect(ledger.peak.bytes).toBe(175);
  expect(ledger.largest).toEqual({ label: "parameters 0", bytes: 100 });
  take("masters 0", 100);
  // the first of equals
  expect(ledger.largest.label).toBe("parameters 0");
});

test("what a body asks for counts as one kind, also where it fails, and no longer", async () => {
  const { ledger, take } = openLedger();
  expect(await ledger.as("reference policy", async () => take("parameters 0", 10).bytes)).toBe(10);
  const failing = ledger.as("reference policy", async () => {
    take("input", 1);
    throw new Error("stop");
  });
  await expect(failing).rejects.toThrow("stop");
  take("parameters 1", 4);
  expect([...ledger.peak.kinds]).toEqual([
    ["reference policy", 11],
    ["weights", 4],
  ]);
});
