/** ONNX Runtime's own WebGPU backend in Node. It finds its adapter by itself, through the Vulkan loader. */
import ort from "onnxruntime-node";
import protobuf from "protobufjs";
import { causalMask } from "./common.js";

export const packages = ["onnxruntime-node"];

const NAME = "onnxruntime-webgpu";
/** Copies of the operation in one model: transfers at its ends then weigh little. */
const COPIES = 8;
const FLOAT = 1;
const INT64 = 7;

/** @param driver manifest of the software driver to use; without it the loader's best adapter is taken */
export async function open({ driver }) {
  const supported = ort.listSupportedBackends().map(({ name }) => name);
  if (!supported.includes("webgpu")) throw new Error(`no webgpu backend, only ${supported.join(", ")}`);
  return {
    name: NAME,
    async matmul({ a, b, M, N, K, transposeA, transposeB }) {
      const inputs = {
        a: tensor(transposeA ? [K, M] : [M, K], a),
        b: tensor(transposeB ? [N, K] : [K, N], b),
      };
      const flip = [{ name: "perm", ints: [1, 0], type: 7 }];
      const nodes = (suffix) => [
        ...(transposeA ? [node("Transpose", ["a"], `at${suffix}`, flip)] : []),
        ...(transposeB ? [node("Transpose", ["b"], `bt${suffix}`, flip)] : []),
        node("MatMul", [transposeA ? `at${suffix}` : "a", transposeB ? `bt${suffix}` : "b"], `y${suffix}`),
      ];
      return openWork(driver, inputs, nodes, [M, N]);
    },
    async attention({ B, T, H, Kv, D, q, k, v }) {
      const rows = [B, Kv, (H / Kv) * T, D];
      const inputs = {
        q: tensor([B, T, H, D], q),
        k: tensor([B, T, Kv, D], k),
        v: tensor([B, T, Kv, D], v),
        mask: tensor([1, 1, (H / Kv) * T, T], causalMask(H / Kv, T)),
        scale: tensor([1], Float32Array.of(1 / Math.sqrt(D))),
        rows: shapeTensor(rows),
        heads: shapeTensor([B, H, T, D]),
        tokens: shapeTensor([B, T, H * D]),
      };
      const turn = (perm) => [{ name: "perm", ints: perm, type: 7 }];
      const nodes = (s) => [
        node("Transpose", ["q"], `qt${s}`, turn([0, 2, 1, 3])),
        node("Reshape", [`qt${s}`, "rows"], `qr${s}`),
        node("Transpose", ["k"], `kt${s}`, turn([0, 2, 3, 1])),
        node("Transpose", ["v"], `vt${s}`, turn([0, 2, 1, 3])),
        node("MatMul", [`qr${s}`, `kt${s}`], `dots${s}`),
        node("Mul", [`dots${s}`, "scale"], `scaled${s}`),
        node("Add", [`scaled${s}`, "mask"], `scores${s}`),
        node("Softmax", [`scores${s}`], `shares${s}`, [{ name: "axis", i: -1, type: 2 }]),
        node("MatMul", [`shares${s}`, `vt${s}`], `mixed${s}`),
        node("Reshape", [`mixed${s}`, "heads"], `split${s}`),
        node("Transpose", [`split${s}`], `turned${s}`, turn([0, 2, 1, 3])),
        node("Reshape", [`turned${s}`, "tokens"], `y${s}`),
      ];
      return openWork(driver, inputs, nodes, [B, T, H * D]);
    },
    async trainingStep() {
      throw new Error("this package runs models, it does not train them");
    },
    async close() {},
  };
}

/** Sessions with one and with many copies of the operation; each copy's result is cut to one number, all are added. */
async function openWork(driver, inputs, nodes, shape) {
  const cut = { ...inputs, first: shapeTensor(shape.map(() => 0)), second: shapeTensor(shape.map(() => 1)) };
  const repeated = (copies) => {
    const names = Array.from({ length: copies }, (_, copy) => copy);
    const all = names.flatMap((copy) => [
      ...nodes(copy),
      node("Slice", [`y${copy}`, "first", "second"], `corner${copy}`),
    ]);
    const corners = names.map((copy) => `corner${copy}`);
    const output = { name: "sum", shape: shape.map(() => 1) };
    return model(cut, [...all, node("Sum", corners, "sum")], output);
  };
  const whole = await session(driver, model(inputs, nodes(""), { name: "y", shape }));
  const one = await session(driver, repeated(1));
  const many = await session(driver, repeated(COPIES));
  return {
    async run(calls) {
      for (let left = calls; left > 0; ) {
        const [chosen, copies] = left >= COPIES ? [many, COPIES] : [one, 1];
        await chosen.run({});
        left -= copies;
      }
    },
    result: async () => (await whole.run({})).y.data,
    release: async () => {
      for (const opened of [whole, one, many]) await opened.release();
    },
  };
}

async function session(driver, bytes) {
  const variables = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];
  const before = variables.map((name) => process.env[name]);
  if (driver) for (const name of variables) process.env[name] = driver;
  try {
    return await ort.InferenceSession.create(bytes, {
      executionProviders: ["webgpu"],
      // copies of one operation are what is to be run
      graphOptimizationLevel: "disabled",
      logSeverityLevel: 3,
    });
  } finally {
    variables.forEach((name, index) => {
      if (before[index] === undefined) delete process.env[name];
      else process.env[name] = before[index];
    });
  }
}

const tensor = (dims, data) => ({
  dims,
  dataType: FLOAT,
  rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
});
const shapeTensor = (dims) => ({
  dims: [dims.length],
  dataType: INT64,
  rawData: new Uint8Array(BigInt64Array.from(dims, BigInt).buffer),
});
const node = (opType, input, output, attribute = []) => ({ opType, input, output: [output], attribute });

/** Bytes of an ONNX model whose inputs are all constants. */
function model(constants, nodes, { name, shape }) {
  const initializer = Object.entries(constants).map(([key, value]) => ({ name: key, ...value }));
  const dim = shape.map((dimValue) => ({ dimValue }));
  const output = [{ name, type: { tensorType: { elemType: FLOAT, shape: { dim } } } }];
  const graph = { name: "bench", node: nodes, initializer, output };
  const message = { irVersion: 8, opsetImport: [{ domain: "", version: 17 }], graph };
  return Model.encode(Model.fromObject(message)).finish();
}

/** The parts of onnx.proto that are used: field number, type and rule by name. */
const SCHEMA = {
  Attribute: {
    name: [1, "string"],
    f: [2, "float"],
    i: [3, "int64"],
    ints: [8, "int64", "repeated"],
    type: [20, "int32"],
  },
  Node: {
    input: [1, "string", "repeated"],
    output: [2, "string", "repeated"],
    opType: [4, "string"],
    attribute: [5, "Attribute", "repeated"],
  },
  Tensor: {
    dims: [1, "int64", "repeated"],
    dataType: [2, "int32"],
    name: [8, "string"],
    rawData: [9, "bytes"],
  },
  Dimension: { dimValue: [1, "int64"] },
  Shape: { dim: [1, "Dimension", "repeated"] },
  TensorType: { elemType: [1, "int32"], shape: [2, "Shape"] },
  Type: { tensorType: [1, "TensorType"] },
  ValueInfo: { name: [1, "string"], type: [2, "Type"] },
  Graph: {
    node: [1, "Node", "repeated"],
    name: [2, "string"],
    initializer: [5, "Tensor", "repeated"],
    output: [12, "ValueInfo", "repeated"],
  },
  OperatorSet: { domain: [1, "string"], version: [2, "int64"] },
  Model: { irVersion: [1, "int64"], graph: [7, "Graph"], opsetImport: [8, "OperatorSet", "repeated"] },
};

const types = new protobuf.Root().define("onnx");
for (const [name, fields] of Object.entries(SCHEMA)) {
  const type = new protobuf.Type(name);
  for (const [field, [id, kind, rule]] of Object.entries(fields))
    type.add(new protobuf.Field(field, id, kind, rule));
  types.add(type);
}
const Model = types.lookupType("Model");
