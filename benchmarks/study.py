"""Network-A (pre-trained) against Network-B (from random weights), as in Hubens et al. 2020, on real images.

    EDGEPRUNE_HOME=FOLDER python benchmarks/study.py [--jobs 2] [--only WORD] [--tables]

FOLDER holds weights and data (README, "Weights and data"). Each line of RUNS is typed as a user
would type it; the runs lie in ``.study/runs``, and a study that was stopped goes on. ``--tables``
only writes the tables and figures of what is there, into ``benchmarks/results/study``. The scale
(images, epochs, steps) is that of two CPU cores and an hour; it stands in the commands.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results" / "study"
FOLDER = Path(".study")

MOBILENET = (
    "--model mobilenetv1 --epochs 12 --retrain-epochs 1 --step 0.25 --max-steps 16 --limit 4000"
)
VGG = "--model vgg16 --epochs 10 --retrain-epochs 1 --step 0.25 --max-steps 12 --limit 2000 --precision bf16"
PHOTOS = (
    "--model mobilenetv1 --epochs 6 --retrain-epochs 1 --step 0.25 --max-steps 8 --limit 1500 "
    "--size 80 --precision bf16"
)
RUNS = {  # name: words; A and B of a comparison have the same schedule and the same images
    "vgg16-cifar10-A": f"{VGG} --data cifar10 --init tiny-imagenet",
    "vgg16-cifar10-B": f"{VGG} --data cifar10 --init scratch",
    "mobilenet-cifar10-A": f"{MOBILENET} --data cifar10 --init imagenet",
    "mobilenet-cifar10-B": f"{MOBILENET} --data cifar10 --init scratch",
    "mobilenet-caltech101-A": f"{PHOTOS} --data caltech101 --init imagenet",
    "mobilenet-caltech101-B": f"{PHOTOS} --data caltech101 --init scratch",
    "mobilenet-cifar10-A2": f"{MOBILENET} --data cifar10 --init imagenet-float --partial",
    "mobilenet-caltech101-A2": f"{PHOTOS} --data caltech101 --init imagenet-float --partial",
    "mobilenet-svhn-A": f"{MOBILENET} --data svhn --init imagenet",
    "mobilenet-svhn-B": f"{MOBILENET} --data svhn --init scratch",
    "mobilenet-cifar100-A": f"{MOBILENET} --data cifar100 --init imagenet",
    "mobilenet-cifar100-B": f"{MOBILENET} --data cifar100 --init scratch",
    "vgg16-cifar10-A2": f"{VGG} --data cifar10 --init imagenet-first7 --partial",
}
PAIRS = [(name, name.replace("-A", "-B")) for name in RUNS if name.endswith("-A")]
NOTES = """\
- Weights: `imagenet` and `imagenet-float` are real ImageNet MobileNetV1 weights (the second lacks
  its last pointwise convolution: `--partial`). No whole ImageNet VGG16 was to be had:
  `tiny-imagenet` is a VGG16 pre-trained on Tiny-ImageNet at 32 pixels, a stand-in;
  `imagenet-first7` holds the first seven convolutions of an ImageNet VGG19.
- Data: CIFAR-10 and CIFAR-100 as recompressed JPEGs (30,000 and 10,000 training images), SVHN's
  official test set cut in two, Caltech101 at 128 pixels. Accuracies are not comparable with
  published ones, only with each other.
- A and B have the same schedule, and at this scale it leaves B far from convergence (5 to 35 %): its
  accuracy still rises while it is retrained between the cuts, so that the rule of one point below a
  baseline that low hardly binds it. Read B's dense accuracy before its cut; where it is a fraction of
  A's, "B prunes further" says that B was not trained, not that it is more redundant.
- One seed. A step removes a quarter of a layer (to the multiple that the runtime likes) and
  retrains one epoch, where the paper retrains five; the drop that is accepted is one point of
  validation accuracy, as in the paper.
"""


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument(
        "--jobs", type=int, default=2, help="runs at the same time, each on one core"
    )
    words.add_argument("--only", default="", help="runs whose name holds this word")
    words.add_argument("--tables", action="store_true", help="only write tables and figures")
    asked = words.parse_args()
    chosen = [name for name in RUNS if asked.only in name]
    if not asked.tables:
        (FOLDER / "logs").mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(asked.jobs) as pool:
            for name, code in zip(chosen, pool.map(run, chosen), strict=True):
                print(f"{name}: {'done' if code == 0 else f'failed, see .study/logs/{name}.log'}")
        for name in chosen:  # measured one after the other, with nothing beside
            measure(name)
    write()
    return 0


def run(name: str) -> int:
    return edgeprune(name, f"prune {RUNS[name]} --name {name}")


def measure(name: str) -> None:
    folder = FOLDER / "runs" / name
    missing = not any(folder.glob("bench/*.json"))
    if (
        (folder / "pruned.safetensors").exists()
        and missing
        and not edgeprune(name, f"export {name}")
    ):
        edgeprune(name, f"bench {name} --device cpu")


def edgeprune(name: str, words: str) -> int:
    command = [sys.executable, "-m", "edgeprune", *shlex.split(words)]
    with open(FOLDER / "logs" / f"{name}.log", "a") as log:
        print("$ edgeprune", words, file=log, flush=True)
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.run(
            command, cwd=FOLDER, env=environment, stdout=log, stderr=log
        ).returncode


def write() -> None:
    """The table and the figures of all runs that are there."""
    from edgeprune.report.tables import Column, Table
    from edgeprune.runs import Run

    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    runs = {n: Run((FOLDER / "runs" / n).resolve()) for n in RUNS}
    runs = {n: r for n, r in runs.items() if r.has("pruned")}
    percent = "{:.1f} %".format
    columns = [
        Column("run", align="left"),
        Column("dense", "dense, validation / test", align="left"),
        Column("pruned", "pruned, validation / test", align="left"),
        Column("params", "parameters", percent),
        Column("flops", "FLOPs", percent),
        Column("steps", "steps kept"),
        Column("speedup", "measured", align="left"),
        Column("promised", "promised", "{:.2f} x".format),
        Column("stopped", "stopped", align="left"),
    ]
    table = Table("", columns, [row(name, run) for name, run in runs.items()])
    pairs = [sentence(a, runs[a], b, runs[b]) for a, b in PAIRS if a in runs and b in runs]
    figures = [figure(a, runs[a], b, runs[b]) for a, b in PAIRS if a in runs and b in runs]
    commands = "\n".join(f"edgeprune prune {RUNS[n]} --name {n}" for n in runs)
    (RESULTS / "README.md").write_text(
        "# Network-A against Network-B\n\nMade by `python benchmarks/study.py`; do not edit.\n\n"
        f"{NOTES}\n{table.markdown().strip()}\n\nParameters and FLOPs: change against the dense network. "
        "Measured: dense against pruned time of onnxruntime on one core, 95 % interval; other work ran "
        "beside it, and –: not measured.\n\n"
        "## Does A prune further than B?\n\n" + "\n".join(f"- {s}" for s in pairs) + "\n\n"
        "## Ranked L1 norms and first-layer filters, A beside B (figures 3 to 6 of the paper)\n\n"
        + "\n".join(figures) + f"\n\n## Commands\n\n```sh\n{commands}\n```\n"
    )  # fmt: skip
    print(f"written: {RESULTS / 'README.md'}")


def row(name: str, run: Any) -> dict[str, Any]:
    from edgeprune import records, report

    results = {r.network: r for r in run.history(records.Result)}
    dense, pruned = results["dense"], results["pruned"]
    found = report.read(run)
    speedup = measured(found)
    return {
        "run": name,
        "dense": accuracies(dense),
        "pruned": accuracies(pruned),
        "params": change(dense, pruned, "params"),
        "flops": change(dense, pruned, "flops"),
        "steps": sum(r.kept for r in run.history(records.Step)),
        "speedup": speedup,
        "promised": dense.flops / pruned.flops,
        "stopped": pruned.stopped,
    }


def measured(found: Any) -> str | None:
    """The latest complete bench of the pair."""
    whole = list(found.measurements)
    for network in whole[-1].summary.networks if whole else []:
        if network.speedup and network.speedup_interval:
            low, high = network.speedup_interval
            held = " contended" if network.contended else ""
            return f"{network.speedup:.2f} x ({low:.2f} to {high:.2f}){held}"
    return None


def accuracies(result: Any) -> str:
    return (
        f"{100 * (result.validation_accuracy or 0):.1f} / {100 * (result.test_accuracy or 0):.1f} %"
    )


def change(dense: Any, pruned: Any, key: str) -> float:
    return 100 * (getattr(pruned, key) / getattr(dense, key) - 1)


def sentence(a: str, run_a: Any, b: str, run_b: Any) -> str:
    """Whether A lost more parameters than B, with the figures and what each of them could do before."""
    from edgeprune import records

    said, cut = {}, {}
    for name, run in ((a, run_a), (b, run_b)):
        results = {r.network: r for r in run.history(records.Result)}
        dense, pruned = results["dense"], results["pruned"]
        cut[name] = -change(dense, pruned, "params")
        said[name] = (
            f"{cut[name]:.1f} % of its parameters and {-change(dense, pruned, 'flops'):.1f} % of its "
            f"FLOPs (test {100 * dense.test_accuracy:.1f} -> {100 * pruned.test_accuracy:.1f} %)"
        )
    verdict = "yes" if cut[a] > cut[b] else "no"
    return f"{a.removesuffix('-A')}: **{verdict}**, A loses {said[a]}, B {said[b]}."


def figure(a: str, run_a: Any, b: str, run_b: Any) -> str:
    """Figures of the pair through the command a user would type."""
    stem = a.removesuffix("-A")
    words = ["plot", str(run_a.path), str(run_b.path), "--out", str(RESULTS / stem)]
    lines = [f"### {stem}", ""]
    for kind in ("norms", "filters", "history"):
        command = [sys.executable, "-m", "edgeprune", *words, "--figure", kind]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for path in sorted((RESULTS / stem).glob("*.svg")):
        path.unlink()
    lines += [f"![{p.stem}]({stem}/{p.name})\n" for p in sorted((RESULTS / stem).glob("*.png"))]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
