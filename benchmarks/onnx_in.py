"""Files of others through edgeprune: read, cut, pruned after training, exported, measured (ONNX in).

    python benchmarks/onnx_in.py FOLDER [NAME ...]   each file that onnx_in.jsonl lacks, or these
    python benchmarks/onnx_in.py table                      only the table, from what is there

    python benchmarks/onnx_in.py photos FILE.npy            the photos, for keras_files.py

FOLDER holds the three .onnx files of the wheel ``rapidocr-onnxruntime`` (pip download --no-deps, unzip), and
those of Keras that keras_files.py made, where there are any. The others are exported here by torch's two
exporters, from timm and torchvision; some bear ImageNet's weights out of EDGEPRUNE_HOME, the rest seeded
random ones with batch norm statistics of real images, whose agreement says little. Images:
imagenet-sample.zip there; for PP-OCR lines of print that are drawn here.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from edgeprune import files, models  # noqa: E402
from edgeprune.fetch import home  # noqa: E402
from edgeprune.graph import trace  # noqa: E402
from edgeprune.models.onnx import read  # noqa: E402
from edgeprune.prune import masked, narrow  # noqa: E402

RESULTS = HERE / "results"
WORDS = (
    "edge prune the quick brown fox jumps over lazy dog table seven green river stone paper light "
    "market winter number simple story copper window garden"
).split()
OCR = {"cls": (48, 192), "det": (96, 320), "rec": (48, 320)}

# name -> (network, opset, dynamo, open axes behind the batch, changed afterwards)
EXPORTED: dict[str, tuple[str, int, bool, bool, str]] = {
    "resnet18-13": ("torchvision/resnet18", 13, False, False, ""),
    "mobilenetv2-14": ("mobilenetv2", 14, False, False, ""),
    "squeezenet1_1-15": ("torchvision/squeezenet1_1", 15, False, False, ""),
    "shufflenet_v2-16": ("torchvision/shufflenet_v2_x0_5", 16, False, False, ""),
    "mobilenetv3_small-17": ("timm/mobilenetv3_small_050", 17, False, False, ""),
    "efficientnet_lite0-18": ("timm/tf_efficientnet_lite0", 18, True, False, ""),
    "regnetx_002-18-open": ("timm/regnetx_002", 18, True, True, ""),
    "ghostnet-19": ("timm/ghostnet_050", 19, True, False, ""),
    "repvgg_a0-20": ("timm/repvgg_a0", 20, True, False, ""),
    "mnasnet-20": ("timm/mnasnet_small", 20, True, False, ""),
    "googlenet-13-open": ("torchvision/googlenet", 13, False, True, ""),
    "mobilenetv2-16-fp16": ("mobilenetv2", 16, False, False, "half"),
    "mobilenetv2-17-external": ("mobilenetv2", 17, False, False, "external"),
}
SIDE = 64


# -- files -----------------------------------------------------------------------------------------


def network(name: str) -> tuple[nn.Module, bool]:
    """The network, and whether its weights are ImageNet's."""
    spec = models.ModelSpec(name, 1000, "original")
    net = models.fresh(spec, 0)
    try:
        source = models.find(spec, "imagenet")
        assert source is not None
        models.fill(net, spec, source)
        return net.eval(), True
    except Exception:  # not in the home folder, and no way to fetch them
        settle(net)
        return net.eval(), False


@torch.no_grad()
def settle(net: nn.Module) -> None:
    """Random filters, and the batch norms' statistics of real images: maps that vary as a trained
    network's do. (With other statistics they die out on the way, and nothing is left to prune by.)"""
    torch.manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # of all batches alike
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.eval()
    for x in photos().split(32):
        net(x)


def sample() -> Path:
    return home() / "data" / "imagenet-sample.zip"


def photos(n: int = 64) -> Tensor:
    """``n`` of the photos, [n, 3, SIDE, SIDE], normalised."""
    import zipfile

    from PIL import Image

    with zipfile.ZipFile(sample()) as z:
        names = [p for p in z.namelist() if p.lower().endswith((".jpg", ".jpeg", ".png"))][:n]
        images = [Image.open(z.open(p)).convert("RGB").resize((SIDE, SIDE)) for p in names]
    x = np.stack([np.asarray(image, np.float32) for image in images]) / 255
    return torch.from_numpy((x.transpose(0, 3, 1, 2) - 0.45) / 0.22)


def export(name: str, folder: Path) -> tuple[Path, bool]:
    model, opset, dynamo, open_axes, change = EXPORTED[name]
    net, real = network(model)
    path, x = folder / f"{name}.onnx", torch.randn(2, 3, SIDE, SIDE)
    if change == "half":
        net, x = net.half(), x.half()
    axes = {0: "N"} | ({2: "H", 3: "W"} if open_axes else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            torch.onnx.export(
                net, (x,), path, input_names=["image"], output_names=["scores"], dynamo=True,
                dynamic_shapes=(dict.fromkeys(axes, torch.export.Dim.DYNAMIC),), verbose=False,
                opset_version=opset, external_data=False,
            )  # fmt: skip
        else:
            torch.onnx.export(
                net, (x,), str(path), input_names=["image"], output_names=["scores"], dynamo=False,
                dynamic_axes={"image": axes, "scores": {0: "N"}}, opset_version=opset,
            )  # fmt: skip
    if change == "external":
        whole = onnx.load(path)
        path.unlink()
        onnx.save(
            whole, path, save_as_external_data=True, location=f"{name}.data", size_threshold=0
        )
    return path, real


def lines(n: int, size: tuple[int, int], seed: int = 0) -> tuple[Tensor, list[str]]:
    """``n`` lines of black print, [n, 3, H, W] in -1..1, and what stands in them."""
    from PIL import Image, ImageDraw, ImageFont

    rng, images, texts = np.random.default_rng(seed), [], []
    for _ in range(n):
        text = " ".join([*rng.choice(WORDS, 2), str(rng.integers(10, 999))])[: size[1] // 16]
        image = Image.new("RGB", (size[1], size[0]), "white")
        font = ImageFont.load_default(size=int(rng.integers(22, 30)))
        ImageDraw.Draw(image).text((6, int(rng.integers(4, 12))), text, fill="black", font=font)
        images.append((np.asarray(image, np.float32) / 255 - 0.5) / 0.5)
        texts.append(text)
    return torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()), texts


# -- one file --------------------------------------------------------------------------------------


def session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def runtime(path: Path, x: Tensor) -> Tensor:
    there = session(path)
    port = there.get_inputs()[0]
    given = x.numpy().astype(np.float16 if "16" in port.type else np.float32)
    return torch.from_numpy(there.run(None, {port.name: given})[0]).float()


def gap(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max())


@torch.no_grad()
def exactness(path: Path, x: Tensor) -> dict[str, Any]:
    """Original against imported, and cut against masked, relative to the largest output."""
    net = read(path)
    graph = trace(net, x[:2])
    rng = np.random.default_rng(0)
    keep = {
        name: sorted(rng.choice(g.width, max(1, g.width // 2), replace=False).tolist())
        for name, g in graph.groups.items()
    }
    small = narrow(graph, keep)
    return {
        "opset": net.interface.opset,
        "imported": gap(net(x), runtime(path, x)),
        "float32": gap(net(x), copy.deepcopy(net).double()(x.double())),
        "groups": len(graph.groups),
        "cut": gap(small.model(x), masked(graph, keep)(x)),
        "kind": small.kind,
    }


def edgeprune(folder: Path, words: list[str]) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", *words, "--json"], cwd=folder, capture_output=True,
        text=True, env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


def pruned(path: Path, folder: Path, images: str, size: int | None) -> dict[str, Any]:
    """Post-training to 0.7 of the FLOPs, exported, measured, as a user types it."""
    words = ["prune", "--post-training", "--model", str(path), "--images", images, "--name", "a"]
    words += ["--keep-flops", "0.7", "--limit", "128"]
    edgeprune(folder, words + (["--size", str(size)] if size else []))
    last = [json.loads(s) for s in (folder / "runs/a/history.jsonl").read_text().splitlines()][-1]
    written = edgeprune(folder, ["export", "a"])["networks"]
    bench = edgeprune(folder, ["bench", "a", "--rounds", "6", "--passes", "2", "--seconds", "0.3"])
    before, after = (
        onnx.load(path, load_external_data=False),
        onnx.load(folder / "runs/a/pruned.onnx"),
    )
    return {
        "agreement": last.get("agreement"),
        "variance_kept": last.get("variance_kept"),
        "exported": max(e["parity"]["difference"] for e in written.values()),
        "opset_back": written["pruned"]["opset"],
        "ports_back": ports(before) == ports(after),
        "milliseconds": [1e3 * n["latency"]["median_s"] for n in bench["networks"]],
        "speedup": bench["speedup"],
        "speedup_interval": bench["speedup_interval"],
    }


def ports(model: onnx.ModelProto) -> list[Any]:
    """Names and axes of inputs and outputs; the batch is always open afterwards."""
    held = {t.name for t in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in held]
    return [(v.name, open_axes(v)) for v in [*inputs, *model.graph.output]]


def open_axes(value: Any) -> list[int]:
    dims = list(value.type.tensor_type.shape.dim)[1:]
    return [i for i, d in enumerate(dims, 1) if d.dim_value <= 0]


def read_out(path: Path, x: Tensor) -> list[str]:
    """What the recogniser reads: the likeliest character of each place, without repeats and blanks."""
    known = {p.key: p.value for p in onnx.load(path).metadata_props}["character"].split("\n")
    best = runtime(path, x).argmax(2).numpy()
    characters = ["", *known, " "]
    return [
        "".join(characters[c] for i, c in enumerate(row) if c and (i == 0 or c != row[i - 1]))
        for row in best
    ]


def ocr(kind: str, given: Path, folder: Path) -> dict[str, Any]:
    path = next(p for p in sorted(given.glob("*.onnx")) if f"{kind}_infer" in p.name)
    x, texts = lines(160, OCR[kind])
    if kind == "cls":  # which tells whether a line stands on its head
        x[::2] = x[::2].flip(2, 3)
    np.save(folder / "x.npy", x.numpy())
    row = exactness(path, x[:3]) | {"real": True}
    row |= pruned(path, folder, "x.npy", None)
    if kind == "rec":
        fresh, texts = lines(40, OCR[kind], seed=1)
        before, after = (read_out(p, fresh) for p in (path, folder / "runs/a/pruned.onnx"))
        row["read"] = {
            "lines": len(texts),
            "right_before": sum(a == b for a, b in zip(before, texts, strict=True)),
            "right_after": sum(a == b for a, b in zip(after, texts, strict=True)),
            "same": sum(a == b for a, b in zip(before, after, strict=True)),
            "examples": list(zip(texts, before, after, strict=True))[:5],
        }
    return row


def exported(name: str, folder: Path) -> dict[str, Any]:
    path, real = export(name, folder)
    row = exactness(path, photos(3)) | {"real": real}
    return row | pruned(path, folder, str(sample()), SIDE)


def keras(path: Path, folder: Path) -> dict[str, Any]:
    """A file of keras_files.py; it takes no photo where the channels come last."""
    x = photos(3)
    row = exactness(path, x if "nhwc" not in path.name else x.permute(0, 2, 3, 1)) | {"real": False}
    if "nhwc" not in path.name:
        return row | pruned(path, folder, str(sample()), SIDE)
    np.save(folder / "x.npy", photos(160).numpy().transpose(0, 2, 3, 1))
    return row | pruned(path, folder, "x.npy", None)


# -- all of them -----------------------------------------------------------------------------------


def main(words: list[str]) -> None:
    if words[:1] == ["table"]:
        table()
        return
    if words[:1] == ["photos"]:
        np.save(words[1], photos().numpy().transpose(0, 2, 3, 1))
        return
    given = Path(words[0]).resolve()
    makers: dict[str, Callable[[Path], dict[str, Any]]] = {
        **{f"PP-OCR {k}": (lambda f, k=k: ocr(k, given, f)) for k in OCR},
        **{n: (lambda f, n=n: exported(n, f)) for n in EXPORTED},
        **{p.stem: (lambda f, p=p: keras(p, f)) for p in sorted(given.glob("keras_*.onnx"))},
    }
    there = {row["name"] for row in rows()}
    for name, make in makers.items():
        if name not in words[1:] and (name in there or len(words) > 1):
            continue
        with tempfile.TemporaryDirectory(prefix="edgeprune-onnx-") as folder:
            try:
                row = make(Path(folder))
            except Exception as e:
                row = {"failed": f"{type(e).__name__}: {e}"[:300]}
        files.append_line(RESULTS / "onnx_in.jsonl", {"name": name} | row)
        print(name, row, flush=True)
        table()


def rows() -> list[dict[str, Any]]:
    """The last line of each file."""
    path = RESULTS / "onnx_in.jsonl"
    found = files.read_lines(path) if path.is_file() else []
    return list({row["name"]: row for row in found}.values())


def table() -> None:
    said = [
        "# .onnx files of others: read, cut, pruned without labels, exported again", "",
        "`python benchmarks/onnx_in.py FOLDER`. *imported*: the file in onnxruntime against the module, "
        "relative to the largest output; *float32*: the module in float32 against itself in float64, what "
        "rounding alone is; *cut*: half of each group at random against masking (float32); "
        "*exported*: the worst of dense.onnx and pruned.onnx against torch. Then 0.7 of the FLOPs by "
        "`--post-training` on 128 images (of 160 drawn lines for PP-OCR): *kept* is the outputs' variance on "
        "held-out ones. *back*: names and open axes of inputs and outputs are the file's; the opset is "
        "beside it.", "",
        "| file | weights | opset | imported | float32 | groups | cut | exported | same answer | kept | "
        "speed-up (promised 1.4) | back |",
        "| :-- | :-- | --: | --: | --: | --: | --: | --: | --: | --: | :-- | :-- |",
    ]  # fmt: skip
    for r in rows():
        if "failed" in r:
            said.append(f"| {r['name']} | | | {r['failed']} | | | | | | | | |")
            continue
        same = "–" if r["agreement"] is None else f"{100 * r['agreement']:.0f} %"
        said.append(
            f"| {r['name']} | {'real' if r['real'] else 'random'} | {r['opset']} | {r['imported']:.1e} | "
            f"{r['float32']:.1e} | "
            f"{r['groups']} | {r['cut']:.1e} | {r['exported']:.1e} | {same} | "
            f"{100 * r['variance_kept']:.1f} % | {speed(r)} | "
            f"{'as it was' if r['ports_back'] else 'fewer axes open'}, opset {r['opset_back']} |"
        )
    read_by = [r for r in rows() if r.get("read")]
    for r in read_by:
        told = r["read"]
        said += [
            "", f"Of {told['lines']} fresh lines of print the recogniser reads {told['right_before']} right "
            f"before and {told['right_after']} after; {told['same']} the same.", "",
            "| drawn | before | after |", "| :-- | :-- | :-- |",
            *(f"| {a} | {b} | {c} |" for a, b, c in told["examples"]),
        ]  # fmt: skip
    files.write_text(RESULTS / "onnx_in.md", "\n".join(said) + "\n")


def speed(row: dict[str, Any]) -> str:
    low, high = row["speedup_interval"]
    return f"{row['speedup']:.2f}x ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    main(sys.argv[1:])
