"""Is the cut exact on networks that are no classifiers of images? (108 networks, all outputs)

    python benchmarks/beyond.py              every network that results/beyond.jsonl lacks
    python benchmarks/beyond.py NAME ...     these, anew
    python benchmarks/beyond.py table        only the table, from what is there

Random float64 weights with shaken statistics. Half of each group of channels is cut at random and the
result compared with the masked network on a fresh batch of 3: every output, integers to the number.
Appends a line a network to ``results/beyond.jsonl`` and writes ``results/beyond.md``; each network
runs in a process of its own. What wants a package that is not there (``pip install --no-deps ultralytics
segmentation-models-pytorch facenet-pytorch``) is left out and said.
"""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import beyond_networks as images  # noqa: E402
import beyond_others as others  # noqa: E402
import cases_networks as cases  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from zoo import apart, commit, count, keep_some, said, share, touched  # noqa: E402
from zoo_networks import shake  # noqa: E402

from edgeprune import files  # noqa: E402
from edgeprune.errors import EdgepruneError  # noqa: E402
from edgeprune.graph import trace  # noqa: E402
from edgeprune.graph.inputs import Example, call, flat, mapped  # noqa: E402
from edgeprune.prune import masked, narrow  # noqa: E402

RESULTS = HERE / "results"
EXACT = {torch.float64: 1e-9, torch.float32: 1e-4}  # of the largest value of an output
FRESH = 3  # the fresh batch; traced with 2


@dataclass(frozen=True)
class Network:
    """A row: how the network is built, and the shapes of one example, in a nest as its forward takes it."""

    name: str
    build: Callable[[], nn.Module]
    takes: Any  # a nest of what `shapes` gives, and `WORD`
    package: str = ""  # that it wants
    dtype: torch.dtype = torch.float64


def shapes(*sizes: int) -> Tensor:
    """The sizes of one example, as the nest's leaf."""
    return torch.tensor(sizes)


WORD = torch.tensor([-1])  # the leaf of one integer below 5
RGB = (3, 64, 64)


def square(name: str, build: Callable[[], nn.Module], *sizes: int, package: str = "") -> Network:
    return Network(name, build, shapes(*(sizes or RGB)), package)


# -- where they come from --------------------------------------------------------------------------


def yolo(name: str, kind: str = "Detection") -> Network:
    def build() -> nn.Module:
        from ultralytics.nn import tasks

        net: nn.Module = getattr(tasks, f"{kind}Model")(f"{name}.yaml", verbose=False)
        return net

    return square(name, build, package="ultralytics")


def smp(name: str, size: int = 64) -> Network:
    def build() -> nn.Module:
        import segmentation_models_pytorch

        kind = getattr(segmentation_models_pytorch, name)
        net: nn.Module = kind("resnet18", encoder_weights=None, classes=5)
        return net

    return square(f"smp {name}", build, 3, size, size, package="segmentation_models_pytorch")


def mtcnn(name: str, size: int) -> Network:
    def build() -> nn.Module:
        from facenet_pytorch.models import mtcnn as nets

        net: nn.Module = getattr(nets, name)(pretrained=False)
        return net

    return square(f"MTCNN {name}", build, 3, size, size, package="facenet_pytorch")


def timm(name: str, size: int = 64, **words: Any) -> Network:
    def build() -> nn.Module:
        from timm import create_model

        net: nn.Module = create_model(name, pretrained=False, **words)
        return net

    return square(f"timm {name}{' features' if words else ''}", build, 3, size, size)


def torchvision(where: str, name: str, *sizes: int, bare: bool = False, **words: Any) -> Network:
    def build() -> nn.Module:
        from torchvision import models

        build = getattr(getattr(models, where), name)
        if where != "video":
            words["weights_backbone"] = None
        net: nn.Module = build(weights=None, **words)
        return others.BackboneAndHead(net) if bare else net

    return square(f"{name}{', backbone and head' if bare else ''}", build, *sizes)


def quantised(how: str, name: str) -> Network:
    return square(name, lambda: others.quantised(how), 3, 16, 16)


PAIR = (shapes(3, 32, 32), shapes(5))
NETWORKS = (
    *(
        yolo(n)
        for n in "yolov5n yolov8n yolov9t yolov10n yolo11n yolo12n yolo26n yolov3-tiny".split()
    ),
    yolo("yolov8n-seg", "Segmentation"),
    yolo("yolo11n-seg", "Segmentation"),
    yolo("yolov8n-obb", "OBB"),
    yolo("yolov8n-pose", "Pose"),
    torchvision("segmentation", "fcn_resnet50"),
    torchvision("segmentation", "deeplabv3_mobilenet_v3_large"),
    torchvision("segmentation", "lraspp_mobilenet_v3_large"),
    *(
        smp(n)
        for n in "Unet UnetPlusPlus FPN Linknet DeepLabV3Plus MAnet Segformer UPerNet".split()
    ),
    smp("PAN", 128),
    torchvision("detection", "ssdlite320_mobilenet_v3_large", 3, 128, 128, bare=True),
    torchvision("detection", "retinanet_resnet50_fpn", bare=True),
    torchvision("detection", "fcos_resnet50_fpn", bare=True),
    torchvision("detection", "fasterrcnn_mobilenet_v3_large_fpn", bare=True),
    torchvision("video", "r3d_18", 3, 4, 32, 32),
    torchvision("video", "r2plus1d_18", 3, 4, 32, 32),
    torchvision("video", "mc3_18", 3, 4, 32, 32),
    Network("RAFT, small", others.Flow, [shapes(3, 128, 128)] * 2, dtype=torch.float32),
    square("X3D", others.X3D, 3, 4, 32, 32),
    square("V-Net", others.VNet, 1, 8, 16, 16),
    square("temporal shift", others.TemporalShift, 4, 3, 32, 32),
    square("CNN and LSTM over frames", others.FramesLSTM, 4, 3, 32, 32),
    square("PointNet", others.PointNet, 3, 40),
    square("U-Net", cases.UNet),
    square("ESPCN", cases.espcn, 1, 24, 24),
    square("EDSR", images.EDSR, 3, 24, 24),
    square("RCAN", images.RCAN, 3, 24, 24),
    square("DnCNN", images.DnCNN, 1, 32, 32),
    square("depth, four outputs", images.Depth),
    square("pose heat maps", images.PoseMaps),
    square("hourglass", images.Hourglass),
    square("autoencoder", cases.autoencoder, 1, 32, 32),
    square("DCGAN", images.dcgan, 32, 1, 1),
    square("pix2pix", images.Pix2Pix),
    square("PatchGAN, spectral norm", images.patch_gan),
    square("style transfer, instance norm", images.Style),
    Network("AdaIN", images.AdaIN, [shapes(3, 32, 32)] * 2),
    Network("diffusion U-Net", images.Diffusion, [shapes(3, 32, 32), WORD, WORD]),
    square("VAE", images.VAE, 3, 32, 32),
    square("VQ-VAE", images.VQVAE, 3, 32, 32),
    square("SegNet, max_unpool", images.SegNet),
    square("PSPNet", images.PSPNet),
    square("attention U-Net", images.AttentionUNet, 1, 32, 32),
    square("CenterNet, topk and gather", images.CenterNet),
    square("BiFPN", images.BiFPN),
    square("YOLOX", images.YOLOX),
    square("FaceBoxes, SSD", images.FaceBoxes),
    square("DBNet", images.DBNet),
    square("MobileFaceNet", images.MobileFace),
    square("spatial transformer, CoordConv", images.Transformed, 3, 32, 32),
    square("duelling DQN", images.Duelling, 4, 84, 84),
    mtcnn("PNet", 24),
    mtcnn("RNet", 24),
    mtcnn("ONet", 48),
    square("DS-CNN", cases.dscnn, 1, 49, 10),
    square("keywords, stft inside", others.KeywordSTFT, 4000),
    square("ECG ResNet, 1-D", cases.ecg, 12, 1000),
    square("TCN, weight norm", others.TCN, 6, 60),
    square("WaveNet", others.WaveNet, 1, 80),
    square("Conv-TasNet", others.ConvTasNet, 1, 800),
    square("ECAPA-TDNN", others.ECAPA, 20, 50),
    square("CRNN, LSTM", cases.CRNN, 1, 32, 48),
    square("CRNN, GRU", others.CRNNGRU, 1, 16, 30),
    Network("siamese", cases.Siamese, {"left": shapes(3, 32, 32), "right": shapes(3, 32, 32)}),
    Network("a tuple of arguments", others.Pair, PAIR),
    Network("a list as argument", others.Views, ([shapes(3, 32, 32)] * 3,)),
    Network("a dict as argument", others.Batch, ({"image": PAIR[0], "numbers": PAIR[1]},)),
    square("create_feature_extractor", cases.Features),
    timm("hrnet_w18_small", features_only=True),
    timm("mobilevit_xxs", 128),
    timm("efficientformer_l1", 224),
    timm("efficientformerv2_s0", 224),
    timm("mobilenetv4_hybrid_medium", 256),
    timm("tiny_vit_5m_224", 224),
    timm("shvit_s1", 224),
    timm("efficientvit_b0"),
    timm("efficientvit_m0", 224),
    timm("swiftformer_xs", 224),
    timm("fastvit_t8"),
    timm("repvit_m0_9"),
    timm("mobileone_s0"),
    timm("lcnet_050"),
    timm("ghostnetv2_100"),
    timm("starnet_s1"),
    timm("hgnetv2_b0"),
    timm("mobilenetv4_conv_small"),
    timm("levit_128s", 224),
    square("deformable convolution", others.Deformable, 3, 32, 32),
    square("ConvLSTM", others.ConvLSTM, 3, 3, 16, 16),
    Network("StyleGAN2, modulated", others.Modulated, [shapes(3, 16, 16), shapes(16)]),
    square("FFC, in the spectrum", others.Fourier, 3, 32, 32),
    quantised("int8", "torch.ao int8"),
    quantised("qat", "torch.ao, trained for int8"),
    quantised("observed", "torch.ao, observed"),
)


# -- one network ------------------------------------------------------------------------------------


@dataclass
class Seconds:
    """CPU seconds since the last question."""

    then: float = field(default_factory=time.process_time)

    def passed(self) -> float:
        now = time.process_time()
        self.then, passed = now, now - self.then
        return passed


def example(network: Network, batch: int, seed: int, longer: int = 0) -> Example:
    """Noise (integers for words); ``longer``: added to every last axis of three or more."""
    random = torch.Generator().manual_seed(seed)

    def leaf(sizes: Tensor) -> Tensor:
        if sizes is WORD:
            return torch.randint(0, 5, (batch,), generator=random)
        shape = sizes.tolist()
        if len(shape) > 2:
            shape[-1] += longer
        return torch.randn(batch, *shape, generator=random, dtype=network.dtype)

    return mapped(network.takes, leaf)


def measured(name: str) -> dict[str, Any]:
    """``error``: cut against masked; ``recorded``: the graph against the network, nothing cut; ``wider``:
    cut against masked on a wider example, where the recording is open; ``share``: of all
    parameters, those that a unit that can leave touches; ``power``: what the mask changed at all."""
    network = next(n for n in NETWORKS if n.name == name)
    torch.manual_seed(0)
    net = shake(network.build().double().eval()).to(network.dtype)
    clock, row = Seconds(), {"least": EXACT[network.dtype]}
    try:
        graph = trace(net, example(network, 2, 2))
        row["trace_s"] = clock.passed()
        keep = keep_some(graph, 0.5)
        small = narrow(graph, keep)
        row["cut_s"] = clock.passed()
    except EdgepruneError as e:
        return row | {"refused": str(e)}
    row |= {
        "groups": len(graph.groups),
        "kind": small.kind,
        "reason": str(small.model.edgeprune_reason),
        "share": share(net, touched(graph)),
        "left": count(small.model) / count(net),
        "pinned": sorted({f"{r.operator}: {r.reason}" for r in graph.refusals}),
        "frozen": sorted(set(graph.frozen.values())),
    }
    x, reference = example(network, FRESH, 3), masked(graph, keep)
    with torch.no_grad():
        whole, expected = call(net, x), reference(x)
        row["error"] = difference(call(small.model, x), expected)
        row["recorded"] = difference(call(graph.module, x), whole)
        row["power"] = difference(whole, expected)
        if not graph.frozen:
            row["wider"] = wider(network, small.model, reference)
    return row


def wider(network: Network, small: nn.Module, reference: Callable[[Example], Any]) -> float | str:
    """On examples that are 32 wider."""
    x = example(network, FRESH, 4, longer=32)
    try:
        expected = reference(x)
    except Exception as e:
        return said(e)  # where a multiple of something is wanted
    return difference(call(small, x), expected)


def difference(got: Any, expected: Any) -> float:
    """The largest of any output, of its largest value; any other integer, type, shape: 1."""
    found = [0.0]
    for a, b in zip(flat(got), flat(expected), strict=True):
        if a.dtype != b.dtype or a.shape != b.shape:
            return 1.0
        if not (b.is_floating_point() or b.is_complex()):
            found.append(float(not torch.equal(a, b)))
        elif b.numel():
            found.append(float((a - b).abs().max() / b.abs().max().clamp_min(1e-300)))
    return max(found) if all(e == e for e in found) else 1.0


# -- all of them ------------------------------------------------------------------------------------


def verdict(row: dict[str, Any]) -> str:
    """``exact``, ``wrong``, ``refused``, ``nothing can leave``, ``failed``, or ``left out``."""
    if "missing" in row:
        return "left out"
    if "crashed" in row:
        return "failed"
    if "refused" in row:
        return "refused"
    if not row["groups"]:
        return "nothing can leave"
    sizes = row.get("wider", 0.0)
    worst = max(row["error"], row["recorded"], sizes if isinstance(sizes, float) else 0.0)
    return "exact" if worst < row["least"] < row["power"] else "wrong"


def why(row: dict[str, Any]) -> str:
    """What is to be said of it."""
    if "missing" in row:
        return f"{row['missing']} is not installed"
    told = row.get("refused") or row.get("crashed")
    if told:
        return str(told)
    said = [f"held: {'; '.join(reasons)}"] if (reasons := notable(row["pinned"])) else []
    if row["kind"] == "graph":
        said.append(f"a graph: {row['reason']}")
    if row["frozen"]:
        said.append(f"one size: {'; '.join(row['frozen'])}")
    return ". ".join(said)


def notable(reasons: list[str]) -> list[str]:
    return [r for r in reasons if not r.startswith("output:")]


HEAD = """# Networks beyond classifiers

{count} networks of other tasks, with other inputs, outputs and operators (`benchmarks/beyond.py`): random
weights, statistics shaken, half of each group of channels cut at random. Exact: on a fresh batch of 3 every
output of the cut network is that of the masked one (integers to the number, float64 to 1e-9 of the
largest; worst {worst:.1e}), the recording is the network, and where width is open the same on a wider
example. RAFT, whose forward makes float32, to 1e-4 in float32. Reach: share of the parameters that a unit
that can leave touches; left: of all. Class: whether the cut network is still the user's own class.
Seconds: CPU, record and cut, one thread.

**{exact} exact, {wrong} wrong, {refused} refused, {nothing} where nothing can leave, {failed} failed,
{left} left out.**
Median {median:.2f} s, slowest {slowest:.2f} s. Commit {commit}.

| network | verdict | reach | left | class | seconds | what is held, or why |
| --- | --- | ---: | ---: | --- | ---: | --- |
"""


def write_table(path: Path, rows: dict[str, dict[str, Any]]) -> None:
    here = [rows[n.name] for n in NETWORKS if n.name in rows]
    found = [verdict(r) for r in here]
    seconds = sorted(r["trace_s"] + r["cut_s"] for r in here if "cut_s" in r) or [0.0]
    commits = sorted({str(r["commit"]) for r in here})
    errors = [r["error"] for r in here if verdict(r) == "exact" and r["least"] < 1e-6]
    text = HEAD.format(
        count=len(NETWORKS), worst=max(errors, default=0),
        exact=found.count("exact"), wrong=found.count("wrong"), refused=found.count("refused"),
        nothing=found.count("nothing can leave"), failed=found.count("failed"),
        left=found.count("left out") + len(NETWORKS) - len(here),
        median=seconds[len(seconds) // 2], slowest=seconds[-1], commit=", ".join(commits),
    )  # fmt: skip
    lines = [line(r) for r in here]
    files.write_text(path, text + "\n".join(lines) + "\n")


def line(row: dict[str, Any]) -> str:
    figures = ["", "", "", ""]
    if "cut_s" in row and "groups" in row:
        own = "own" if row["kind"] == "module" else "graph"
        figures = [
            f"{row['share']:.0%}",
            f"{row['left']:.0%}",
            own,
            f"{row['trace_s'] + row['cut_s']:.2f}",
        ]
    told = " ".join(why(row).replace("|", "/").split())
    cells = [
        row["network"],
        verdict(row),
        *figures,
        told if len(told) < 300 else told[:297] + "...",
    ]
    return f"| {' | '.join(cells)} |"


def known() -> dict[str, dict[str, Any]]:
    """The newest row of each network."""
    path = RESULTS / "beyond.jsonl"
    return {row["network"]: row for row in (files.read_lines(path) if path.exists() else [])}


def main() -> None:
    torch.set_num_threads(1)
    import torchvision as _  # noqa: F401  # once, for all processes

    asked, rows = sys.argv[1:], known()
    for network in NETWORKS if asked != ["table"] else ():
        if network.name in asked or (not asked and network.name not in rows):
            row = {"network": network.name, "commit": commit()}
            if network.package and importlib.util.find_spec(network.package) is None:
                row["missing"] = network.package
            else:
                row |= apart(measured, network.name)
                files.append_line(RESULTS / "beyond.jsonl", row)
            rows[network.name] = row
            print(
                f"{network.name}: {verdict(row)} {row.get('error', '')} {why(row)[:200]}",
                flush=True,
            )
    write_table(RESULTS / "beyond.md", rows)


if __name__ == "__main__":
    main()
