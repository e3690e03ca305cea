/** The process in which products by matrix hardware are tried: a driver that crashes or hangs takes only this one along.
 *  Started by matrix_check.ts; gets one job by message and answers it by one. */

import { silentLogger } from "../../core/logger.js";
import { Runtime } from "../../gpu/runtime.js";
import { errorText } from "../files/error_codes.js";
import { openGpu } from "./drivers.js";
import type { MatrixAnswer, MatrixJob } from "./matrix_check.js";
import { findMatrixMistake } from "./matrix_self_test.js";

process.once("message", (job: MatrixJob) => void answer(job));

async function answer(job: MatrixJob): Promise<void> {
  // Dawn's threads keep a process alive
  process.send?.(await tryProducts(job), () => process.exit(0));
}

async function tryProducts({ matmulPrecision, ...options }: MatrixJob): Promise<MatrixAnswer> {
  try {
    const opened = await openGpu({ ...options, logger: silentLogger });
    const runtime = await Runtime.create(opened, { matmulPrecision });
    return { mistake: await findMatrixMistake(runtime) };
  } catch (error) {
    return { mistake: errorText(error) };
  }
}
