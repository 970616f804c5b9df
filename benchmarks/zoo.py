"""Is the cut exact on real networks, and what does it cost, beside torch-pruning? (issue: the zoo)

    python benchmarks/zoo.py                     every network that results/zoo.jsonl lacks
    python benchmarks/zoo.py tv/vgg16 mixnet_s   these, anew (tv/ = torchvision, else timm)
    python benchmarks/zoo.py again LABEL [N/M]   edgeprune anew on every network, and torch-pruning beside it
                                                 where it was right; rows that bear LABEL already stay (of M
                                                 parts the Nth, from 0, for as many processes at a time)
    python benchmarks/zoo.py large               ten large networks at 224 px: results/zoo_large.md
    python benchmarks/zoo.py table               only the table, from what is there

Appends a line a network to ``results/zoo.jsonl`` and writes ``results/zoo.md``. Both tools get the
same float64 network with random weights and statistics and drop half of the channels of each group at
random, each in a process of its own, in turns who is first. See :func:`ours` and :func:`peer`.
"""

from __future__ import annotations

import copy
import multiprocessing
import os
import platform
import resource
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from zoo_networks import DEVELOPMENT, FURTHER, HELD_OUT, build, every_name, family, size_of  # noqa: E402
from zoo_table import peer_verdict, write_table  # noqa: E402

from edgeprune import files  # noqa: E402
from edgeprune.graph import Graph, cost, trace  # noqa: E402
from edgeprune.prune import Keep, compose, masked, narrow  # noqa: E402

RESULTS = HERE / "results"
PEER_LIMIT = 60  # CPU seconds for the peer's trace + cut
WALL_LIMIT = 900  # seconds a network and tool, whatever hangs
MEMORY = 16 * 2**30  # bytes of address space a process
FRESH = 3  # the fresh input's batch; traced with 2


# -- ours ------------------------------------------------------------------------------------------


def ours(name: str) -> dict[str, Any]:
    """One network through edgeprune. Errors are relative to the largest logit, on a fresh input.

    ``f64``, ``f32``: cut against masked (test A); ``judge``: against zeroed parameters (test B);
    ``rounding``: the masked network in float32 against itself in float64, what float32 can tell;
    ``noise``: what 1e-7 of noise on the input does to the uncut network in float64;
    ``power``: the uncut against the masked network; ``share``: of all parameters, those that a
    droppable unit touches. Seconds are CPU seconds.
    """
    net, size = build(name), size_of(name)
    example, x = images(2, size, 2), images(FRESH, size, 3)
    started = time.process_time()
    graph = trace(net, example)
    traced = time.process_time()
    keep = keep_some(graph, 0.5)
    small = narrow(graph, keep)
    done = time.process_time()
    promised = cost(graph, {group: len(units) for group, units in keep.items()})
    row: dict[str, Any] = {
        "f32": None,
        "rounding": None,
        "backward": None,
        "parameters": count(net),
        "left": count(small.model) / count(net),
        "groups": len(graph.groups),
        "units": sum(g.width for g in graph.groups.values()),
        "share": share(net, touched(graph)),
        "kind": small.kind,
        "reason": str(small.model.edgeprune_reason),
        "refused": sorted({f"{r.operator}: {r.reason}" for r in graph.refusals}),
        "trace_s": traced - started,
        "cut_s": done - traced,
        "cost": promised == cost(small),
    }
    with torch.no_grad():
        expected, whole = masked(graph, keep)(x), net(x)
        row["f64"] = relative(small.model(x), expected)
        row["power"] = relative(whole, expected) if graph.groups else None
        nudged = net(x + 1e-7 * images(FRESH, size, 4))
        row["noise"] = relative(nudged, whole)
        step(row, "judge", lambda: judge(net, small.model, x))
        step(row, "twice", lambda: cut_again(graph, keep, small, x))
    if row["share"] < 0.95 and any("over channels" in reason for reason in row["refused"]):
        step(row, "exact_norms", lambda: with_exact_norms(net, example, x))
    net.float()
    step(row, "float32", lambda: in_float32(row, net, graph, small, keep, x, expected))
    return row


def step(row: dict[str, Any], name: str, do: Callable[[], Any]) -> None:
    """``row[name]``, or why there is none in ``row["failed"][name]``."""
    try:
        row[name] = do()
    except Exception as e:
        row[name] = None
        row.setdefault("failed", {})[name] = said(e)


@torch.no_grad()
def with_exact_norms(net: nn.Module, example: Tensor, x: Tensor) -> dict[str, Any]:
    """Once more with the norms written out, so that what they count can leave (float64)."""
    started = time.process_time()
    graph = trace(net, example, exact_norms=True)
    keep = keep_some(graph, 0.5)
    small = narrow(graph, keep)
    row: dict[str, Any] = {"seconds": time.process_time() - started}
    row["share"] = share(net, touched(graph))
    row["f64"] = relative(small.model(x), masked(graph, keep)(x))
    step(row, "judge", lambda: judge(net, small.model, x))
    step(row, "twice", lambda: cut_again(graph, keep, small, x))
    return row


def touched(graph: Graph) -> set[str]:
    found = {site.tensor for group in graph.groups.values() for site in group.sites}
    return found | {source for name in found for source in graph.sources(name)}


def cut_again(graph: Graph, keep: Keep, small: Graph, x: Tensor) -> float:
    """A second cut against both at once, masked in the whole network."""
    second = keep_some(small, 0.6, seed=1)
    smaller = narrow(small, second)
    return relative(smaller.model(x), masked(graph, compose(keep, second))(x))


def in_float32(
    row: dict[str, Any],
    net: nn.Module,
    graph: Graph,
    small: Graph,
    keep: Keep,
    x: Tensor,
    exact: Any,
) -> None:
    """Both networks in float32, and the cut one trained for a step; traced anew where a type is
    written in the graph."""
    model = small.model.float()
    single = x.float()
    with torch.no_grad():
        try:
            reference, got = masked(graph, keep)(single), model(single)
        except RuntimeError:
            graph = trace(net, single[:2])
            model = narrow(graph, keep).model
            reference, got = masked(graph, keep)(single), model(single)
        row["f32"], row["rounding"] = relative(got, reference), relative(reference, exact)
    step(row, "backward", lambda: backward(net, model, single))


def backward(net: nn.Module, small: nn.Module, x: Tensor) -> bool:
    """One SGD step: every parameter that gets a gradient in the uncut network gets a finite one."""
    missing = without_gradient(small.train(), x)
    if missing and (small.edgeprune_kind == "graph" or missing != without_gradient(net.train(), x)):
        raise ValueError(f"no gradient for {sorted(missing)[:3]}")
    gradients = [p.grad for p in small.parameters() if p.grad is not None]
    if not all(bool(g.isfinite().all()) for g in gradients):
        scale = max(float(g.abs().max()) for g in gradients)
        raise ValueError(f"gradients are not finite ({scale})")
    torch.optim.SGD(small.parameters(), lr=1e-6).step()
    small.eval()
    with torch.no_grad():
        small(x)
    return True


def without_gradient(model: nn.Module, x: Tensor) -> set[str]:
    logits = outputs(model(x))[0]
    F.cross_entropy(logits / logits.detach().abs().max(), torch.arange(len(x))).backward()
    return {name for name, p in model.named_parameters() if p.requires_grad and p.grad is None}


def exported(name: str) -> dict[str, Any]:
    """The cut network as ONNX by edgeprune's exporter: ``difference`` is its own parity, torch
    against onnxruntime, batch 1 and 4 of a dynamic batch, float32."""
    from edgeprune.export import Real, onnx
    from edgeprune.models import Convention

    net, size = build(name).float(), size_of(name)
    graph = trace(net, images(2, size, 2).float())
    small = narrow(graph, keep_some(graph, 0.5)).model.eval()
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path, samples = Path(folder) / "cut.onnx", images(4, size, 5).float()
        real = Real(samples)
        found = onnx.write(small, path, real=real, card=onnx.Card(Convention(size)))
    return {
        "difference": found.parity.difference,
        "nodes": found.nodes,
        "seconds": time.process_time() - started,
    }


# -- the peer --------------------------------------------------------------------------------------


def peer(name: str) -> dict[str, Any]:
    """One network through torch-pruning as its documentation shows: BasePruner, random importance,
    half of the channels, the classifier ignored; no options for single networks."""
    import torch_pruning

    net, size = build(name), size_of(name)
    example, x = images(2, size, 2), images(FRESH, size, 3)
    row: dict[str, Any] = {"where": "trace"}
    started = time.process_time()
    small = copy.deepcopy(net)  # it cuts in place; ours leaves the network as it is
    heads = [m for m in small.modules() if getattr(m, "out_features", 0) == 1000]
    heads += [m for m in small.modules() if getattr(m, "out_channels", 0) == 1000]
    try:
        with cpu_limit(PEER_LIMIT):
            pruner = torch_pruning.pruner.BasePruner(
                small,
                example,
                importance=torch_pruning.importance.RandomImportance(),
                pruning_ratio=0.5,
                ignored_layers=heads,
            )
            row["where"] = "cut"
            pruner.step()
        row["seconds"] = time.process_time() - started
        row["where"] = "forward"
        with torch.no_grad():
            outputs(small(x))
            row["where"] = "judge"
            before = dict(net.named_parameters())
            smaller = {n for n, p in small.named_parameters() if p.shape != before[n].shape}
            row["share"] = share(net, smaller)
            row["judge"] = judge(net, small, x)
        row["where"] = ""
    except Exception as e:
        row.setdefault("seconds", time.process_time() - started)
        row["failed"] = said(e)
    return row


@contextmanager
def cpu_limit(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise TimeoutError(f"over {seconds} CPU seconds")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


# -- large networks --------------------------------------------------------------------------------

LARGE = """
tv/resnet152 tv/wide_resnet101_2 tv/resnext101_64x4d tv/densenet201 tv/efficientnet_b7
tv/efficientnet_v2_l tv/regnet_y_32gf tv/convnext_large tv/vgg19_bn tv/inception_v3
""".split()


def large(name: str, tool: str) -> dict[str, float]:
    """CPU seconds of trace and cut in float32 at 224 px, and the peak above the built network, MiB."""
    net = build(name).float()
    example = images(2, 299 if "inception" in name else 224, 2).float()
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, started = resident("VmRSS"), time.process_time()
    if tool == "ours":
        graph = trace(net, example)
        narrow(graph, keep_some(graph, 0.5))
    else:
        import torch_pruning

        small = copy.deepcopy(net)
        heads = [m for m in small.modules() if getattr(m, "out_features", 0) == 1000]
        random = torch_pruning.importance.RandomImportance()
        torch_pruning.pruner.BasePruner(
            small, example, importance=random, pruning_ratio=0.5, ignored_layers=heads
        ).step()
    return {"seconds": time.process_time() - started, "mib": resident("VmHWM") - before}


def resident(what: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(x for x in lines if x.startswith(what)).split()[1]) / 1024


def large_table() -> None:
    lines = []
    for name in LARGE:
        cells = []
        for tool in ("ours", "peer"):
            row = apart(large, name, tool)
            print(name, tool, row, flush=True)
            failed = row.get("crashed", "")
            cells += (
                [f"{row['seconds']:.1f}", f"{row['mib']:,.0f}"] if not failed else ["failed", ""]
            )
        lines.append(f"| {name} | {' | '.join(cells)} |")
    head = ["network", "edgeprune s", "MiB", "torch-pruning s", "MiB"]
    text = [
        "# Large networks at 224 px",
        f"Made by `python benchmarks/zoo.py large`; commit `{commit()}`.\nMachine: {machine()}.",
        "CPU seconds of trace and cut (half of the channels, at random, float32, batch 2; inception_v3 at "
        "299 px), one run each; MiB: peak resident memory above the built network. torch-pruning cuts in "
        "place: its copy is in its clock, as edgeprune's smaller network is in its own.",
        "\n".join(["| " + " | ".join(head) + " |", "| --- " * len(head) + "|", *lines]),
    ]
    files.write_text(RESULTS / "zoo_large.md", "\n\n".join(text) + "\n")


# -- test B: knows nothing of labels ---------------------------------------------------------------


def judge(net: nn.Module, small: nn.Module, x: Tensor) -> float:
    """``small`` against ``net`` with every parameter element zeroed that did not survive in it."""
    zeroed = copy.deepcopy(net)
    parts = dict(small.named_parameters(remove_duplicate=False))
    for name, whole in zeroed.named_parameters():
        if name not in parts:
            raise ValueError(f"{name} is no parameter of the result")
        if parts[name].shape != whole.shape:
            whole.data *= survivors(whole.data, parts[name].data)
    return relative(small(x), zeroed(x))


def survivors(whole: Tensor, part: Tensor) -> Tensor:
    """1 where an element of ``whole`` is in ``part``, else 0, broadcast to ``whole``."""
    if whole.numel() <= 1e5 or whole.ndim == 1:
        return torch.isin(whole, part).to(whole.dtype)
    # A whole row and a whole column of the first two axes say which rows and columns are left.
    flat = whole.reshape(*whole.shape[:2], -1)
    first = part.reshape(*part.shape[:2], -1)
    row, column = (flat[..., 0] == first[0, 0, 0]).nonzero()[0].tolist()
    rows = torch.isin(flat[:, column, 0], first[:, 0, 0])
    columns = torch.isin(flat[row, :, 0], first[0, :, 0])
    if not torch.equal(flat[rows][:, columns], first):
        return torch.isin(whole, part).to(whole.dtype)
    both = rows[:, None] & columns[None, :]
    return both.reshape(*both.shape, *[1] * (whole.ndim - 2)).to(whole.dtype)


# -- small things ----------------------------------------------------------------------------------


def images(batch: int, size: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, size, size, generator=generator, dtype=torch.float64)


def keep_some(graph: Graph, share: float, seed: int = 0) -> dict[str, list[int]]:
    """A random ``share`` of each group's units, one at least."""
    random = np.random.default_rng(seed)
    return {
        name: sorted(random.choice(g.width, max(1, round(g.width * share)), replace=False).tolist())
        for name, g in graph.groups.items()
    }


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def share(net: nn.Module, names: set[str]) -> float:
    return sum(p.numel() for n, p in net.named_parameters() if n in names) / count(net)


def outputs(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    values = value.values() if isinstance(value, dict) else value
    return [t for v in values for t in outputs(v)]


def relative(got: Any, expected: Any) -> float:
    pairs = zip(outputs(got), outputs(expected), strict=True)
    return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)


def finite(value: Any) -> Any:
    """JSON knows no nan and no infinity: as words."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    return str(value) if isinstance(value, float) and not np.isfinite(value) else value


def said(e: BaseException) -> str:
    return f"{type(e).__name__}: {' '.join(str(e).split())[:160]}"


# -- the run ---------------------------------------------------------------------------------------


def measure(name: str, ours_first: bool = True) -> dict[str, Any]:
    """Both tools on one network, each in a process of its own."""
    row: dict[str, Any] = {
        "network": name,
        "set": next((k for k, names in SETS.items() if name in names), "torchvision"),
        "family": family(name),
        "size": size_of(name),
        "first": "ours" if ours_first else "peer",
    }
    for tool in (ours, peer) if ours_first else (peer, ours):
        row[tool.__name__] = apart(tool, name)
    return row


DIED = "the process died"
SETS = {"development": DEVELOPMENT, "held out": HELD_OUT, "further": FURTHER}


def apart(function: Callable[..., dict[str, Any]], *args: Any) -> dict[str, Any]:
    """The function's result from a forked process; one that dies without a word is tried once more."""
    row = _once_apart(function, args)
    return _once_apart(function, args) if row.get("crashed") == DIED else row


def _once_apart(function: Callable[..., dict[str, Any]], args: tuple[Any, ...]) -> dict[str, Any]:
    fork = multiprocessing.get_context("fork")
    here, there = fork.Pipe(duplex=False)
    process = fork.Process(target=_apart, args=(there, function, args))
    process.start()
    there.close()
    row = {"crashed": f"no answer in {WALL_LIMIT} s"}
    if here.poll(WALL_LIMIT):
        try:
            row = here.recv()
        except EOFError:
            row = {"crashed": DIED}
    process.kill()
    process.join()
    return row


def _apart(pipe: Any, function: Callable[..., dict[str, Any]], args: tuple[Any, ...]) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    warnings.simplefilter("ignore")
    started = time.process_time()
    try:
        row = function(*args)
    except Exception as e:
        row = {"crashed": said(e)}
    row["total_s"] = time.process_time() - started
    row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    pipe.send(row)


def warm_up() -> None:
    """Import once what every process would import, so that neither tool's seconds hold it."""
    import timm  # noqa: F401
    import torch_pruning  # noqa: F401
    import torchvision  # noqa: F401

    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)
    )
    net(images(2, 8, 0).float())
    graph = trace(net.eval(), images(2, 8, 0).float())
    narrow(graph, keep_some(graph, 0.5))
    # The converter, and not a session of onnxruntime: a fork of a process with threads may die.
    import onnxruntime  # noqa: F401

    torch.onnx.export(net, (images(2, 8, 0).float(),), dynamo=True, verbose=False)


def commit() -> str:
    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=HERE, capture_output=True, text=True)
        return done.stdout.strip()

    changed = git("status", "--porcelain", "-uno", "--", ".", ":!results", "../edgeprune")
    return git("rev-parse", "--short", "HEAD") + ("+changes" if changed else "")


def machine() -> str:
    import timm
    import torch_pruning
    import torchvision

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = next((x.partition(": ")[2] for x in lines if x.startswith("model name")), "?")
    return (
        f"{cpu.strip() or platform.machine()}, 1 thread, other work beside it; "
        f"torch {torch.__version__.partition('+')[0]}, torchvision "
        f"{torchvision.__version__.partition('+')[0]}, timm {timm.__version__}, "
        f"torch-pruning {peer_version(torch_pruning)}"
    )


def peer_version(module: Any) -> str:
    from importlib.metadata import version

    return version("torch-pruning") or module.__version__


def main() -> None:
    torch.set_num_threads(1)
    asked = sys.argv[1:]
    if asked[:1] == ["again"]:
        warm_up()
        part, _, parts = (asked[2] if len(asked) > 2 else "0/1").partition("/")
        again(asked[1], int(part), int(parts))
    elif asked == ["large"]:
        warm_up()
        large_table()
    elif asked != ["table"]:
        warm_up()
        at = {"commit": commit(), "machine": machine()}
        seen = {row["network"]: row for row in known() if row["network"] not in asked}
        names = asked or every_name()
        for i, name in enumerate(n for n in names if n not in seen):
            seen[name] = save(measure(name, ours_first=i % 2 == 0) | at)
        for name in names:  # the export is the slowest part, so it comes last
            if "onnx" not in seen[name]:
                seen[name] = save(seen[name] | {"onnx": apart(exported, name)})
    write_table(RESULTS / "zoo.md", known())


def again(label: str, part: int, parts: int) -> None:
    """What another engine changes, without the peer's long failures; each row keeps its export."""
    at = {"commit": commit(), "machine": machine(), "label": label}
    for i, row in enumerate(known()):
        if row.get("label") != label and i % parts == part:
            tools = [ours, peer] if peer_verdict(row) == "ok" else [ours]
            order = tools if (i // parts) % 2 == 0 else tools[::-1]
            save(row | {tool.__name__: apart(tool, row["network"]) for tool in order} | at)


def save(row: dict[str, Any]) -> dict[str, Any]:
    """A line more in the results; a later line of a network replaces the earlier."""
    files.append_line(RESULTS / "zoo.jsonl", finite(row))
    print(brief(row), flush=True)
    return row


def known() -> list[dict[str, Any]]:
    """The newest row of each network."""
    path = RESULTS / "zoo.jsonl"
    rows = files.read_lines(path) if path.exists() else []
    return list({row["network"]: row for row in rows}.values())


def brief(row: dict[str, Any]) -> str:
    us, them = row["ours"], row["peer"]
    mine = us.get("crashed") or f"f64 {us['f64']} f32 {us['f32']} {us.get('failed', '')}"
    other = them.get("crashed") or them.get("failed") or f"judge {them['judge']}"
    seconds = f"{us.get('total_s', 0):.0f} + {them.get('total_s', 0):.0f} s"
    return f"{row['network']}: {mine} | {other} | {row.get('onnx', '')} | {seconds}"


if __name__ == "__main__":
    main()
