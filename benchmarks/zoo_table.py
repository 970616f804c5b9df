"""``results/zoo.md`` from the rows of ``results/zoo.jsonl``; see :mod:`zoo` for what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from zoo_networks import TRANSFORMERS, every_name, torchvision_names

from edgeprune import files

Row = dict[str, Any]
F64, F32 = 1e-9, 1e-5  # of the logits' scale: above, the cut is not exact
ONNX = 1e-4  # edgeprune.export's own tolerance
JUDGE = 1e-8  # test B in float64


def exact(row: Row) -> str:
    """``ok``, ``ok*`` (float32 cannot tell: see the table), ``wrong`` or ``failed`` for our cut."""
    us = row["ours"]
    if "crashed" in us:
        return "failed"
    if not below(us["f64"], F64):
        return "wrong"
    if below(us["f32"], F32):
        return "ok"
    return "ok*" if rounds(us) else "wrong"


def rounds(us: Row) -> bool:
    """Whether float32 alone, nothing cut, already moves the network's logits as much."""
    return us["f32"] is not None and below(us["f32"], 10 * number(us["rounding"]))


def peer_verdict(row: Row) -> str:
    """``ok``, ``wrong`` (another network than the masked one) or where it failed."""
    them = row["peer"]
    if "crashed" in them:
        return "failed: " + them["crashed"]
    if "failed" in them:
        late = "TimeoutError" in them["failed"]
        return f"failed: over {them['seconds']:.0f} s" if late else f"failed: {them['where']}"
    return "ok" if below(them["judge"], JUDGE) else "wrong"


def complete(row: Row) -> bool:
    """Everything that the zoo asks of one network."""
    us = row["ours"]
    sound = (
        exact(row).startswith("ok") and below(us["twice"], F64) and us["backward"] and us["cost"]
    )
    return bool(sound and below(onnx(row), ONNX))


def onnx(row: Row) -> float | None:
    """How far onnxruntime is from torch; None: not exported, or not run yet."""
    return row.get("onnx", {}).get("difference")


def number(value: Any) -> float:
    return float("inf") if value is None else float(value)


def below(value: Any, limit: float) -> bool:
    return number(value) <= limit  # False for nan


def write_table(path: Path, rows: list[Row]) -> None:
    order = {name: i for i, name in enumerate(every_name())}
    rows = sorted(rows, key=lambda r: order.get(r["network"], len(order)))
    missing = [name for name in order if name not in {r["network"] for r in rows}]
    parts = [
        "# The zoo: cut = masked on real networks, beside torch-pruning",
        "Made by `python benchmarks/zoo.py` and nothing else; commit "
        + ", ".join(sorted({f"`{r['commit']}`" for r in rows}))
        + f".\nMachine: {'; '.join(sorted({r['machine'] for r in rows}))}.",
        *_summary(rows, missing),
        *_networks(rows),
        *_notes(rows),
        *(_list("Not run", [", ".join(missing)]) if missing else []),
    ]
    files.write_text(path, "\n\n".join(parts) + "\n")


def _summary(rows: list[Row], missing: list[str]) -> list[str]:
    exported = sum("onnx" in r for r in rows)
    mine = sum(exact(r).startswith("ok") for r in rows)
    theirs = sum(peer_verdict(r) == "ok" for r in rows)
    timm = [r for r in rows if not r["network"].startswith("tv/")]
    cnns, transformers = torchvision_names()
    both = [r for r in rows if exact(r).startswith("ok") and peer_verdict(r) == "ok"]
    trace, cut = (sum(r["ours"][k] for r in both) for k in ("trace_s", "cut_s"))
    peer = sum(r["peer"]["seconds"] for r in both)
    slow = sorted((r["peer"]["seconds"] for r in both), reverse=True)[:6]
    quick = [r for r in both if r["peer"]["seconds"] not in slow]
    faster = sum(_seconds(r) < r["peer"]["seconds"] for r in both)
    longest = max(rows, key=lambda r: _seconds(r), default=None)
    held = [r for r in rows if r["set"] != "development"]
    table = [
        ["all", *_counts(rows)],
        [
            "rules mended while these failed (development)",
            *_counts([r for r in rows if r not in held]),
        ],
        ["seen by no rule before they ran", *_counts(held)],
    ]
    steps = {
        "cut = masked, float64, 1e-9": sum(below(r["ours"].get("f64"), F64) for r in rows),
        "cut = masked, float32, 1e-5": sum(below(r["ours"].get("f32"), F32) for r in rows),
        "a cut of the cut = both at once": sum(below(r["ours"].get("twice"), F64) for r in rows),
        "backward and one SGD step": sum(bool(r["ours"].get("backward")) for r in rows),
        f"ONNX = torch (onnxruntime, dynamic batch 1 and 4, 1e-4); {exported} were tried": sum(
            below(onnx(r), ONNX) for r in rows
        ),
        "promised cost = the cut network's": sum(bool(r["ours"].get("cost")) for r in rows),
        "all of these (float32: or as float32 can tell)": sum(complete(r) for r in rows),
        "zeroed parameters (test B) agree, of those where it can be judged": sum(
            below(r["ours"].get("judge"), JUDGE) for r in rows
        ),
    }
    reached = [r for r in rows if "share" in r["peer"] and "share" in r["ours"]]
    return [
        f"{len(rows)} networks: {len(rows) - len(timm)} of torchvision's {len(cnns)} CNNs, {len(timm)} of "
        f"timm from {len({r['family'] for r in timm})} families. "
        + (f"Not run: {len(missing)}, listed at the end." if missing else "None is left out."),
        "Of each group a random half leaves; batch-norm statistics, biases and scales are random; the "
        "result is compared on a fresh input (batch 3, traced with 2). *right*: the network whose "
        "contractions read zero at what left; *wrong*: runs, but is another network, "
        "be it by a smaller layer norm in place of the masked one; *failed*: raises or runs out of time.",
        _table(["networks", "n", "edgeprune right", "wrong", "failed", "torch-pruning right", "wrong",
                "failed"], table),
        _table(["edgeprune", f"of {len(rows)}"], [[k, str(v)] for k, v in steps.items()]),
        f"Seconds (CPU, trace + cut) over the {len(both)} networks that both do right: edgeprune "
        f"**{trace + cut:.0f}** (trace {trace:.0f}; cut with its self-checks "
        f"{cut:.0f}), torch-pruning, with the copy that it cuts, **{peer:.0f}**; without the six on which "
        f"torch-pruning is slowest {sum(map(_seconds, quick)):.0f} and "
        f"{sum(r['peer']['seconds'] for r in quick):.0f}. edgeprune is the faster one on {faster} "
        f"({100 * faster / max(1, len(both)):.0f} %). Its longest of all {len(rows)}: "
        + (f"{longest['network']}, {_seconds(longest):.1f} s. " if longest else "")
        + f"Parameters reached, mean over the {len(reached)} networks that both cut: edgeprune "
        f"{_mean(reached, 'ours')} %, torch-pruning {_mean(reached, 'peer')} %. "
        f"Right alone: edgeprune {mine - len(both)}, torch-pruning {theirs - len(both)}.",
        *_exact_norms(rows),
        f"Power: the uncut network differs from the masked one by {_least(rows, 'power')} of the logits' "
        f"scale at least; no float64 error is above {_response(rows)} of what another input does to the "
        "logits.",
        "Out of reach in torchvision: " + "; ".join(
            f"{', '.join(n for n in transformers if n.startswith(start))}: {why}"
            for start, why in TRANSFORMERS.items()
        ) + ". Layer norms and the residual stream pin nearly all of their channels.",
    ]  # fmt: skip


def _seconds(row: Row) -> float:
    """CPU seconds of our trace and cut."""
    return float(row["ours"].get("trace_s", 0) + row["ours"].get("cut_s", 0))


def _exact_norms(rows: list[Row]) -> list[str]:
    pinned = [r["ours"] for r in rows if r["ours"].get("exact_norms")]
    if not pinned:
        return []
    again = [us["exact_norms"] for us in pinned]
    before, after = (100 * sum(u["share"] for u in us) / len(us) for us in (pinned, again))
    right = sum(below(u["f64"], F64) and below(u["twice"], F64) for u in again)
    judged = [u for u in again if u["judge"] is not None]
    agree = sum(below(u["judge"], JUDGE) for u in judged)
    return [
        f"Norms over channels pin parameters in {len(pinned)} of these networks. Traced once more with "
        f"`exact_norms=True` they reach {after:.0f} % of their parameters instead of {before:.0f} % "
        f"(mean); cut and second cut are exact in {right} of {len(pinned)}, test B agrees in {agree} of "
        f"the {len(judged)} that it can judge."
    ]


def _least(rows: list[Row], key: str) -> str:
    values = [r["ours"][key] for r in rows if r["ours"].get(key) is not None]
    return _power(min(values, default=None))


def _response(rows: list[Row]) -> str:
    """Largest float64 error over the logits' response to the input (linearised: 1e-7 of noise)."""
    ours = [r["ours"] for r in rows if "crashed" not in r["ours"]]
    return _power(
        max((number(u["f64"]) * 1e-7 / max(number(u["noise"]), 1e-16) for u in ours), default=None)
    )


def _counts(rows: list[Row]) -> list[str]:
    mine, theirs = [exact(r) for r in rows], [peer_verdict(r) for r in rows]
    counts = [len(rows)]
    for verdicts in (mine, theirs):
        counts += [sum(v.startswith(word) for v in verdicts) for word in ("ok", "wrong", "failed")]
    return [str(n) for n in counts]


def _mean(rows: list[Row], tool: str) -> str:
    return f"{100 * sum(r[tool]['share'] for r in rows) / max(1, len(rows)):.0f}"


def _networks(rows: list[Row]) -> list[str]:
    head = ("network|px|M|kind|share|f64|f32|twice|grad|onnx|trace|cut|peer|share|seconds").split(
        "|"
    )
    lines = [[r["network"], str(r["size"]), *_our_cells(r), *_peer_cells(r)] for r in rows]
    return [
        "## Networks",
        "M: million parameters; kind: the result is the model's own class or a graph; share: % of the "
        "parameters touched by a droppable unit, after the stroke with `exact_norms`; f64, f32, twice: "
        "largest error over the logits' scale; onnx: torch against onnxruntime; trace, cut, seconds: CPU "
        "seconds. The peer's columns are the last "
        "three. `*`: float32 cannot tell, see below.",
        _table(head, lines),
    ]


def _our_cells(row: Row) -> list[str]:
    us = row["ours"]
    if "crashed" in us:
        return ["", "", "", "failed", *[""] * 6]
    star = "*" if exact(row) == "ok*" else ""
    return [
        f"{us['parameters'] / 1e6:.1f}", us["kind"], _share(us),
        _power(us["f64"]), _power(us["f32"]) + star, _power(us["twice"]),
        "ok" if us["backward"] else "failed", _power(onnx(row)) if "onnx" in row else "",
        f"{us['trace_s']:.1f}", f"{us['cut_s']:.1f}",
    ]  # fmt: skip


def _share(us: Row) -> str:
    exact = us.get("exact_norms")
    return f"{100 * us['share']:.0f}" + (f" / {100 * exact['share']:.0f}" if exact else "")


def _peer_cells(row: Row) -> list[str]:
    them, verdict = row["peer"], peer_verdict(row)
    if verdict == "wrong":
        verdict = f"wrong: {_power(them['judge'])}"
    share = f"{100 * them['share']:.0f}" if "share" in them else ""
    return [verdict, share, f"{them['seconds']:.1f}" if "seconds" in them else ""]


def _power(value: Any) -> str:
    return "failed" if value is None else f"{float(value):.0e}"


def _notes(rows: list[Row]) -> list[str]:
    failed, unjudged, blind, graphs, pinned, theirs = [], [], [], [], [], []
    for row in rows:
        name, us, them = row["network"], row["ours"], row["peer"]
        if "crashed" in us:
            failed.append(f"{name}: {us['crashed']}")
            continue
        for step, why in us.get("failed", {}).items():
            (unjudged if step == "judge" else failed).append(f"{name}, {step}: {why}")
        if "crashed" in row.get("onnx", {}):
            failed.append(f"{name}, onnx: {row['onnx']['crashed']}")
        if not below(us["f64"], F64) or exact(row) == "wrong":
            failed.append(f"{name}: wrong, float64 {us['f64']}, float32 {us['f32']}")
        if exact(row) == "ok*":
            blind.append(
                f"{name}: {_power(us['f32'])} in float32; the masked network itself differs by "
                f"{_power(us['rounding'])} between float32 and float64, and 1e-7 of noise on the input moves "
                f"the uncut network's float64 logits by {_power(us['noise'])}"
            )
        if us["kind"] == "graph":
            graphs.append(f"{name}: {us['reason']}")
        if us["share"] < 0.95:
            reasons = [r for r in us["refused"] if not r.startswith("output")]
            pinned.append(
                f"{name} ({100 * us['share']:.0f} %): {'; '.join(reasons) or 'training-only parts'}"
            )
        if "failed" in them:
            theirs.append(f"{name}: {them['where']}: {them['failed']}")
    return [
        *_list("What edgeprune did not do", failed),
        *_list("Where float32 cannot tell", blind),
        *_list("Where test B cannot judge edgeprune's result (test A did)", unjudged),
        *_list("Results that are graphs, and why the module's own class would not do", graphs),
        *_list("What pins parameters (share below 95 %)", pinned),
        *_list("What torch-pruning said where it failed", theirs),
    ]


def _list(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {line}" for line in lines) or "Nothing."]


def _table(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in r) + " |" for r in rows)
