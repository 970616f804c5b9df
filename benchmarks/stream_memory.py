"""Peak memory of training on an image folder that is larger than the memory it is allowed.

    python benchmarks/stream_memory.py [--images 1000,4000] [--allowed-mib 16]

A folder of JPEG photographs (noise with structure, 200 x 160 px) is made, and MobileNetV1 0.25 is trained
on it for an epoch at 96 px, each time in a fresh process whose VmHWM is read at the end:

- bare: the same steps on one batch that already lies in memory; no data set at all
- streamed: `data.load(memory=...)` allows less than the decoded set takes
- kept: the same set decoded into memory, for comparison

The figure is what the data cost above bare. Linux only (/proc/self/status).
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
SIZE, BATCH, STEPS_BARE = 96, 32, 20


def make_folder(folder: Path, images: int) -> None:
    """``images`` JPEGs in 4 class folders; pixels follow from the number, so runs agree."""
    import numpy as np
    from PIL import Image

    for i in range(images):
        rng = np.random.default_rng(i)
        coarse = rng.integers(0, 256, (10, 12, 3)).astype(np.uint8)
        path = folder / f"class{i % 4}" / f"{i:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        out = io.BytesIO()
        Image.fromarray(coarse).resize((200, 160)).save(out, "JPEG", quality=85)
        path.write_bytes(out.getvalue())


def train(folder: str, memory: int | None) -> dict[str, Any]:
    """One epoch in this process; ``folder`` "" is the bare loop."""
    import torch

    from edgeprune import data, models

    torch.set_num_threads(1)
    spec = models.ModelSpec("mobilenetv1-0.25", classes=4)
    model = models.fresh(spec, 0).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    convention = models.Convention(SIZE)
    decoded = 0
    if folder:
        dataset = data.load(folder, size=SIZE, memory=memory)
        loader = data.Loader(dataset.train, convention, batch_size=BATCH, augment="photos")
        batches: Any = loader.epoch(1)
        canvas = dataset.train.canvas
        decoded = sum(dataset.source["images"].values()) * canvas * canvas * 3
    else:
        x = torch.randn(BATCH, 3, SIZE, SIZE).to(memory_format=torch.channels_last)
        batches = [(x, torch.zeros(BATCH, dtype=torch.int64))] * STEPS_BARE
    began, seen = time.perf_counter(), 0
    for x, y in batches:
        torch.nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
        seen += len(y)
    seconds = time.perf_counter() - began
    return {"decoded": decoded, "peak": _peak(), "images_per_second": seen / seconds}


def _peak() -> int:
    """VmHWM of this process in bytes (ru_maxrss would count the parent before exec)."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in x)
    return int(line.split()[1]) * 1024


def in_fresh_process(folder: str, memory: int | None) -> dict[str, Any]:
    words = [sys.executable, __file__, "--child", folder, "--memory", str(memory)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", default="1000,4000", help="sizes of the folders")
    parser.add_argument("--allowed-mib", type=int, default=16, help="memory for pixels")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.child is not None:
        print(json.dumps(train(words.child, None if words.memory == "None" else int(words.memory))))
        return
    from edgeprune import files, units
    from edgeprune.report.tables import Column, Table

    bare = in_fresh_process("", None)
    rows = [{"data": "bare loop, one batch", **bare}]
    allowed = words.allowed_mib << 20
    for n in map(int, words.images.split(",")):
        with tempfile.TemporaryDirectory(prefix="edgeprune-stream-") as name:
            make_folder(Path(name), n)
            for how, memory in (("streamed", allowed), ("kept", 1 << 40)):
                found = in_fresh_process(name, memory)
                rows.append({"data": f"{n:,} photographs, {how}", "allowed": memory, **found})
                rows[-1]["above"] = found["peak"] - bare["peak"]
    for row in rows:
        if row.get("allowed") == 1 << 40:
            row["allowed"] = None
    columns = [
        Column("data", align="left"),
        Column("decoded", "decoded set", units.size),
        Column("allowed", "allowed for pixels", units.size),
        Column("peak", "VmHWM", units.size),
        Column("above", "above bare", units.size),
    ]
    title = f"Memory of training MobileNetV1 0.25 at {SIZE} px, batch {BATCH}, one thread"
    table = Table(title, columns, rows)
    print(table.text())
    files.write_text(RESULTS / "stream_memory.md", table.markdown() + "\n")
    files.write_json(RESULTS / "stream_memory.json", {"title": title, "rows": rows})


if __name__ == "__main__":
    main()
