"""What widths are worth on this machine: MobileNetV1 at 224 pixels cut to about 0.4 and 0.23 of its FLOPs.

    python benchmarks/widths.py [--device D] [--seconds S] [--passes N]

The same draw of widths, once free (odd, as a search by FLOPs leaves them) and rounded to multiples of 4,
8 and 16, so that each keeps off the next coarser grid where it can. Measured side by side with
`edgeprune bench`'s own protocol, on any of its devices; on cpu the doctor says below the table what it
finds most expensive in each. Claim: on x86 `--round-to auto` reaches 0.9 of the promised speed-up at 0.4.
Table and figures go to benchmarks/results/widths-DEVICE.{md,json} (--out FOLDER: elsewhere).
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

import numpy as np
import onnx

from edgeprune import bench, doctor, files, records
from edgeprune.doctor import rounding
from edgeprune.doctor.synthetic import Builder
from edgeprune.report import Column, Table

RESULTS = Path(__file__).parent / "results"
SIZE = 224
DENSE = (32, 64, 128, 128, 256, 256, 512, 512, 512, 512, 512, 512, 1024, 1024)
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
ROUNDED = ("free", "% 4", "% 8", "% 16")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    networks = {"dense": DENSE}
    for share in (0.4, 0.23):
        drawn = draw(share)
        networks |= {f"{share} {how}": rounded(drawn, how) for how in ROUNDED}
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i, widths in enumerate(networks.values()):
            paths.append(Path(folder) / f"{i}.onnx")
            onnx.save(mobilenet(widths), paths[-1])
        request = bench.Request(
            seconds=options.seconds, passes=options.passes, rounds=4 * options.passes, samples=32
        )
        result = bench.measure(
            paths, out=Path(folder) / "widths.json", device=options.device, request=request,
            names=list(networks),
        )  # fmt: skip
        said = explained(paths, list(networks)) if options.device == "cpu" else []
    write(result, networks, said, options.out)


def explained(paths: list[Path], names: list[str]) -> list[str]:
    """What the doctor finds most expensive in each network, in a line."""
    lines = []
    for case in doctor.examine(paths, names=names):
        found = doctor.findings(case)
        first = (
            f"{1e3 * found[0].seconds:.2f} ms, {found[0].kind}: {found[0].seen}"
            if found
            else "nothing"
        )
        lines.append(f"Doctor on {case.network.name}: {first}.")
    return lines


def draw(share: float) -> list[int]:
    """Odd widths at random whose network has about ``share`` of the dense one's MACs."""
    random = np.random.default_rng(0)
    parts = random.uniform(0.6, 1.4, len(DENSE))
    low, high = 0.1, 1.5
    for _ in range(40):  # bisect the common factor
        middle = (low + high) / 2
        widths = [
            min(d - 1, max(5, round(d * p * middle) | 1)) for d, p in zip(DENSE, parts, strict=True)
        ]
        low, high = (middle, high) if macs(widths) < share * macs(DENSE) else (low, middle)
    return [w | 1 for w in widths]


def rounded(widths: list[int], how: str) -> list[int]:
    """To the nearest multiple; for 4 and 8 not one of the next coarser grid too."""
    if how == "free":
        return list(widths)
    multiple = int(how.split()[1])
    found = []
    for w, dense in zip(widths, DENSE, strict=True):
        n = max(round(w / multiple), 1)
        if multiple < 16 and n % 2 == 0:
            n += 1 if n * multiple < w and (n + 1) * multiple < dense else -1
        found.append(min(max(n, 1) * multiple, dense))
    return found


def macs(widths: tuple[int, ...] | list[int]) -> int:
    side, total, before = SIZE // 2, (SIZE // 2) ** 2 * 27 * widths[0], widths[0]
    for width, stride in zip(widths[1:], STRIDES, strict=True):
        side //= stride
        total += side * side * before * (9 + width)
        before = width
    return total


def mobilenet(widths: tuple[int, ...] | list[int]) -> onnx.ModelProto:
    b = Builder()
    x = b.conv("stem", b.input("images", (1, 3, SIZE, SIZE)), 3, widths[0], stride=2)
    before = widths[0]
    for i, (width, stride) in enumerate(zip(widths[1:], STRIDES, strict=True), 1):
        x = b.conv(f"{i}.dw", x, before, before, stride=stride, groups=before)
        x = b.conv(f"{i}.pw", x, before, width, 1)
        before = width
    x = b.op("Flatten", "flat", [b.op("GlobalAveragePool", "gap", [x])])
    b.output(b.dense("classifier", x, before, 1000))
    return b.model()


def write(
    result: bench.Result,
    networks: dict[str, list[int] | tuple[int, ...]],
    said: list[str],
    out: Path,
) -> None:
    rows = []
    for name, found in zip(networks, result.networks, strict=True):
        promised = macs(DENSE) / macs(networks[name])
        interval = found.speedup_interval or [1.0, 1.0]
        rows.append(
            {
                "network": name,
                "flops": 1 / promised,
                "seconds": found.latency.median_s,
                "promised": promised,
                "speedup": found.speedup or 1.0,
                "low": interval[0],
                "high": interval[1],
                "realised": (found.speedup or 1.0) / promised,
                "widths": ",".join(map(str, networks[name])),
            }
        )
    environment = result.document["measured"]["environment"]
    cpu = environment["cpu"]["name"] or environment["system"]
    device = result.told.device
    auto = rounding.multiple(device)
    wanted = f"0.4 % {auto}" if auto > 1 else "0.4 free"
    reached = [f"{r['realised']:.2f} of the promise" for r in rows if r["network"] == wanted]
    columns = [
        Column("network", align="left"), Column("flops", "FLOPs", lambda v: f"{v:.3f}"),
        Column("seconds", "median, ms", lambda v: f"{v * 1e3:.2f}"),
        Column("promised", show=lambda v: f"{v:.2f}x"), Column("speedup", "came", lambda v: f"{v:.2f}x"),
        Column("low", "95 % from", lambda v: f"{v:.2f}"), Column("high", "to", lambda v: f"{v:.2f}"),
        Column("realised", show=lambda v: f"{v:.2f}"),
    ]  # fmt: skip
    load = result.document["measured"]["before"]["load"]
    notes = [
        f"{device}: {cpu}, 1 thread, batch 1, onnxruntime {environment['onnxruntime']}"
        + (f"; load {load[0]:.1f} on {environment['cpu']['cores']} cores before." if load else "."),
        f"--round-to auto is {auto} there, and reaches "
        f"{', '.join(reached) or 'not measured'} at 0.4.",
        *(f"{w.seen}: {w.cause}." for w in result.summary.warnings),
        *said,
    ]
    table = Table("MobileNetV1 at 224 pixels, cut by width", columns, rows, notes)
    print(table.text())
    stem = "widths-" + re.sub(r"[^A-Za-z0-9]+", "-", device).strip("-")
    files.write_text(out / f"{stem}.md", table.markdown() + "\n")
    files.write_json(
        out / f"{stem}.json",
        {
            "rows": rows,
            "environment": environment,
            "warnings": records.plain(result.summary.warnings),
        },
    )


if __name__ == "__main__":
    main()
