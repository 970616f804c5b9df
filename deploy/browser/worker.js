// One session of deploy/runner.py in a browser: load, then whatever is asked. Seconds, as measured.
"use strict";

const INPUTS = 4; // different inputs, used in turn
const CHECKED = 4096; // values of each output that every timed run is compared with
const WARM_UP = 5; // samples in a window of the warm-up; two windows must agree
const FINE = 100; // steps of the clock that a sample must last: 1 % of resolution
// A model with one Identity operator: creating its session makes the runtime start up.
const NOTHING =
  "CAgSADo3ChAKAXgSAXkiCElkZW50aXR5EgFuWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQEg==";

let session, feeds, expected, batch, turn = 0, differing = 0, worst = 0;

const now = () => performance.now() / 1000;
const median = (values) => [...values].sort((a, b) => a - b)[values.length >> 1];

// The smallest step of the clock, in seconds.
function clockStep() {
  let step = Infinity;
  for (let i = 0; i < 50; i++) {
    const start = performance.now();
    let t = start;
    while (t === start) t = performance.now();
    step = Math.min(step, t - start);
  }
  return step / 1000;
}

// Input number k: uniform noise of mean 0 and variance 1; the very numbers that runner.py makes.
function feed(k, options) {
  const made = {};
  for (const meta of session.inputMetadata) {
    const shape = shapeOf(meta, options);
    const size = shape.reduce((a, b) => a * b, 1);
    const cast = CASTS[meta.type];
    if (!cast) throw new Error(`input ${meta.name} is a ${meta.type}, which this page cannot make`);
    const values = new cast.array(size);
    for (let j = 0; j < size; j++) {
      let i = (j + k * 7919 + 1) >>> 0;
      i = Math.imul(i, 2654435761);
      i ^= i >>> 16;
      i = Math.imul(i, 0x85ebca6b);
      i ^= i >>> 13;
      i = Math.imul(i, 0xc2b2ae35);
      i ^= i >>> 16;
      values[j] = cast.value(i >>> 0);
    }
    made[meta.name] = new ort.Tensor(meta.type, values, shape);
  }
  return made;
}

const noise = (i) => (i / 2 ** 32 - 0.5) * Math.sqrt(12);
const CASTS = {
  float32: { array: Float32Array, value: noise },
  float64: { array: Float64Array, value: noise },
  uint8: { array: Uint8Array, value: (i) => i % 100 },
  int8: { array: Int8Array, value: (i) => i % 100 },
  int32: { array: Int32Array, value: (i) => i % 100 },
  int64: { array: BigInt64Array, value: (i) => BigInt(i % 100) },
  bool: { array: Uint8Array, value: (i) => i % 2 },
};

function shapeOf(meta, options) {
  const given = options.shapes[meta.name];
  const shape = given ? [...given] : [...meta.shape];
  const open = (d) => typeof d !== "number" || d < 1;
  if (shape.length && open(shape[0])) shape[0] = options.batch;
  if (shape.some(open)) {
    throw new Error(
      `input ${meta.name} is [${meta.shape}] with open axes; give it: --shape ${meta.name}=${shape}`,
    );
  }
  return shape;
}

// At most CHECKED values of each output, spread evenly.
function part(outputs) {
  return Object.values(outputs).map(({ data }) => {
    const stride = Math.max(1, Math.floor(data.length / CHECKED));
    const kept = [];
    for (let i = 0; i < data.length; i += stride) kept.push(Number(data[i]));
    return kept;
  });
}

function check(outputs, k) {
  const parts = part(outputs);
  for (let o = 0; o < parts.length; o++) {
    const got = parts[o], wanted = expected[k][o];
    if (got.every((v, i) => Object.is(v, wanted[i]))) continue;
    differing++;
    const scale = wanted.reduce((m, v) => Math.max(m, Math.abs(v) || 0), 0) || 1;
    const gap = got.reduce((m, v, i) => Math.max(m, Math.abs(v - wanted[i])), 0);
    worst = Math.max(worst, gap === gap ? gap / scale : 1e300);
    return;
  }
}

// n samples of `batch` runs each; a sample is their mean.
async function run(n) {
  const wall_s = [];
  for (let s = 0; s < n; s++) {
    const k = turn++ % INPUTS;
    let outputs;
    const start = performance.now();
    for (let b = 0; b < batch; b++) outputs = await session.run(feeds[k]);
    const end = performance.now();
    wall_s.push((end - start) / 1000 / batch);
    check(outputs, k);
  }
  const none = wall_s.map(() => null);
  return { wall_s, cpu_s: none, switches: none, energy_uj: null };
}

// Samples until two windows agree to 2 % (0.1 s at least), or 3 s are gone; then the batch is set so
// that a sample lasts FINE steps of the clock.
async function warmUp(step) {
  let times = [];
  const start = now();
  for (;;) {
    const window = (await run(WARM_UP)).wall_s;
    const wanted = Math.max(1, Math.ceil((FINE * step) / Math.max(median(window), step / batch / 10)));
    if (wanted > batch) {
      batch = Math.min(wanted, batch * 10);
      times = [];
      continue;
    }
    const before = times.slice(-WARM_UP);
    times.push(...window);
    const gone = now() - start;
    if (before.length && gone > 0.1 && Math.abs(median(window) - median(before)) <= 0.02 * median(before)) {
      return [times, true];
    }
    if (gone > 3) return [times, false];
  }
}

async function bytesOf(name) {
  const answer = await fetch(`files/${name.split("/").map(encodeURIComponent).join("/")}`);
  if (!answer.ok) throw new Error(`the server answered ${answer.status} for ${name}`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function load({ options, file, external }) {
  let start = now();
  importScripts("ort/ort.wasm.min.js");
  ort.env.wasm.wasmPaths = new URL("ort/", self.location.href).href;
  ort.env.wasm.numThreads = options.threads;
  ort.env.logLevel = "error";
  const settings = { executionProviders: ["wasm"], graphOptimizationLevel: "all" };
  const nothing = Uint8Array.from(atob(NOTHING), (c) => c.charCodeAt(0));
  await (await ort.InferenceSession.create(nothing, settings)).release();
  const import_s = now() - start;
  const bytes = await bytesOf(file);
  const folder = file.slice(0, file.lastIndexOf("/") + 1);
  const beside = [];
  for (const path of external) beside.push({ path, data: await bytesOf(folder + path) });
  start = now();
  session = await ort.InferenceSession.create(bytes, { ...settings, externalData: beside });
  const load_s = now() - start;
  feeds = Array.from({ length: INPUTS }, (_, k) => feed(k, options));
  start = now();
  const outputs = await session.run(feeds[0]);
  const first_run_s = now() - start;
  expected = [];
  for (const f of feeds) expected.push(part(await session.run(f)));
  const step = clockStep();
  batch = 1;
  const [warm_up_s, stable] = await warmUp(step);
  const first = Object.values(outputs)[0];
  return {
    import_s, load_s, first_run_s, warm_up_s, stable,
    runs_per_sample: batch,
    inputs: shapes(feeds[0]),
    outputs: shapes(outputs),
    answer: Array.from(first.data.slice(0, 1000), (v) => (Number.isFinite(Number(v)) ? Number(v) : null)),
    environment: {
      machine: navigator.platform, system: navigator.userAgent, release: null, libc: null,
      cpu: {
        name: null, board: null, flags: [], cores: navigator.hardwareConcurrency || null,
        affinity: null, memory_bytes: null,
      },
      python: null, numpy: null,
      onnxruntime: `web ${ort.env.versions.web}`,
      provider: "wasm",
      threads_running: ort.env.wasm.numThreads,
      clock_step_s: step,
    },
  };
}

function shapes(tensors) {
  return Object.fromEntries(Object.entries(tensors).map(([name, t]) => [name, [...t.dims]]));
}

function sum() {
  const nothing = { rss: null, high_water: null };
  return {
    memory: { bare: nothing, imported: nothing, loaded: nothing, peak: nothing },
    differing_runs: differing,
    worst_difference: worst,
  };
}

// Top-1 over the test images, fetched batch by batch.
async function accuracy({ n, size, mean, std, channels, labels }) {
  const start = now();
  const [meta] = session.inputMetadata;
  const fixed = typeof meta.shape[0] === "number" && meta.shape[0] > 0 ? meta.shape[0] : null;
  const order = channels === "BGR" ? [2, 1, 0] : [0, 1, 2];
  const luma = [0.299, 0.587, 0.114];  // ITU-R BT.601
  const dot = (v, at) => luma[0] * v[at] + luma[1] * v[at + 1] + luma[2] * v[at + 2];
  const grey = channels === "GREY", C = grey ? 1 : 3;
  const predictions = [];
  while (predictions.length < n) {
    const k = Math.min(fixed || 32, n - predictions.length);
    const url = `images?start=${predictions.length}&n=${k}`;
    const pixels = new Uint8Array(await (await fetch(url)).arrayBuffer());
    const area = size * size;
    if (pixels.length !== k * area * 3) throw new Error("the test images were cut off");
    const x = new Float32Array((fixed || k) * C * area);
    for (let q = 0; grey && q < k * area; q++) {
      x[q] = (dot(pixels, q * 3) / 255 - dot(mean, 0)) / dot(std, 0);
    }
    for (let i = 0; i < k && !grey; i++) {
      for (let c = 0; c < 3; c++) {
        for (let p = 0; p < area; p++) {
          x[(i * 3 + c) * area + p] = (pixels[(i * area + p) * 3 + order[c]] / 255 - mean[c]) / std[c];
        }
      }
    }
    const given = { [meta.name]: new ort.Tensor("float32", x, [fixed || k, C, size, size]) };
    const [logits] = Object.values(await session.run(given));
    const classes = logits.dims[1];
    for (let i = 0; i < k; i++) {
      let best = 0;
      for (let c = 1; c < classes; c++) {
        if (logits.data[i * classes + c] > logits.data[i * classes + best]) best = c;
      }
      predictions.push(best);
    }
  }
  const correct = predictions.filter((p, i) => p === labels[i]).length;
  return { n, correct, predictions, seconds: now() - start };
}

const ACTIONS = { load, run: ({ n }) => run(n), sum, accuracy };

onmessage = async ({ data }) => {
  try {
    postMessage({ answer: await ACTIONS[data.do](data) });
  } catch (e) {
    postMessage({ error: String((e && e.message) || e) });
  }
};
