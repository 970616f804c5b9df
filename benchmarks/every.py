"""Every network of timm and torchvision: right, refused with a reason, or wrong?

    python benchmarks/every.py                 every name that results/every.jsonl lacks
    python benchmarks/every.py tv/raft_small   these, anew (tv/ = torchvision, else timm)
    python benchmarks/every.py table           only the table, from what is there

Of each group a random half of the channels leaves; the cut network is compared with the masked one in
float64, on all outputs, on a fresh input of another batch. Weights are random. Transformers of timm
(by the file that defines them) are listed apart and not run, as are those too large for the machine.
Resumable: a line a network.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import torch  # noqa: E402
import zoo  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from zoo_networks import SIZES, shake  # noqa: E402

from edgeprune import files  # noqa: E402
from edgeprune.errors import EdgepruneError  # noqa: E402
from edgeprune.graph import trace  # noqa: E402
from edgeprune.graph.inputs import call, flat, mapped  # noqa: E402
from edgeprune.prune import masked, narrow  # noqa: E402

RESULTS = HERE / "results"
MOST = 250e6  # parameters; more do not fit the machine four times in float64
EXACT = 1e-9  # of the outputs' scale
SINGLE = 1e-5  # where a forward writes float32, and the network runs in nothing else
NUDGE = (
    1e-15  # of each input, some roundings of float64, to see how far the masked network carries it
)
AMPLIFIED = 10.0  # so many times that is rounding, too
# timm's files whose networks are made of tokens; hybrids with convolutional stages are run.
TRANSFORMERS = """
beit cait convit crossvit davit deepseek_vit deit eva gcvit gemma4_vit hiera hieradet_sam2 maxxvit
mlp_mixer mvitv2 naflexvit nest pit pvt_v2 qwen3_vit sequencer swin_transformer swin_transformer_v2
swin_transformer_v2_cr tiny_vit tnt twins vision_transformer vision_transformer_hybrid
vision_transformer_relpos vision_transformer_sam vitamin volo xcit
""".split()
PIXELS = (64, 128, 224, 256, 299, 384)  # the first at which its forward runs


def names() -> list[str]:
    """timm's networks with convolutions, small families mixed; then torchvision's of every task."""
    import timm
    from torchvision import models

    return [
        *(n for n in timm.list_models() if file_of(n) not in TRANSFORMERS),
        *(f"tv/{n}" for n in models.list_models()),
    ]


def file_of(name: str) -> str:
    import timm

    return str(timm.models.model_entrypoint(name).__module__).rpartition(".")[2]


def network(name: str) -> tuple[nn.Module, list[Any]]:
    """The network, and the examples to try: each what to trace with, and what to compare on."""
    torch.manual_seed(0)
    if not name.startswith("tv/"):
        import timm

        net = timm.create_model(name, pretrained=False)
        sizes = [SIZES[name]] if name in SIZES else [*PIXELS]
        own = net.default_cfg.get("input_size", (3, 0, 0))
        if own[1] not in sizes:
            sizes.append(own[1])
        return net, [pair((own[0], n, n)) for n in sizes if n]
    from torchvision import models

    words = {"weights": None}
    task = models.get_model_builder(name[3:]).__module__.split(".")[2]
    if task in ("segmentation", "detection"):
        words["weights_backbone"] = None
    if name[3:] in ("googlenet", "inception_v3"):
        words["init_weights"] = False  # type: ignore[assignment]
    net = models.get_model(name[3:], **words)
    if task == "video":
        return net, [pair((3, frames, n, n)) for frames in (8, 16) for n in (64, 112, 224)]
    if task == "optical_flow":
        two = zip(pair((3, 128, 128)), pair((3, 128, 128), seed=5), strict=True)
        return net, [tuple(two)]
    return net, [pair((3, n, n)) for n in PIXELS]


def pair(shape: tuple[int, ...], seed: int = 2) -> tuple[Tensor, Tensor]:
    """Two examples to trace with and three to compare on."""
    random = torch.Generator().manual_seed(seed)
    return (
        torch.randn(2, *shape, generator=random, dtype=torch.float64),
        torch.randn(3, *shape, generator=random, dtype=torch.float64),
    )


def runs(net: nn.Module, example: Any) -> bool:
    try:
        call(net, example)
    except Exception:  # another size, then
        return False
    return True


@torch.no_grad()
def look(name: str) -> dict[str, Any]:
    """One network: its verdict, and how long trace and cut took."""
    net, tries = network(name)
    count = zoo.count(net)
    row: dict[str, Any] = {"parameters": count}
    if count > MOST:
        return row | {"verdict": "too large"}
    net, exact = shake(net.double().eval()), EXACT
    if not any(runs(net, two[1]) for two in tries):  # a type is written in its forward
        net, exact = net.float(), SINGLE
        tries = [mapped(two, Tensor.float) for two in tries]
    example, fresh = next((two for two in tries if runs(net, two[1])), tries[-1])
    started = time.process_time()
    try:
        graph = trace(net, example)
        keep = zoo.keep_some(graph, 0.5)
        small = narrow(graph, keep)
    except EdgepruneError as e:
        return row | {"verdict": "refused", "why": str(e)}
    row["seconds"] = time.process_time() - started
    expected, got = flat(masked(graph, keep)(fresh)), flat(call(small.model, fresh))
    error, noise = difference(got, expected), 0.0
    if error > exact:  # some random networks carry a rounding of the input further than that
        nudged = mapped(fresh, lambda t: t * (1 + NUDGE))
        noise = difference(flat(masked(graph, keep)(nudged)), expected)
    return row | {
        "verdict": "right" if error <= max(exact, AMPLIFIED * noise) else "wrong",
        "type": str(flat(example)[0].dtype).removeprefix("torch."),
        "error": error,
        "noise": noise,
        "kind": small.kind,
        "groups": len(graph.groups),
        "share": zoo.share(net, zoo.touched(graph)),
        "left": zoo.count(small.model) / count,
        "pixels": [list(t.shape[1:]) for t in flat(example)],
    }


def difference(got: list[Tensor], expected: list[Tensor]) -> float:
    """The largest difference of any output, relative to the largest value of that output."""
    return max(
        float((a - b).abs().max() / b.abs().max().clamp(min=1e-30))
        for a, b in zip(got, expected, strict=True)
    )


def main() -> None:
    torch.set_num_threads(1)
    asked = sys.argv[1:]
    if asked != ["table"]:
        seen = {row["network"]: row for row in known() if row["network"] not in asked}
        zoo.warm_up()
        at = {"commit": zoo.commit()}
        for name in (n for n in asked or names() if n not in seen):
            row = {"network": name} | zoo.apart(look, name) | at
            files.append_line(RESULTS / "every.jsonl", zoo.finite(row))
            print(name, row.get("verdict"), row.get("why", row.get("crashed", "")), flush=True)
    write_table()


def known() -> list[dict[str, Any]]:
    """The newest row of each network."""
    path = RESULTS / "every.jsonl"
    rows = files.read_lines(path) if path.exists() else []
    return list({row["network"]: row for row in rows}.values())


def write_table() -> None:
    import timm

    rows = known()
    every = names()
    missing = sorted(set(every) - {r["network"] for r in rows})
    left_out = sorted(n for n in timm.list_models() if file_of(n) in TRANSFORMERS)
    sets = {
        "timm": [r for r in rows if not r["network"].startswith("tv/")],
        "torchvision": [r for r in rows if r["network"].startswith("tv/")],
    }
    lines = [
        f"| {name} | {len(some)} | {_count(some, 'right')} | {sum(_nothing(r) for r in some)} | "
        f"{_count(some, 'refused')} | {_count(some, 'wrong')} | {sum('crashed' in r for r in some)} | "
        f"{_count(some, 'too large')} | {_share(some, 0.95)} | "
        f"{sum(r.get('kind') == 'module' for r in some)} |"
        for name, some in sets.items()
    ]
    seconds = sorted(r["seconds"] for r in rows if "seconds" in r) or [0.0]
    parts = [
        "# Every network of timm and torchvision",
        "Made by `python benchmarks/every.py`; commit "
        + ", ".join(sorted({f"`{r['commit']}`" for r in rows}))
        + f".\nMachine: {zoo.machine()}.",
        "Of each group a random half of the channels leaves; cut = masked in float64 on all outputs, on a "
        "fresh input of another batch, to 1e-9 (or ten times what the masked network itself makes of an "
        "input that is 1e-15 larger; 1e-5 in float32, where a forward writes that type: "
        + (", ".join(r["network"] for r in rows if r.get("noise") and _is(r, "right")) or "none")
        + "). *nothing leaves*: right, but every channel is pinned. "
        f"Missing: {len(missing)}. Seconds of trace and cut (CPU): median "
        f"{seconds[len(seconds) // 2]:.2f}, most {seconds[-1]:.1f}.",
        "| | run | right | of these nothing leaves | refused | wrong | failed | too large | share of "
        "parameters >= 95 % | own class |\n| --- " + "| --- " * 9 + "|\n" + "\n".join(lines),
        *_list("Wrong", [f"{r['network']}: {r['error']:.0e}" for r in rows if _is(r, "wrong")]),
        *_list("Failed", [f"{r['network']}: {r['crashed']}" for r in rows if "crashed" in r]),
        *_list("Refused", [f"{r['network']}: {r['why']}" for r in rows if _is(r, "refused")]),
        *_list("Right, and nothing can leave", [r["network"] for r in rows if _nothing(r)]),
        *_list(f"Too large (over {MOST / 1e6:.0f} million parameters)", [
            f"{r['network']}: {r['parameters'] / 1e6:.0f}" for r in rows if _is(r, "too large")]),
        *_list("Not run: transformers of timm", [", ".join(left_out)]),
        *(_list("Not run yet", [", ".join(missing)]) if missing else []),
        "## Right\n\n| network | input | M | share | left | kind | error | s |\n" + "| --- " * 8 + "|\n"
        + "\n".join(_line(r) for r in rows if _is(r, "right")),
    ]  # fmt: skip
    files.write_text(RESULTS / "every.md", "\n\n".join(parts) + "\n")


def _is(row: dict[str, Any], verdict: str) -> bool:
    return bool(row.get("verdict") == verdict)


def _count(rows: list[dict[str, Any]], verdict: str) -> int:
    return sum(_is(r, verdict) for r in rows)


def _nothing(row: dict[str, Any]) -> bool:
    return _is(row, "right") and row["groups"] == 0


def _share(rows: list[dict[str, Any]], least: float) -> int:
    return sum(_is(r, "right") and r["share"] >= least for r in rows)


def _line(r: dict[str, Any]) -> str:
    shape = ", ".join("x".join(map(str, s)) for s in r["pixels"])
    return (
        f"| {r['network']} | {shape} | {r['parameters'] / 1e6:.1f} | {100 * r['share']:.0f} | "
        f"{100 * r['left']:.0f} | {r['kind']} | {r['error']:.0e} | {r['seconds']:.2f} |"
    )


def _list(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {line}" for line in lines) or "Nothing."]


if __name__ == "__main__":
    main()
