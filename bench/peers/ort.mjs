/**
 * ONNX Runtime rows: the same work as rows of weft_bench, done by npm's onnxruntime-node.
 *
 *   npm install --ignore-scripts onnxruntime-node@1.30    (its CPU binary ships inside the package)
 *   node ort.mjs NAME...      for names such as
 *       gemm/packed/forward/f32/M=1024/N=1024/K=1024
 *       softmax/full/forward/f32/B=1/H=8/N=2048/D=64/threads=1
 *       quant/int8_gemm/forward/u8s8/M=512/N=4096/K=4096
 *       quant/int4_int8/forward/f32/M=512/N=4096/K=4096
 *   node ort.mjs --check      compares results with plain loops, and shows that attention is fused
 *
 * The package is looked for beside this file and above it, or in the folder that ORT_MODULES names.
 *
 * Prints one JSON line per name: {"name": "peer/ort/NAME", "seconds": ..., "gflops": ...}, the
 * median of SAMPLES; names that ONNX Runtime has no operator for are listed on standard error.
 *
 * gemm/nn and gemm/packed are MatMul, the latter with B as an initializer, which the runtime packs
 * when the session is made. quant/int8_gemm is MatMulInteger, unsigned by constant signed bytes;
 * quant/int4_int8 is com.microsoft.MatMulNBits, 4 bits in groups of 32, with accuracy_level 4: it
 * quantizes its fp32 input to 8 bits; quant/int4_exact the same with accuracy_level 1. softmax/full and softmax/causal are com.microsoft.MultiHeadAttention on
 * [B, N, H * D] inputs; without a mask that runs the fused fp32 kernel, with `unidirectional` the
 * runtime has separate steps only. A model holds the operator several times in a row when one call
 * is short, so that entering the runtime from JavaScript does not count.
 *
 * Seconds are CPU time of this process for one thread and wall-clock time for several, as in
 * weft_bench: then other programs on the machine do not count.
 */

import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const SAMPLES = 7;
const SECONDS_PER_SAMPLE = 0.1;
const SECONDS_PER_RUN = 0.003;  // makes the ~50 us of a call from JavaScript less than 2 %
const ASSUMED_FLOPS = 6e10;     // to size models

const require = createRequire(
  process.env.ORT_MODULES ? pathToFileURL(process.env.ORT_MODULES + "/") : import.meta.url);
const ort = load("onnxruntime-node");

function load(name) {
  try {
    return require(name);
  } catch (error) {
    console.error(`ort.mjs: ${error.message.split("\n")[0]}; see the top of ort.mjs`);
    process.exit(2);
  }
}

// --- ONNX models, written as protocol buffers --------------------------------------------------

/** Element types of TensorProto, and what holds them. */
const ELEMENTS = { float32: [1, Float32Array], uint8: [2, Uint8Array], int8: [3, Int8Array],
                   int32: [6, Int32Array] };
const [ATTRIBUTE_FLOAT, ATTRIBUTE_INT] = [1, 2];

function varint(value) {
  const bytes = [];
  let rest = BigInt(value);
  for (; rest > 127n; rest >>= 7n) bytes.push(Number(rest & 127n) | 128);
  return Buffer.from([...bytes, Number(rest)]);
}

/** A field by its number: integers as varints; strings, bytes and messages with their length. */
function field(number, value) {
  if (typeof value === "number") return Buffer.concat([varint(number << 3), varint(value)]);
  const bytes = Buffer.from(value);
  return Buffer.concat([varint((number << 3) | 2), varint(bytes.length), bytes]);
}

function floatField(number, value) {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([varint((number << 3) | 5), bytes]);
}

const message = (...fields) => Buffer.concat(fields.flat());

/** ValueInfoProto. */
function valueInfo({ name, dims, type = "float32" }) {
  const shape = message(dims.map((dim) => field(1, message(field(1, dim)))));
  const tensor = message(field(1, ELEMENTS[type][0]), field(2, shape));
  return message(field(1, name), field(2, message(field(1, tensor))));
}

/** TensorProto. */
function initializer({ name, dims, data, type = "float32" }) {
  const raw = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
  return message(dims.map((dim) => field(1, dim)), field(2, ELEMENTS[type][0]), field(8, name),
                 field(9, raw));
}

/** AttributeProto; integers and other numbers are told apart by their value. */
function attribute([name, value]) {
  return Number.isInteger(value)
    ? message(field(1, name), field(3, value), field(20, ATTRIBUTE_INT))
    : message(field(1, name), floatField(2, value), field(20, ATTRIBUTE_FLOAT));
}

/** NodeProto. */
function node({ type, domain = "", inputs, output, attributes = {} }) {
  return message(inputs.map((name) => field(1, name)), field(2, output), field(3, output),
                 field(4, type), Object.entries(attributes).map((a) => field(5, attribute(a))),
                 field(7, domain));
}

/** ModelProto with the given nodes; inputs, outputs and constants are {name, dims, data?}. */
function model({ nodes, inputs, outputs, constants = [] }) {
  const graph = message(
    nodes.map((n) => field(1, node(n))), field(2, "row"),
    constants.map((tensor) => field(5, initializer(tensor))),
    inputs.map((tensor) => field(11, valueInfo(tensor))),
    outputs.map((tensor) => field(12, valueInfo(tensor))));
  const opsets = [["", 17], ["com.microsoft", 1]];
  return message(field(1, 8), field(7, graph),
                 opsets.map(([domain, version]) =>
                   field(8, message(field(1, domain), field(2, version)))));
}

// --- what a row name asks for -------------------------------------------------------------------

const product = (dims) => dims.reduce((a, b) => a * b, 1);

/** Uniform in [-1, 1), or over all bytes. */
function tensor(name, dims, type = "float32") {
  let state = 1;
  const data = ELEMENTS[type][1].from({ length: product(dims) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return type === "float32" ? state / 2 ** 31 : state >> 24;
  });
  return { name, dims, data, type };
}

/** Copies of an operator in one model, so that one run takes SECONDS_PER_RUN. */
const copiesFor = (flops) =>
  Math.min(512, Math.max(1, Math.round((SECONDS_PER_RUN * ASSUMED_FLOPS) / flops)));

/** C = A B. All copies read the same inputs and write outputs of their own. */
function gemm(packed, { M, N, K }, copies = copiesFor(2 * M * N * K)) {
  const a = tensor("a", [M, K]), b = tensor("b", [K, N]);
  const names = Array.from({ length: copies }, (_, i) => `c${i}`);
  return {
    flops: 2 * M * N * K, copies, inputs: packed ? [a] : [a, b], operands: [a, b],
    outputs: names.map((name) => ({ name, dims: [M, N] })), constants: packed ? [b] : [],
    nodes: names.map((name) => ({ type: "MatMul", inputs: ["a", "b"], output: name })),
  };
}

/** C = A B on bytes, the sums as integers. */
function int8Gemm({ M, N, K }, copies = 1) {
  const a = tensor("a", [M, K], "uint8"), b = tensor("b", [K, N], "int8");
  return {
    flops: 2 * M * N * K, copies, inputs: [a], operands: [a, b], constants: [b],
    outputs: [{ name: "c0", dims: [M, N], type: "int32" }],
    nodes: [{ type: "MatMulInteger", inputs: ["a", "b"], output: "c0" }],
  };
}

/** C = A B, B in 4 bits with a scale per 32 inputs. */
function int4Gemm(level, { M, N, K }, copies = copiesFor(2 * M * N * K)) {
  const a = tensor("a", [M, K]), b = tensor("b", [N, K / 32, 16], "uint8");
  const scales = tensor("s", [N * K / 32]);
  const names = Array.from({ length: copies }, (_, i) => `c${i}`);
  return {
    flops: 2 * M * N * K, copies, inputs: [a], operands: [a, b, scales], constants: [b, scales],
    outputs: names.map((name) => ({ name, dims: [M, N] })),
    nodes: names.map((name) => ({
      type: "MatMulNBits", domain: "com.microsoft", inputs: ["a", "b", "s"], output: name,
      attributes: { K, N, bits: 4, block_size: 32, accuracy_level: level },
    })),
  };
}

/** Attention of H heads. Each copy takes the output of the one before as its query. */
function attention(causal, { B, H, N, D, M = N }, copies) {
  const pairs = causal ? (N * (N + 1)) / 2 : N * M;
  const flops = 4 * B * H * pairs * D;
  copies ??= copiesFor(flops);
  const inputs = [["q0", N], ["k", M], ["v", M]].map(([name, rows]) =>
    tensor(name, [B, rows, H * D]));
  const nodes = Array.from({ length: copies }, (_, i) => ({
    type: "MultiHeadAttention", domain: "com.microsoft", inputs: [`q${i}`, "k", "v"],
    output: `q${i + 1}`, attributes: { num_heads: H, ...(causal && { unidirectional: 1 }) },
  }));
  const outputs = [{ name: `q${copies}`, dims: [B, N, H * D] }];
  return { flops, copies, inputs, operands: inputs, outputs, nodes };
}

/** The model and work of a row, or null where ONNX Runtime's CPU operators have no equal. */
function rowOf(name) {
  const [family, variant, verb, dtype, ...pairs] = name.split("/");
  const keys = Object.fromEntries(pairs.map((pair) => pair.split("=")).map(([k, v]) => [k, +v]));
  const { threads = 1, ...sizes } = keys;
  const only = (...known) => Object.keys(sizes).every((key) => known.includes(key));
  if (verb !== "forward") return null;
  if (family === "quant" && variant === "int8_gemm" && dtype === "u8s8" && only("M", "N", "K"))
    return { threads, ...int8Gemm(sizes) };
  if (dtype !== "f32") return null;
  if (family === "quant" && ["int4_int8", "int4_exact"].includes(variant) && only("M", "N", "K"))
    return { threads, ...int4Gemm(variant === "int4_int8" ? 4 : 1, sizes) };
  if (family === "gemm" && ["nn", "packed", "gemv_packed"].includes(variant) && only("M", "N", "K"))
    return { threads, ...gemm(variant !== "nn", sizes) };
  if (family === "softmax" && ["full", "causal"].includes(variant) && only("B", "H", "N", "M", "D"))
    return { threads, ...attention(variant === "causal", sizes) };
  return null;
}

// --- running ------------------------------------------------------------------------------------

const asTensor = ({ dims, data, type = "float32" }) => new ort.Tensor(type, data, dims);

/** A session, and a function that runs it once into the same output memory each time. */
async function prepare(row) {
  const session = await ort.InferenceSession.create(model(row), {
    executionProviders: ["cpu"], executionMode: "sequential", graphOptimizationLevel: "all",
    intraOpNumThreads: row.threads ?? 1, interOpNumThreads: 1,
  });
  const named = (tensors) => Object.fromEntries(tensors.map((t) => [t.name, asTensor(t)]));
  const feeds = named(row.inputs);
  const blank = ({ name, dims, type = "float32" }) => ({
    name, dims, type, data: new ELEMENTS[type][1](product(dims)),
  });
  const results = named(row.outputs.map(blank));
  return { session, results, run: () => session.run(feeds, results) };
}

function clock(threads) {
  if (threads > 1) return performance.now() / 1e3;
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
}

const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

/** Median seconds of one operator call. */
async function measure(row) {
  const { session, run } = await prepare(row);
  const seconds = async (runs) => {
    const start = clock(row.threads);
    for (let i = 0; i < runs; ++i) await run();
    return clock(row.threads) - start;
  };
  await run();
  const runs = Math.max(1, Math.round(SECONDS_PER_SAMPLE / (await seconds(1))));
  const samples = [];
  for (let sample = 0; sample < SAMPLES; ++sample)
    samples.push((await seconds(runs)) / (runs * row.copies));
  await session.release();
  return median(samples);
}

async function measureNames(names) {
  for (const name of names) {
    const row = rowOf(name);
    if (row === null) {
      console.error(`ort.mjs: no equal operator for ${name}`);
      continue;
    }
    const seconds = await measure(row);
    const gflops = row.flops / seconds / 1e9;
    console.log(JSON.stringify({ name: `peer/ort/${name}`, seconds, gflops }));
  }
}

// --- checks -------------------------------------------------------------------------------------

function naiveProduct([a, b], { M, N, K }) {
  const row = (i) => a.data.subarray(i * K, (i + 1) * K);
  const at = (i, j) => row(i).reduce((sum, x, k) => sum + x * b.data[k * N + j], 0);
  return Array.from({ length: M * N }, (_, ij) => at(Math.floor(ij / N), ij % N));
}

/** softmax(q k^T / sqrt(D)) v for every query and head, on [B, N, H * D]. */
function naiveAttention([q, k, v], causal, { B, H, N, D, M = N }) {
  const out = new Float64Array(B * N * H * D);
  for (let b = 0; b < B; ++b) for (let h = 0; h < H; ++h) for (let i = 0; i < N; ++i) {
    const at = (rows, j) => ((b * rows + j) * H + h) * D;
    const visible = causal ? i + 1 : M;
    const weights = Array.from({ length: visible }, (_, j) => {
      let dot = 0;
      for (let d = 0; d < D; ++d) dot += q.data[at(N, i) + d] * k.data[at(M, j) + d];
      return Math.exp(dot / Math.sqrt(D));
    });
    const total = weights.reduce((a, x) => a + x, 0);
    for (let j = 0; j < visible; ++j) for (let d = 0; d < D; ++d)
      out[at(N, i) + d] += (weights[j] / total) * v.data[at(M, j) + d];
  }
  return out;
}

async function largestError(row, expected) {
  const { session, results, run } = await prepare(row);
  await run();
  await session.release();
  const { data } = results[row.outputs[0].name];
  return expected.reduce((worst, x, i) => Math.max(worst, Math.abs(x - data[i])), 0);
}

/** The runtime's own switch shows which path a model takes: without the fused one it is slower. */
async function check() {
  const errors = {};
  for (const sizes of [{ M: 5, N: 7, K: 11 }]) for (const packed of [false, true]) {
    const row = gemm(packed, sizes, 1);
    errors[`MatMul, ${packed ? "constant" : "plain"} B`] =
      await largestError(row, naiveProduct(row.operands, sizes));
  }
  {
    const sizes = { M: 5, N: 7, K: 11 }, row = int8Gemm(sizes, 1);
    errors["MatMulInteger"] = await largestError(row, naiveProduct(row.operands, sizes));
  }
  for (const causal of [false, true]) {
    const sizes = { B: 2, H: 3, N: 37, D: 16 };
    const row = attention(causal, sizes, 1);
    errors[`MultiHeadAttention, ${causal ? "causal" : "full"}`] =
      await largestError(row, naiveAttention(row.operands, causal, sizes));
  }
  for (const name in errors) console.log(`${name}: largest error ${errors[name]}`);

  const gflops = async () => {
    const row = { threads: 1, ...attention(false, { B: 1, H: 8, N: 2048, D: 64 }) };
    return (row.flops / (await measure(row)) / 1e9).toFixed(1);
  };
  const fused = await gflops();
  process.env.ORT_DISABLE_FLASH_ATTENTION = "1";
  const separate = await gflops();
  console.log(`N=2048, D=64: ${fused} GFLOP/s, with the fused kernel switched off ${separate}`);
  if (!Object.values(errors).every((error) => error < 1e-5)) process.exitCode = 1;
}

const names = process.argv.slice(2);
if (names.length === 0) {
  console.error("usage: node ort.mjs NAME... | --check");
  process.exitCode = 2;
} else if (names[0] === "--check") {
  await check();
} else {
  await measureNames(names);
}
