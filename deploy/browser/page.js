// The page's part of deploy/runner.py: the same passes, rounds and document, with a worker of its own
// (a fresh WebAssembly instance) in the place of each fresh process. It measures and never judges.
"use strict";

const what = document.getElementById("what");
const bar = document.getElementById("bar");

// One session: a worker that answers each message with one.
class Session {
  constructor(model) {
    this.model = model;
    this.worker = new Worker("worker.js");
  }
  ask(message) {
    return new Promise((resolve, reject) => {
      const fail = (why) => reject(Object.assign(new Error(why), { model: this.model }));
      this.worker.onmessage = ({ data }) => ("error" in data ? fail(data.error) : resolve(data.answer));
      this.worker.onerror = (e) => fail(e.message || "the worker ended");
      this.worker.postMessage(message);
    });
  }
  end() {
    this.worker.terminate();
  }
}

// Lines go out one after the other, so that the last one is the last.
let sending = Promise.resolve();
function send(value) {
  sending = sending.then(() => post(JSON.stringify(value) + "\n"));
  return sending;
}
async function post(body) {
  const answer = await fetch("lines", { method: "POST", body });
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
}

async function battery() {
  try {
    const b = await navigator.getBattery();
    return { battery: { status: b.charging ? "Charging" : "Discharging", level: b.level } };
  } catch {
    return {};
  }
}

async function weather() {
  return {
    time: Date.now() / 1000, load: null, pressure_us: null, steal_ticks: null, temperatures: {},
    throttled: null, governor: null, frequency_khz: null, frequency_max_khz: null,
    battery: await battery(),
  };
}

// Forwards n rounds, then backwards, each time another one first: none of three or more runs after
// itself, with its weights in the caches, and of two both do equally often (as runner.py).
function order(turn, n) {
  const back = Math.floor(turn / n) % 2;
  const line = Array.from({ length: n }, (_, i) => (((i + (back ? -turn : turn)) % n) + n) % n);
  return back ? line.reverse() : line;
}

async function measure({ options, models, accuracy }) {
  const found = models.map(({ external, ...m }) => ({ ...m, sessions: [], accuracy: null }));
  const asked = { ...options, threads_asked: options.threads };
  const result = { runner: 1, options: asked, order: "rotating", models: found };
  result.before = await weather();
  const perPass = Math.ceil(options.rounds / options.passes);
  const slice = options.seconds / (perPass * options.passes);
  const deadline = performance.now() + 1000 * options.limit * models.length;
  const samples = (model) =>
    model.sessions.reduce((n, s) => n + s.rounds.reduce((k, r) => k + r.wall_s.length, 0), 0);
  bar.max = perPass * options.passes;
  let late = false;
  for (let pass = 0; ; pass++) {
    const sessions = [];
    await new Promise((rested) => setTimeout(rested, 1000 * options.cool_down));
    try {
      const runs = [];
      for (let i = 0; i < found.length; i++) {
        what.textContent = `loading network ${i + 1} of ${found.length}`;
        sessions.push(new Session(found[i].file));
        const hello = await sessions[i].ask({ do: "load", options, ...models[i] });
        const { environment, ...rest } = hello;
        result.environment = { ...environment, isolated: crossOriginIsolated };
        result.options.threads = environment.threads_running;
        found[i].sessions.push({ pass, ...rest, rounds: [] });
        await send({ event: "session", model: i, session: found[i].sessions[pass] });
        const times = [...hello.warm_up_s].sort((a, b) => a - b);
        const typical = Math.max(times[times.length >> 1], 1e-7);
        runs.push(Math.max(1, Math.min(20000, Math.round(slice / typical / hello.runs_per_sample))));
      }
      for (let turn = pass * perPass; turn < (pass + 1) * perPass && !late; turn++) {
        what.textContent = `measuring, round ${turn + 1}`;
        bar.value = turn + 1;
        for (const i of order(turn, found.length)) {
          const round = { ...(await sessions[i].ask({ do: "run", n: runs[i] })), round: turn };
          found[i].sessions[pass].rounds.push(round);
          await send({ event: "round", model: i, round });
        }
        late = performance.now() > deadline;
      }
      for (let i = 0; i < found.length; i++) {
        Object.assign(found[i].sessions[pass], await sessions[i].ask({ do: "sum" }));
      }
      if (late || (pass + 1 >= options.passes && found.every((m) => samples(m) >= options.samples))) {
        for (let i = 0; accuracy && i < found.length; i++) {
          what.textContent = `top-1 of network ${i + 1} of ${found.length}`;
          await send({ event: "accuracy", model: i });
          found[i].accuracy = await sessions[i].ask({ do: "accuracy", ...accuracy });
        }
        break;
      }
    } finally {
      sessions.forEach((s) => s.end());
    }
  }
  result.stopped = late ? "limit" : "enough";
  result.after = await weather();
  return result;
}

async function main() {
  const beat = setInterval(() => post("").catch(() => {}), 2000);
  const closed = () => navigator.sendBeacon("lines", '{"error": "the page was closed", "model": null}');
  addEventListener("pagehide", closed);
  let lock = null;
  try {
    lock = await navigator.wakeLock.request("screen");
  } catch {
    document.getElementById("note").textContent +=
      " This browser gives no wake lock: keep the screen from switching itself off.";
  }
  try {
    const request = await (await fetch("request.json")).json();
    await send(await measure(request));
    what.textContent = "Done. You can close this page.";
  } catch (e) {
    what.textContent = `It failed: ${e.message}`;
    await send({ error: e.message, model: e.model || null }).catch(() => {});
  } finally {
    removeEventListener("pagehide", closed);
    clearInterval(beat);
    if (lock) lock.release();
  }
}

main();
