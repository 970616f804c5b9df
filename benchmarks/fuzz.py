"""Damaged inputs: every reader of something from outside ends in success or in one line.

For each format seeds are made (a small run, its .onnx files, archives, pictures) and mutated from a
numbered random generator: bytes flipped, cut off, spliced, repeated; JSON and TOML also by values that
a reader may not expect (deep nesting, huge numbers, other types, keys gone). A failure is any other
exception than EdgepruneError, more than 10 seconds, or more than 1 GB. Inputs are read in forked
processes at the lowest priority; the table can be stopped and goes on where it was:

    python -m benchmarks.fuzz [--inputs 100000] [--only history,toml] [--state FOLDER] [--nice 19]
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune import files
from edgeprune.errors import EdgepruneError

RESULTS = Path(__file__).parent / "results"
SECONDS, BYTES = 10, 1 << 30  # of one input, beyond what the process had
EACH = 250  # inputs of one forked process


@dataclass(frozen=True)
class Format:
    """One kind of file: seeds by name, the reader, and whether its text is JSON."""

    name: str
    suffix: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path], Any]
    json: bool = False


# -- seeds: what edgeprune itself writes, and what people hand it -----------------------------------


def small_run(folder: Path) -> Path:
    """A trained, pruned and exported run of a network that takes a second; made once."""
    run = folder / "runs" / "fuzz"
    if (run / "pruned.onnx").is_file():
        return run
    from edgeprune.cli import app, errors

    sys.path.insert(0, str(Path(__file__).parents[1]))
    from tests.ways import tiny

    here = Path.cwd()
    os.chdir(folder)
    try:
        words = tiny.prepare(folder).replace("--name r", "--name fuzz")
        for command in (words, "export fuzz", "bench fuzz --rounds 4 --passes 2 --seconds 0.1"):
            if code := errors.run(app.app, command.split()):
                raise SystemExit(f"{command}: exit code {code}")
    finally:
        os.chdir(here)
    return run


def of_run(*names: str) -> Callable[[Path], list[bytes]]:
    def seeds(folder: Path) -> list[bytes]:
        run = small_run(folder)
        return [p.read_bytes() for name in names for p in sorted(run.glob(name))]

    return seeds


def measured(folder: Path) -> list[bytes]:
    """A result of bench, of few samples: thousands would only make each input slower."""
    document = files.read_json(min(small_run(folder).glob("bench/*.json")))
    for model in document["measured"]["models"]:
        for session in model["sessions"]:
            for taken in session["rounds"]:
                for column in ("wall_s", "cpu_s", "switches"):
                    taken[column] = taken[column][:12]
    return [json.dumps(document).encode()]


def profile(folder: Path) -> list[bytes]:
    text = (
        'label = "A board"\ntransport = "ssh://pi@board"\nthreads = [1, 4]\ncores = [2, 3]\n'
        "cool_down = 5.0\nhighest_temperature = 65\n"
    )
    return [text.encode()]


def device(folder: Path) -> list[bytes]:
    """A device's profile as the probe writes it, of few networks."""
    peaks = {
        "flops": 1e11,
        "int8": None,
        "weights": [[1e6, 1e10]],
        "maps": [[1e6, 1e10]],
        "call": 1e-6,
    }
    process = {
        "points": [[0.0, 1.0], [1.0, 2.0]], "weights": [0.1, 0.2], "scales": [1.0, 1.0],
        "variance": 0.3, "mean": 0.0,
    }  # fmt: skip
    value = {
        "format": 1, "cpu": "a cpu", "onnxruntime": "1.20", "created": "2026-01-01T00:00:00+0000",
        "model": {
            "block": 16, "peaks": peaks, "processes": {"linear": process}, "move": [1e-6, 1e-10],
            "rest": [1e-5, 1e-6, 1e-10], "lines": {"linear": [0.1, 0.2]}, "whole": [0.1, 0.2],
        },
        "error": {"median": 0.05, "worst": 0.2, "layer_median": 0.1, "networks": 48},
    }  # fmt: skip
    return [json.dumps(value).encode()]


def widths(folder: Path) -> list[bytes]:
    value = {
        "format": 1, "multiple": 16, "how": "measured", "device": "cpu", "int8": False,
        "waste": {"8": [1.1, 1.0, 1.2]}, "onnxruntime": "1.20", "created": "2026-01-01",
    }  # fmt: skip
    return [json.dumps(value).encode()]


def archives(kind: str) -> Callable[[Path], list[bytes]]:
    def seeds(folder: Path) -> list[bytes]:
        out = io.BytesIO()
        members = [(f"{c}/{i}.png", picture("PNG", 12)) for c in "ab" for i in range(4)]
        if kind == "zip":
            with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
                for name, content in members:
                    z.writestr(name, content)
        else:
            with tarfile.open(fileobj=out, mode="w:gz" if kind == "gz" else "w") as t:
                for name, content in members:
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    t.addfile(info, io.BytesIO(content))
        return [out.getvalue()]

    return seeds


def picture(kind: str, side: int = 40, mode: str = "RGB") -> bytes:
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(side)
    image = Image.fromarray(rng.integers(0, 255, (side, side + 3, 3)).astype(np.uint8)).convert(
        mode
    )
    out = io.BytesIO()
    image.save(out, kind)
    return out.getvalue()


def pth(folder: Path) -> list[bytes]:
    import torch

    found = []
    for new in (True, False):
        out = io.BytesIO()
        state = {"0.weight": torch.ones(4, 3), "0.bias": torch.zeros(4)}
        torch.save({"state_dict": state}, out, _use_new_zipfile_serialization=new)
        found.append(out.getvalue())
    return found


def npz(folder: Path) -> list[bytes]:
    import numpy as np

    small_run(folder)
    out = io.BytesIO()
    parts = {}
    for part in ("train", "val"):
        parts[f"{part}_images"] = np.zeros((6, 8, 8, 3), np.uint8)
        parts[f"{part}_labels"] = np.arange(6)[:, None] % 2
    np.savez_compressed(out, **parts)
    plain = io.BytesIO()
    np.savez(plain, **parts)
    return [out.getvalue(), plain.getvalue()]


# -- readers: what a command does with such a file ---------------------------------------------------


def read_run(name: str) -> Callable[[Path], Any]:
    """The run with this one file replaced, read and told as `report` and `runs` do."""

    def read(path: Path) -> None:
        from edgeprune import report, runs
        from edgeprune.report import page, results

        run = runs.Run(path.parent / "run")
        if not run.path.is_dir():
            shutil.copytree(path.parent.parent / "seeds" / "runs" / "fuzz", run.path)
        shutil.copyfile(path, run.path / name)
        found = report.read(run)
        results.comparison(run, found)
        results.history_table(found)
        results.widths_table(found)
        page.html(found)

    return read


def read_spec(path: Path) -> None:
    from edgeprune import checkpoint, models

    read_run("spec.json")(path)
    run = path.parent / "run"
    from edgeprune.runs import Run

    spec = checkpoint.read_spec(Run(run))
    models.layer_names(spec.model)


def read_recipe(path: Path) -> None:
    from edgeprune import ways
    from edgeprune.runs import Run

    read_run("recipe.json")(path)
    ways.asked_of(Run(path.parent / "run"))


def read_plan(path: Path) -> None:
    from edgeprune.cli import plans

    plans.read(path).sentence()


def read_result(path: Path) -> None:
    from edgeprune import bench
    from edgeprune.bench.compare import compare
    from edgeprune.cli import bench as command

    result = bench.load(path)
    command.table(result)
    command.document(result)
    compare(result, result)
    read_run("bench/fuzz.json")(path)


def read_toml(path: Path) -> None:
    from edgeprune.bench import Request
    from edgeprune.bench.devices import profiles

    profiles.read(path).over(Request())


def read_device(path: Path) -> None:
    from edgeprune.runtime import device, predictor

    known = device.load(path)
    known.sentence()
    predictor.predict(known.model, [])


def read_widths(path: Path) -> None:
    from edgeprune.doctor import rounding

    rounding.read(path)


def read_npz(path: Path) -> None:
    from edgeprune.data.faults import Faults
    from edgeprune.data.npz import read_npz as room

    found = room(path, Faults(str(path), skip=True))
    for pictures, _ in found.parts.values():
        pictures.get(0, 16)


def read_archive(path: Path) -> None:
    from edgeprune.data.archives import open_tree
    from edgeprune.data.faults import Faults
    from edgeprune.data.folders import read_tree
    from edgeprune.data.transforms import BadImageError

    faults = Faults(str(path), skip=True)
    found = read_tree(open_tree(path, faults), faults)
    for pictures, _ in found.parts.values():
        for i in range(len(pictures)):
            try:
                pictures.get(i, 16)
            except BadImageError:
                continue


def read_picture(path: Path) -> None:
    from edgeprune.data.transforms import BadImageError, decode, side

    try:
        side(path.read_bytes())
        decode(path.read_bytes(), 24)
    except BadImageError:
        return


def read_weights(path: Path) -> None:
    from edgeprune import models

    models.find(models.ModelSpec("vgg16"), str(path))


def read_onnx(path: Path) -> None:
    from edgeprune.bench import subject

    for known in subject.inspect([path], ["a"]):
        subject.convention(known)


def read_model(path: Path) -> None:
    """The file as a network: inspect, as it is typed, which builds, asks, records and follows it."""
    from edgeprune.cli import app, errors

    code = errors.run(app.app, ["inspect", "--model", str(path)])
    if code not in (0, errors.FAILED):
        raise RuntimeError(f"exit code {code}")


FORMATS = (
    Format("history", ".jsonl", of_run("history.jsonl"), read_run("history.jsonl"), json=True),
    Format("spec", ".json", of_run("spec.json"), read_spec, json=True),
    Format("recipe", ".json", of_run("recipe.json"), read_recipe, json=True),
    Format("plan", ".json", of_run("plan.json"), read_plan, json=True),
    Format("result", ".json", measured, read_result, json=True),
    Format("device", ".json", device, read_device, json=True),
    Format("widths", ".json", widths, read_widths, json=True),
    Format("toml", ".toml", profile, read_toml),
    Format("npz", ".npz", npz, read_npz),
    Format("zip", ".zip", archives("zip"), read_archive),
    Format("tar", ".tar", archives("tar"), read_archive),
    Format("tar.gz", ".tar.gz", archives("gz"), read_archive),
    Format("png", ".png", lambda _: [picture("PNG"), picture("PNG", mode="P")], read_picture),
    Format("jpeg", ".jpg", lambda _: [picture("JPEG"), picture("JPEG", mode="L")], read_picture),
    Format("safetensors", ".safetensors", of_run("*.safetensors"), read_weights),
    Format("pth", ".pth", pth, read_weights),
    Format("onnx", ".onnx", of_run("*.onnx"), read_onnx),
    Format("onnx as a network", ".onnx", of_run("*.onnx"), read_model),
)


# -- mutations ---------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**400, 1.5, -0.0, 1e308, 5e-324, "", "x",
    "../../x", "a\0b", "\ud800", "\u2028", "x" * 5000, [], [[]], {}, {"": {}}, [None], [1, "a"], "NaN",
)  # fmt: skip


def mutated(raw: bytes, is_json: bool, rng: random.Random) -> bytes:
    """One to four changes; JSON is changed as values in two of three inputs."""
    if is_json and rng.random() < 0.67:
        lines = raw.split(b"\n") if raw.count(b"\n{") else [raw]
        at = rng.randrange(len(lines))
        try:
            value = json.loads(lines[at])
        except ValueError:
            return broken(raw, rng)
        for _ in range(rng.choice((1, 1, 2, 4))):
            value = swapped(value, rng)
        text = json.dumps(value)
        if rng.random() < 0.05:
            deep = rng.choice((100, 1000, 20_000))
            text = text.replace("null", "[" * deep + "]" * deep, 1)
        if rng.random() < 0.1:
            text = text.replace("0", rng.choice(("NaN", "-Infinity", "1e999", "9" * 5000)), 1)
        lines[at] = text.encode("utf-8", "surrogatepass")
        return b"\n".join(lines)
    return broken(raw, rng)


def swapped(value: Any, rng: random.Random) -> Any:
    """``value`` with one place below it changed, taken away, doubled or renamed."""
    if rng.random() < 0.12 or not isinstance(value, (dict, list)) or not value:
        return rng.choice(ODD)
    if isinstance(value, dict):
        key = rng.choice(list(value))
        changed = dict(value)
        how = rng.random()
        if how < 0.12:
            del changed[key]
        elif how < 0.18:
            changed[rng.choice(("", "way", "format", key + "x"))] = changed.pop(key)
        else:
            changed[key] = swapped(value[key], rng)
        return changed
    at = rng.randrange(len(value))
    how = rng.random()
    if how < 0.1:
        return value[:at] + value[at + 1 :]
    if how < 0.2:
        return value[: at + 1] + value[at:]
    return [*value[:at], swapped(value[at], rng), *value[at + 1 :]]


def broken(raw: bytes, rng: random.Random) -> bytes:
    """Bytes flipped, set, cut off, cut out, doubled, or swapped for numbers at the edge."""
    data = bytearray(raw)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        if not data:
            break
        at, how = rng.randrange(len(data)), rng.random()
        if how < 0.35:
            data[at] ^= 1 << rng.randrange(8)
        elif how < 0.55:
            data[at] = rng.choice((0, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        elif how < 0.65:
            del data[at:]
        elif how < 0.75:
            del data[at : at + rng.choice((1, 4, 64, 1024))]
        elif how < 0.87:
            number = rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, rng.randrange(1 << 32)))
            data[at : at + 4] = struct.pack(rng.choice("<>") + "I", number)
        else:
            frm = rng.randrange(len(data))
            data[at:at] = data[frm : frm + rng.choice((1, 16, 512))]
    return bytes(data)


# -- running -----------------------------------------------------------------------------------------


def tried(form: Format, seeds: list[bytes], numbers: range, folder: Path, out: Any) -> None:
    """In a forked process: reads each input, tells what was wrong and which it is at."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # dies of it, wherever it hangs
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.dup2(quiet, 2)
    os.environ["EDGEPRUNE_HOME"] = str(folder / "home")
    os.chdir(folder)
    base = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (base + 3 * BYTES, resource.RLIM_INFINITY))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in numbers:
        rng = random.Random(f"{form.name} {number}")
        path = folder / f"input{form.suffix}"
        path.write_bytes(mutated(rng.choice(seeds), form.json, rng))
        out.send((number, None))
        signal.alarm(SECONDS)
        said = None
        try:
            form.read(path)
        except EdgepruneError as e:
            if "\n" in str(e) or not str(e).strip():
                said = f"not one line: {str(e)[:80]!r}"
        except BaseException as e:
            said = f"{type(e).__name__}: {' '.join(str(e).split())[:120]}"
        signal.alarm(0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if said is None and (peak - before) * 1024 > BYTES:
            said, before = f"{(peak - before) >> 10} MiB", peak
        if said is not None:
            out.send((number, said))
    out.send((numbers.stop, None))
    out.close()
    os._exit(0)


def batch(form: Format, seeds: list[bytes], numbers: range, folder: Path) -> list[tuple[int, str]]:
    """Failures of these inputs; a process that died is started again after the input that killed it."""
    found: list[tuple[int, str]] = []
    context = multiprocessing.get_context("fork")
    at = numbers.start
    while at < numbers.stop:
        here, there = context.Pipe(duplex=False)
        process = context.Process(
            target=tried, args=(form, seeds, range(at, numbers.stop), folder, there)
        )
        process.start()
        there.close()
        while True:
            try:
                at, said = here.recv()
            except EOFError:
                break
            if said is not None:
                found.append((at, said))
        process.join()
        if at < numbers.stop:
            why = "more than 10 s" if process.exitcode == -signal.SIGALRM else "died"
            found.append((at, f"{why} ({process.exitcode})"))
            at += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--inputs", type=int, default=100_000, help="in all")
    parser.add_argument("--only", default="", help="formats, separated by commas")
    parser.add_argument(
        "--state", type=Path, default=Path(tempfile.gettempdir()) / "edgeprune-fuzz"
    )
    parser.add_argument("--nice", type=int, default=19, help="0: as fast as everything else")
    words = parser.parse_args()
    os.nice(words.nice)
    wanted = [f for f in FORMATS if not words.only or f.name in words.only.split(",")]
    seeds_folder = words.state / "seeds"
    seeds_folder.mkdir(parents=True, exist_ok=True)
    (words.state / "work").mkdir(exist_ok=True)
    kept = words.state / "fuzz.jsonl"
    seeds = {f.name: f.seeds(seeds_folder) for f in wanted}
    preload()
    each = -(-words.inputs // len(wanted))
    done = {f.name: 0 for f in wanted}
    for row in files.read_lines(kept):
        done[row["format"]] = max(done.get(row["format"], 0), row["until"])
    while any(done[f.name] < each for f in wanted):
        for f in wanted:
            numbers = range(done[f.name], min(each, done[f.name] + EACH))
            if not numbers:
                continue
            begun = time.monotonic()
            failures = batch(f, seeds[f.name], numbers, words.state / "work")
            done[f.name] = numbers.stop
            row = {"format": f.name, "from": numbers.start, "until": numbers.stop}
            files.append_line(
                kept, row | {"failures": failures, "seconds": time.monotonic() - begun}
            )
            for number, said in failures[:5]:
                print(f"{f.name} {number}: {said}", flush=True)
    page = table(files.read_lines(kept))
    files.write_text(RESULTS / "fuzz.md", page)
    print(page)


def preload() -> None:
    """What readers import, before the forks."""
    import onnx  # noqa: F401

    from edgeprune import bench, checkpoint, doctor, models, report, ways  # noqa: F401
    from edgeprune.bench import compare, subject  # noqa: F401
    from edgeprune.cli import app, plans  # noqa: F401
    from edgeprune.cli import bench as command  # noqa: F401
    from edgeprune.doctor import rounding  # noqa: F401
    from edgeprune.report import page, results  # noqa: F401
    from edgeprune.runtime import device, predictor  # noqa: F401


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# Damaged inputs", "",
        "Made by `python -m benchmarks.fuzz`: each input is a file that edgeprune reads, damaged at random",
        "(numbered, so each can be made again). A failure is anything but success or one line: another",
        f"exception, more than {SECONDS} s, more than {BYTES >> 30} GB.", "",
        "| format | inputs | failures |", "| :-- | --: | --: |",
    ]  # fmt: skip
    total = [0, 0]
    for form in FORMATS:
        mine = {r["from"]: r for r in rows if r["format"] == form.name}
        inputs = sum(r["until"] - r["from"] for r in mine.values())
        failures = sum(len(r["failures"]) for r in mine.values())
        total = [total[0] + inputs, total[1] + failures]
        lines.append(f"| {form.name} | {inputs:,} | {failures:,} |")
    lines.append(f"| **all** | **{total[0]:,}** | **{total[1]:,}** |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
