/** Problems of the benchmarks, for tests. */
import { benchWorkloads, type Workload } from "../../bench/workloads.js";

/** @throws where no benchmark has a problem of this name */
export function workloadNamed(name: string): Workload {
  const all = [true, false].flatMap((quick) => benchWorkloads(quick, true));
  const found = all.find((one) => one.name === name);
  if (!found)
    throw new Error(`[test] no such workload: got ${name}, expected one of ${all.map((one) => one.name)}.`);
  return found;
}
