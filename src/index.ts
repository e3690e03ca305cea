/// <reference types="@webgpu/types" preserve="true" />
/**
 * uncouple as a library: open a GPU, run and differentiate ops, build policies, play text worlds, train. Everything here runs in
 * Node; `uncouple/core` is the part of it that needs no Node.
 */

export { type AdapterChoice, type OpenGpu, openGpu } from "./host/gpu/drivers.js";
export { checkedPrecision, type MatrixCheckOptions } from "./host/gpu/matrix_check.js";
export { readModelFolder } from "./host/model/model_folder.js";
export { writeModelFolder } from "./host/model/model_folder_write.js";
export { loadPolicy, policyTokenizer } from "./host/model/policy_folder.js";
export { openPolicy, openTrainingWorld } from "./host/run/training_setup.js";
export { tuneKernels } from "./host/tuning/tuner.js";
export { openAlfworldFolder } from "./host/worlds/alfworld_folder.js";
export * from "./portable.js";
