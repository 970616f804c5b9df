#!/usr/bin/env python3
"""Time ONNX models on this machine: raw seconds and metadata, never a judgement.

    python3 runner.py MODEL.onnx [MODEL.onnx ...] [options]

One file. It needs Python 3.9 or later, numpy and onnxruntime, and runs on anything that has them: a
laptop, a Raspberry Pi, a phone with Termux, an emulator. Progress goes to stderr. The last line of
stdout is one JSON document with every sample; its fields are described at the end of this text.

What it does, and why
  A fresh process per model and pass. Import, load and first run are timed apart in each of them,
  and its memory is its own (VmHWM; ru_maxrss would be inherited from the parent). Several passes,
  since two processes with the same model differ by a per cent or so, each in its own way.
  Interleaved rounds. All models of a pass are loaded, then run in turn, a short slice of time each,
  the order changing, so that drift (heat, other work) and what the one before left in the caches meet
  all of them alike.
  Preemption is counted. When the kernel takes the core away during a run, the clock on the wall
  counts somebody else's work. Each run carries its wall time, its thread's CPU time and how often it
  was switched out against its will; which samples to use is for the reader to say.
  Answers are checked. The inputs vary, and each timed run must give what an untimed run gave.
  Nothing else runs inside: onnxruntime's telemetry is off before it is imported, the number of
  threads is set, pool threads do not spin (an idle spinning session would burn the other's core),
  garbage collection is off while the clock runs. The machine is observed, not tuned.

Options
  --threads N          threads inside an operator (default 1)
  --rounds N           rounds in all, spread over the passes (default 50)
  --seconds S          seconds of runs per model, spread over the rounds (default 5)
  --samples N          go on until each model has N runs that were not preempted (default 64) ...
  --limit S            ... or until S seconds per model are gone (default 60)
  --passes N           fresh processes per model (default 10)
  --batch N            images per run where the model leaves it open (default 1)
  --shape NAME=A,B,..  size of an input whose other axes are open; may be repeated
  --accuracy FILE      .npz with images (uint8 [n, height, width, 3], RGB), labels (int [n]), channels
                       ("RGB", "BGR" or "GREY", what the network wants), mean and std ([3], of pixel/255, in
                       that order): top-1 through the session that was timed
  --cores LIST         run on these cores only, e.g. 2,3 (default: wherever the system puts it)
  --cool-down S        seconds of rest before each pass (default 0)
  --max-temperature C  before each pass wait (at most 120 s) until the hottest zone is below this
  --python COMMAND     how a session's process is started (default: this Python), e.g. an emulator
  --stream             print each session and round as a JSON line on stdout while it goes on
  --help               this text

The document (seconds, bytes, degrees Celsius; null where the system does not tell)
  runner 1 (version of this format), options, order, stopped ("enough" or "limit"),
  environment {machine, system, cpu {name, flags, cores, ...}, python, numpy, onnxruntime, ...},
  before / after {time, load [1, 5, 15 min], pressure_us, steal_ticks, temperatures, governor, ...},
  models [{file, bytes, sha256,
    sessions [{pass, import_s, load_s, first_run_s, warm_up_s [..], stable, inputs, outputs, answer,
      memory {bare, imported, loaded, peak: {rss, high_water}},
      differing_runs, worst_difference (of all runs, relative to the largest output),
      rounds [{round, wall_s [..], cpu_s [..], switches [..], energy_uj}]}],
    accuracy {n, correct, predictions [..], seconds} or null}]
If something fails the last line is {"error": "...", "model": FILE or null} and the exit code is 2.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time

FORMAT = 1
INPUTS = 4  # different inputs, used in turn
CHECKED = 4096  # values of each output that every timed run is compared with
WARM_UP = 5  # runs in a window of the warm-up; two windows must agree


# What the system tells. Every reading may be missing: None, never a guess.


def read(path):
    """The text of a (pseudo) file, stripped, or None."""
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read().strip()
    except OSError:
        return None


def number(path):
    text = read(path)
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def memory():
    """{"rss", "high_water"} of this process in bytes. Not ru_maxrss: it survives fork and exec."""
    found = {"rss": None, "high_water": None}
    for line in (read("/proc/self/status") or "").splitlines():
        key, _, value = line.partition(":")
        if key in ("VmRSS", "VmHWM"):
            found["rss" if key == "VmRSS" else "high_water"] = int(value.split()[0]) * 1024
    return found


def folders(parent, prefix):
    try:
        return [os.path.join(parent, f) for f in sorted(os.listdir(parent)) if f.startswith(prefix)]
    except OSError:
        return []


def temperatures():
    """{zone: degrees Celsius}."""
    found = {}
    for zone in folders("/sys/class/thermal", "thermal_zone"):
        value = number(zone + "/temp")
        if value is not None:
            name = os.path.basename(zone) + " " + (read(zone + "/type") or "")
            found[name.strip()] = value / 1000 if abs(value) > 1000 else float(value)
    return found


def energy_uj():
    """Microjoules counted so far by the processor packages (Intel RAPL's counters), or None."""
    packages = [p for p in folders("/sys/class/powercap", "intel-rapl:") if p.count(":") == 1]
    counters = [number(p + "/energy_uj") for p in packages]
    return sum(counters) if counters and None not in counters else None


def battery():
    """{name: {"status", "energy_uwh", "charge_uah", "voltage_uv"}} of the batteries."""
    found = {}
    for supply in folders("/sys/class/power_supply", ""):
        if read(supply + "/type") == "Battery":
            found[os.path.basename(supply)] = {
                "status": read(supply + "/status"),
                "energy_uwh": number(supply + "/energy_now"),
                "charge_uah": number(supply + "/charge_now"),
                "voltage_uv": number(supply + "/voltage_now"),
            }
    return found


def weather():
    """What else goes on in this machine at this moment."""
    pressure = steal = None
    for line in (read("/proc/pressure/cpu") or "").splitlines():
        if line.startswith("some"):  # microseconds in which at least one task waited for a core
            pressure = int(line.rpartition("total=")[2])
    for line in (read("/proc/stat") or "").splitlines():
        if line.startswith("cpu "):
            fields = line.split()
            steal = int(fields[8]) if len(fields) > 8 else None
    cpu = "/sys/devices/system/cpu/"
    throttled = [number(c + "/thermal_throttle/core_throttle_count") for c in folders(cpu, "cpu")]
    throttled = [count for count in throttled if count is not None]
    return {
        "time": time.time(),
        "load": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "pressure_us": pressure,
        "steal_ticks": steal,
        "temperatures": temperatures(),
        "throttled": sum(throttled) if throttled else firmware_throttling(),
        "governor": read(cpu + "cpu0/cpufreq/scaling_governor"),
        "frequency_khz": number(cpu + "cpu0/cpufreq/scaling_cur_freq"),
        "frequency_max_khz": number(cpu + "cpu0/cpufreq/cpuinfo_max_freq"),
        "battery": battery(),
    }


def firmware_throttling():
    """The bits of a Raspberry Pi's `vcgencmd get_throttled` as a number; None on other machines."""
    import shutil
    import subprocess

    tool = shutil.which("vcgencmd")
    if tool is None:
        return None
    try:
        answer = subprocess.run([tool, "get_throttled"], capture_output=True, text=True, timeout=5)
        return int(answer.stdout.strip().rpartition("=")[2], 16)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None


def processor():
    """Name and instruction sets, from /proc/cpuinfo on Linux (x86 and arm spell the keys apart)."""
    import platform

    keys = {}
    for line in (read("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        keys.setdefault(key.strip(), value.strip())
    part = " ".join(f"{k} {keys[k]}" for k in ("CPU implementer", "CPU part") if k in keys)
    name = keys.get("model name") or keys.get("Hardware") or part or platform.processor()
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    total = None
    for line in (read("/proc/meminfo") or "").splitlines():
        if line.startswith("MemTotal:"):
            total = int(line.split()[1]) * 1024
    return {
        "name": name or None,
        "board": (read("/proc/device-tree/model") or "").strip("\0") or None,
        "flags": sorted((keys.get("flags") or keys.get("Features") or "").split()),
        "cores": os.cpu_count(),
        "affinity": affinity,
        "memory_bytes": total,
    }


# One session: a process of its own, which answers each JSON line on stdin with one on stdout.


class SessionError(Exception):
    """A failure with a sentence for the reader."""


def serve():
    """The life of a session's process: load, then whatever is asked, until stdin ends."""
    bare = memory()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints must not mix with the answers
    session = None
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            if asked["do"] == "load":
                session = Session(asked["options"], asked["model"], bare)
                answer = session.hello
            elif asked["do"] == "run":
                answer = session.run(asked["n"])
            elif asked["do"] == "accuracy":
                answer = session.accuracy(asked["file"])
            else:  # "sum": what is known at the end of the timed runs
                answer = session.sum()
        except SessionError as e:
            answer = {"error": str(e)}
        except MemoryError:
            answer = {"error": "not enough memory"}
        except Exception as e:  # onnxruntime raises plain and undocumented classes
            answer = {"error": " ".join(f"{type(e).__name__}: {e}".split())}
        answers.write(json.dumps(answer, allow_nan=False) + "\n")
        answers.flush()


def preemptions(threads):
    """A function: how often the kernel took the core away so far (None where it does not tell)."""
    try:
        import resource
    except ImportError:
        return lambda: None
    who = getattr(resource, "RUSAGE_THREAD", None)
    if threads > 1:  # pool threads count too
        who = resource.RUSAGE_SELF
    if who is None:
        return lambda: None
    return lambda: resource.getrusage(who).ru_nivcsw


class Session:
    """A model loaded in this process. ``hello`` holds what was seen until the first run."""

    def __init__(self, options, model, bare):
        if options["cores"] is not None:
            try:
                os.sched_setaffinity(0, options["cores"])
            except (AttributeError, OSError, ValueError) as e:
                raise SessionError(f"cannot run on cores {options['cores']}: {e}") from None
        # Before the import: afterwards telemetry's thread and files would be there already.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        for name in ("ORT_INTRA_OP_NUM_THREADS", "ORT_LOAD_CONFIG_FROM_MODEL"):
            os.environ.pop(name, None)
        start = time.perf_counter()
        try:
            import numpy
            import onnxruntime
        except ImportError as e:
            raise SessionError(
                f"{e}; install it: python3 -m pip install numpy onnxruntime"
            ) from None
        import_s = time.perf_counter() - start
        imported = memory()
        onnxruntime.set_default_logger_severity(3)

        self.np, self.threads = numpy, options["threads"]
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self.threads
        settings.inter_op_num_threads = 1
        settings.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
        start = time.perf_counter()
        self.session = onnxruntime.InferenceSession(
            model, settings, providers=["CPUExecutionProvider"]
        )
        load_s = time.perf_counter() - start
        loaded = memory()

        self.batch, self.shapes = options["batch"], options["shapes"]
        self.feeds = [self.feed(k) for k in range(INPUTS)]
        start = time.perf_counter()
        outputs = self.session.run(None, self.feeds[0])
        first_run_s = time.perf_counter() - start
        self.memory = {"bare": bare, "imported": imported, "loaded": loaded}
        self.preempted = preemptions(self.threads)
        self.turn, self.differing, self.worst = 0, 0, 0.0
        self.expected = [self.part(self.session.run(None, feed)) for feed in self.feeds]
        warm_up_s, stable = self.warm_up()
        self.hello = {
            "import_s": import_s,
            "load_s": load_s,
            "first_run_s": first_run_s,
            "warm_up_s": warm_up_s,
            "stable": stable,
            "inputs": {name: list(value.shape) for name, value in self.feeds[0].items()},
            "outputs": {
                meta.name: list(value.shape) if hasattr(value, "shape") else None
                for meta, value in zip(self.session.get_outputs(), outputs)
            },
            "answer": self.answer(outputs[0]),
            "environment": self.environment(onnxruntime),
        }

    def feed(self, k):
        """Input number ``k``: uniform noise of mean 0 and variance 1 from a hash of the position,
        so that every place, the browser included, can make the very same numbers."""
        np, feed = self.np, {}
        for meta in self.session.get_inputs():
            shape = self.shape(meta)
            if 0 in shape or np.prod(shape, dtype=float) > 2**30:
                raise SessionError(f"input {meta.name} would have the shape {shape}")
            i = np.arange(int(np.prod(shape)), dtype=np.uint32) + np.uint32(k * 7919 + 1)
            i *= np.uint32(2654435761)  # then the finaliser of MurmurHash3
            i ^= i >> np.uint32(16)
            i *= np.uint32(0x85EBCA6B)
            i ^= i >> np.uint32(13)
            i *= np.uint32(0xC2B2AE35)
            i ^= i >> np.uint32(16)
            kind = meta.type[len("tensor(") : -1]
            if kind in ("float", "float16", "double"):
                noise = (i / 2.0**32 - 0.5) * 12**0.5
                value = noise.astype({"float": "float32", "double": "float64"}.get(kind, kind))
            elif kind in ("uint8", "int8", "int32", "int64", "bool"):
                value = (i % (2 if kind == "bool" else 100)).astype(kind)
            else:
                raise SessionError(
                    f"input {meta.name} is a {meta.type}, which this program cannot make"
                )
            feed[meta.name] = value.reshape(shape)
        return feed

    def shape(self, meta):
        if meta.name in self.shapes:
            given = self.shapes[meta.name]
            if len(given) != len(meta.shape) or any(
                isinstance(d, int) and d != g for d, g in zip(meta.shape, given)
            ):
                raise SessionError(f"input {meta.name} is {meta.shape}, which {given} does not fit")
            return given
        shape = list(meta.shape)
        if shape and not isinstance(shape[0], int):
            shape[0] = self.batch
        if any(not isinstance(d, int) for d in shape):
            raise SessionError(
                f"input {meta.name} is {meta.shape} with open axes; give it: "
                f"--shape {meta.name}={','.join(str(d) for d in shape)}"
            )
        return shape

    def part(self, outputs):
        """At most CHECKED values of each output, spread evenly."""
        parts = []
        for value in outputs:
            flat = self.np.asarray(value).reshape(-1)
            parts.append(flat[:: max(1, flat.size // CHECKED)].copy())
        return parts

    def answer(self, output):
        """The first thousand values of the first output for input 0, to compare across places."""
        flat = self.np.asarray(output).reshape(-1)[:1000]
        if flat.dtype.kind not in "fiub":
            return None
        return [float(f"{v:.9g}") if abs(v) < float("inf") else None for v in flat.tolist()]

    def check(self, outputs, k):
        np = self.np
        for got, expected in zip(self.part(outputs), self.expected[k]):
            if np.array_equal(got, expected):
                continue
            if got.dtype.kind == "f" and np.array_equal(got, expected, equal_nan=True):
                continue
            self.differing += 1
            scale = float(np.max(np.abs(np.nan_to_num(expected.astype("float64"))))) or 1.0
            gap = np.max(np.abs(got.astype("float64") - expected.astype("float64")))
            self.worst = max(self.worst, float(gap) / scale if gap == gap else 1e300)
            return

    def run(self, n):
        """n timed runs: {"wall_s", "cpu_s", "switches"}."""
        import gc

        wall, cpu, switches = [], [], []
        preempted, perf_counter, thread_time = self.preempted, time.perf_counter, time.thread_time
        run = self.session.run
        gc.disable()
        for _ in range(n):
            k = self.turn % INPUTS
            self.turn += 1
            feed = self.feeds[k]
            switched = preempted()
            busy = thread_time()
            start = perf_counter()
            outputs = run(None, feed)
            end = perf_counter()
            cpu.append(round(thread_time() - busy, 9))
            wall.append(round(end - start, 9))
            switches.append(None if switched is None else preempted() - switched)
            self.check(outputs, k)
        gc.enable()
        return {"wall_s": wall, "cpu_s": cpu, "switches": switches}

    def warm_up(self):
        """Runs until two windows of runs agree to 2 % (0.1 s at least), or 3 s are gone."""
        times, start = [], time.perf_counter()
        while True:
            for _ in range(WARM_UP):
                times += self.run(1)["wall_s"]
            now, before = sorted(times[-WARM_UP:]), sorted(times[-2 * WARM_UP : -WARM_UP])
            gone = time.perf_counter() - start
            if before and gone > 0.1:
                a, b = now[WARM_UP // 2], before[WARM_UP // 2]
                if abs(a - b) <= 0.02 * b:
                    return times, True
            if gone > 3:
                return times, False

    def sum(self):
        self.memory["peak"] = memory()
        return {
            "memory": self.memory,
            "differing_runs": self.differing,
            "worst_difference": self.worst,
        }

    def environment(self, onnxruntime):
        import platform

        return {
            "machine": platform.machine(),
            "system": platform.system(),
            "release": platform.release(),
            "libc": " ".join(platform.libc_ver()).strip() or None,
            "cpu": processor(),
            "python": platform.python_version(),
            "numpy": self.np.__version__,
            "onnxruntime": onnxruntime.__version__,
            "provider": self.session.get_providers()[0],
            "spinning": False,
        }

    def accuracy(self, path):
        """Top-1 over the images of ``path``, read batch by batch in bounded memory."""
        np = self.np
        images, count, rest = open_images(np, path)
        metas = self.session.get_inputs()
        if len(metas) != 1 or len(metas[0].shape) != 4:
            raise SessionError(
                f"accuracy needs one input [N, 3, H, W]; it is {[m.shape for m in metas]}"
            )
        meta = metas[0]
        fixed = meta.shape[0] if isinstance(meta.shape[0], int) else None
        dtype = {"tensor(float16)": "float16", "tensor(double)": "float64"}.get(
            meta.type, "float32"
        )
        mean, std = (np.asarray(rest[key], "float32").reshape(3) for key in ("mean", "std"))
        grey = str(rest["channels"]) == "GREY"  # ITU-R BT.601
        luma = np.asarray([[0.299], [0.587], [0.114]], "float32")
        mean, std = (v @ luma if grey else v for v in (mean, std))
        predictions, start = [], time.perf_counter()
        while len(predictions) < count:
            n = min(fixed or 32, count - len(predictions))
            pixels = images(n)
            if str(rest["channels"]) == "BGR":
                pixels = pixels[..., ::-1]
            pixels = pixels.astype("float32")
            x = ((pixels @ luma if grey else pixels) / 255 - mean) / std
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2), dtype)
            if fixed and n < fixed:
                x = np.concatenate([x, np.repeat(x[-1:], fixed - n, axis=0)])
            logits = self.session.run(None, {meta.name: x})[0]
            if logits.ndim != 2:
                raise SessionError(
                    f"accuracy needs an output [N, classes]; it is {list(logits.shape)}"
                )
            predictions += logits[:n].argmax(axis=1).tolist()
        labels = np.asarray(rest["labels"]).reshape(-1)
        return {
            "n": count,
            "correct": int((np.asarray(predictions) == labels).sum()),
            "predictions": predictions,
            "seconds": time.perf_counter() - start,
        }


def open_images(np, path):
    """(function n -> next n images, count, the other arrays) of an .npz, images never all at once."""
    import zipfile

    with np.load(path, allow_pickle=False) as archive:
        rest = {key: archive[key] for key in archive.files if key != "images"}
    missing = {"labels", "mean", "std", "channels"} - set(rest)
    if missing:
        raise SessionError(f"{path} lacks {', '.join(sorted(missing))}")
    stream = zipfile.ZipFile(path).open("images.npy")  # noqa: SIM115 - read until the process ends
    version = np.lib.format.read_magic(stream)
    header = {(1, 0): np.lib.format.read_array_header_1_0}.get(
        version, np.lib.format.read_array_header_2_0
    )
    shape, fortran, dtype = header(stream)
    if len(shape) != 4 or shape[3] != 3 or dtype != np.uint8 or fortran:
        raise SessionError(f"images in {path} are {dtype} {shape}, not uint8 [n, height, width, 3]")
    if len(np.asarray(rest["labels"]).reshape(-1)) != shape[0]:
        raise SessionError(f"{path} has {shape[0]} images and another number of labels")
    each = shape[1] * shape[2] * shape[3]

    def images(n):
        raw = stream.read(n * each)
        if len(raw) != n * each:
            raise SessionError(f"{path} is cut off")
        return np.frombuffer(raw, np.uint8).reshape((n, *shape[1:]))

    return images, shape[0], rest


# The parent: starts the sessions' processes and steps them. Standard library only.


class Process:
    """One session's process. It ends by itself when its stdin closes, so none outlives this one."""

    def __init__(self, command, model):
        import subprocess
        import tempfile

        self.model = model
        self.noise = tempfile.TemporaryFile()  # noqa: SIM115 - closed in end()
        self.process = subprocess.Popen(
            [*command, os.path.abspath(__file__), "--session"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.noise,
        )

    def ask(self, **message):
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = b""
        if not line:
            raise RunnerError(self.model, self.obituary())
        answer = json.loads(line)
        if "error" in answer:
            raise RunnerError(self.model, answer["error"])
        return answer

    def obituary(self):
        code = self.process.wait()
        self.noise.seek(0)
        said = " ".join(self.noise.read().decode(errors="replace").split())[-400:]
        how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
        if code == -9:
            how += " (out of memory?)"
        return f"the session's process {how}" + (f": {said}" if said else "")

    def end(self):
        with contextlib.suppress(OSError):  # it may be dead already
            self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()
        self.noise.close()


class RunnerError(Exception):
    def __init__(self, model, why):
        Exception.__init__(self, why)
        self.model = model


def measure(options, emit):
    """The document; ``emit`` is told of each session, round and accuracy as soon as it is there."""
    models = [
        {"file": m, "bytes": os.path.getsize(m), "sha256": sha256(m), "sessions": []}
        for m in options["models"]
    ]
    document = {"runner": FORMAT, "options": options, "order": "rotating", "models": models}
    document["before"] = weather()
    deadline = time.monotonic() + options["limit"] * len(models)
    number = 0
    while True:
        rest(options)
        processes = []
        try:
            for i, model in enumerate(models):
                processes.append(Process(options["command"], model["file"]))
                hello = processes[i].ask(do="load", options=options, model=model["file"])
                document["environment"] = hello.pop("environment")
                model["sessions"].append({"pass": number, **hello, "rounds": []})
                emit("session", model=i, session=model["sessions"][-1])
            late = rounds(options, models, processes, number, deadline, emit)
            for model, process in zip(models, processes):
                model["sessions"][-1].update(process.ask(do="sum"))
            number += 1
            if late or (number >= options["passes"] and enough(models, options["samples"])):
                for i, (model, process) in enumerate(zip(models, processes)):
                    model["accuracy"] = None
                    if options["accuracy"] is not None:
                        emit("accuracy", model=i)
                        model["accuracy"] = process.ask(do="accuracy", file=options["accuracy"])
                break
        finally:
            for process in processes:
                process.end()
    document["stopped"] = "limit" if late else "enough"
    document["after"] = weather()
    return document


MOST_RUNS = 20000  # in a slice: a line of JSON of some 1 MB


def rounds(options, models, processes, number, deadline, emit):
    """The rounds of pass ``number``; whether the time is up."""
    per_pass = -(-options["rounds"] // options["passes"])
    slice_s = options["seconds"] / (per_pass * options["passes"])
    runs = []
    for model in models:
        times = sorted(model["sessions"][-1]["warm_up_s"])
        runs.append(max(1, min(MOST_RUNS, round(slice_s / max(times[len(times) // 2], 1e-7)))))
    for turn in range(number * per_pass, (number + 1) * per_pass):
        for i in order(turn, len(models)):
            before = energy_uj()
            samples = processes[i].ask(do="run", n=runs[i])
            used = None if before is None else energy_uj() - before
            samples["energy_uj"] = used if used is None or used >= 0 else None  # the counter wraps
            samples["round"] = turn
            models[i]["sessions"][-1]["rounds"].append(samples)
            emit("round", model=i, round=samples)
        if time.monotonic() > deadline:
            return True
    return False


def order(turn, n):
    """Which model runs when: forwards n rounds, then backwards, each time another one first.

    Who runs after itself finds its weights in the caches; so none of three or more ever does, and of
    two both do equally often.
    """
    back = turn // n % 2
    line = [(i + (-turn if back else turn)) % n for i in range(n)]
    return line[::-1] if back else line


def enough(models, wanted):
    """Whether each model has so many runs that were not preempted (or it cannot be told)."""
    return all(
        sum(not s for session in m["sessions"] for r in session["rounds"] for s in r["switches"])
        >= wanted
        for m in models
    )


def rest(options):
    """Cool down: the asked pause, then at most two minutes until the hottest zone is below."""
    time.sleep(options["cool_down"])
    start = time.monotonic()
    while options["max_temperature"] is not None and time.monotonic() - start < 120:
        if max(temperatures().values(), default=0.0) < options["max_temperature"]:
            return
        time.sleep(1)


def sha256(path):
    import hashlib

    digest = hashlib.sha256()
    with open(path, "rb") as f:
        for block in iter(lambda: f.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def parse(arguments):
    import argparse
    import shlex

    def shape(text):
        name, _, sizes = text.rpartition("=")
        return name, [int(v) for v in sizes.split(",")]

    def at_least(kind, low):
        def value(text):
            number = kind(text)
            if not low <= number < 1e9:
                raise ValueError
            return number

        value.__name__ = f"number of at least {low}"
        return value

    def cores(text):
        return [int(v) for v in text.split(",")]

    p = argparse.ArgumentParser(prog="runner.py", add_help=False, allow_abbrev=False)
    p.add_argument("models", nargs="+", metavar="MODEL.onnx")
    p.add_argument("--threads", type=at_least(int, 1), default=1)
    p.add_argument("--rounds", type=at_least(int, 1), default=50)
    p.add_argument("--seconds", type=at_least(float, 0), default=5.0)
    p.add_argument("--samples", type=at_least(int, 1), default=64)
    p.add_argument("--limit", type=at_least(float, 0), default=60.0)
    p.add_argument("--passes", type=at_least(int, 1), default=10)
    p.add_argument("--batch", type=at_least(int, 1), default=1)
    p.add_argument("--shape", type=shape, action="append", default=[])
    p.add_argument("--accuracy")
    p.add_argument("--cores", type=cores)
    p.add_argument("--cool-down", type=at_least(float, 0), default=0.0)
    p.add_argument("--max-temperature", type=float)
    p.add_argument("--python", type=shlex.split, default=[sys.executable])
    p.add_argument("--stream", action="store_true")
    options = vars(p.parse_args(arguments))
    options["shapes"] = dict(options.pop("shape"))
    options["command"] = options.pop("python")
    return options


def main(arguments):
    if arguments == ["--session"]:
        serve()
        return 0
    if not arguments or "--help" in arguments or "-h" in arguments:
        print(__doc__.strip())
        return 0
    options = parse(arguments)
    stream = options.pop("stream")

    def emit(event, **details):
        if stream:
            print(json.dumps({"event": event, **details}), flush=True)
        elif event != "round":
            name = os.path.basename(options["models"][details["model"]])
            sys.stderr.write(f"{event}: {name}\n")

    try:
        document, code = measure(options, emit), 0
    except RunnerError as e:
        document, code = {"error": str(e), "model": e.model}, 2
    except OSError as e:
        document, code = {"error": e.strerror or str(e), "model": e.filename}, 2
    except KeyboardInterrupt:
        document, code = {"error": "interrupted", "model": None}, 130
    print(json.dumps(document, allow_nan=False), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
