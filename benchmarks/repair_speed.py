"""What the repair of a large network costs, one tree against another: results/repair_speed.md.

    EDGEPRUNE_HOME=... python benchmarks/repair_speed.py measure NAME [--tree FOLDER] [--images 256]
    python benchmarks/repair_speed.py

A ResNet-50 at 224 px with random weights and the batch-norm statistics of 64 photos is pruned after
training to half of its FLOPs, one view of each photo of the ImageNet sample, one thread, in a
process of its own. ``--tree`` is the checkout whose edgeprune is measured (default: this one); run both
by turns, so that a busy machine is busy for both. A tree of before 69d9b8b is measured by the script of
0098585 (``git show 0098585:benchmarks/repair_speed.py``), whose statistics come from batches of 16. Every
measurement is added to results/repair_speed.json; the page is made from that file alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results"
KEPT = RESULTS / "repair_speed.json"
NORMED = 64  # photos that the batch norms' statistics are taken from
ROUNDED = 0.01  # of the variance kept: what another order of summing may move


def once(images: int) -> dict[str, Any]:
    """One run, in the process that asks: processor seconds, peak memory, what is kept."""
    import torch
    import torchvision

    from edgeprune import data, prices
    from edgeprune.models import Convention
    from edgeprune.prune.compensate import recalibrate
    from edgeprune.ways import post_training as pt
    from edgeprune.ways.examples import Photos, plain

    torch.set_num_threads(1)
    torch.manual_seed(0)
    convention = Convention(size=224)
    split = data.unlabelled("imagenet-sample", size=224, limit=images)
    pixels = split.images(range(len(split)))
    model = torchvision.models.resnet50().eval()
    recalibrate(model, plain(Photos(pixels, convention), range(NORMED)))
    loaded = _resident()
    began = time.process_time()
    done = pt.post_training(
        model, Photos(pixels, convention), pt.Settings(target=prices.Target("flops", 0.5), views=1)
    )
    return {
        "images": images,
        "cpu_seconds": round(time.process_time() - began, 1),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - loaded),
        "variance_kept": done.forecast.variance_kept,
        "agreement": done.forecast.agreement,
        "flops": done.plan.reached()["flops"],
    }


def _resident() -> float:
    """MiB of this process that are in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def measure(name: str, tree: Path, images: int) -> None:
    """Run ``tree``'s edgeprune in a process of its own and write down what it took."""
    words = [sys.executable, str(HERE), "--once", "--images", str(images)]
    threads = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "MKL", "OPENBLAS")}
    environment = os.environ | threads | {"PYTHONPATH": str(tree.resolve())}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    found = {"tree": name, **json.loads(done.stdout.splitlines()[-1])}
    known = json.loads(KEPT.read_text()) if KEPT.is_file() else []
    KEPT.write_text(json.dumps([*known, found], indent=1) + "\n")
    print(json.dumps(found), flush=True)


def page(known: list[dict[str, Any]]) -> str:
    lines = [
        "# What the repair of a large network costs",
        "",
        "Made by `python benchmarks/repair_speed.py` from repair_speed.json beside it; not edited by",
        "hand. " + " ".join((__doc__ or "").split("\n\n")[2].split("``--tree``")[0].split()),
        "One shared, busy machine; `before` is 12a0460, measured by the script of 0098585, which takes the",
        "batch norms' statistics in other batches: its forecast is of a slightly other network.",
        "CPU s: median (least to most) of processor",
        "seconds from the loaded network to the forecast; peak: MiB resident above the loaded network",
        "and its photos; variance kept and agreement: the forecast, on held-out photos.",
        "",
        "| tree | images | runs | CPU s | peak, MiB | variance kept | agreement |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, images in dict.fromkeys((r["tree"], r["images"]) for r in known):
        rows = [r for r in known if (r["tree"], r["images"]) == (name, images)]
        seconds = [r["cpu_seconds"] for r in rows]
        middle = statistics.median(seconds)
        lines.append(
            f"| {name} | {images} | {len(rows)} | {middle:.0f} ({min(seconds):.0f} to "
            f"{max(seconds):.0f}) | {max(r['peak_mib'] for r in rows):,} | "
            f"{rows[-1]['variance_kept']:.4f} | {100 * rows[-1]['agreement']:.1f} % |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", metavar="measure NAME", help="nothing: only the page")
    parser.add_argument("--tree", type=Path, default=HERE.parent.parent)
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.once:
        print(json.dumps(once(words.images)))
        return
    if words.what[:1] == ["measure"] and len(words.what) == 2:
        measure(words.what[1], words.tree, words.images)
    elif words.what:
        parser.error("measure NAME, or nothing")
    (RESULTS / "repair_speed.md").write_text(page(json.loads(KEPT.read_text())))


if __name__ == "__main__":
    main()
