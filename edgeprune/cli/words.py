"""What was typed after ``edgeprune prune`` as one of the ways to prune (`ways.asked`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import EdgepruneError
from . import output, plans

if TYPE_CHECKING:
    from ..prune import Plan
    from ..ways.asked import Way


def way_of(
    asked_for: dict[str, Any], given: Plan | None, *, post_training: bool, during_training: bool,
    rounds: int | None, schedule: str | None, retrain_epochs: int | None, heal: str | None,
    distil: bool, step: float | None, max_drop: float | None, max_steps: int | None,
) -> Way:  # fmt: skip
    """The words as one of the ways; what belongs to another way is refused."""
    from .. import ways

    targeted = asked_for["keep_flops"] is not None or asked_for["keep_params"] is not None
    paper = {"--step": step, "--max-drop": max_drop, "--max-steps": max_steps}
    retrained = {
        "--rounds": rounds, "--schedule": schedule, "--retrain-epochs": retrain_epochs,
        "--heal": heal, "--distill": distil or None,
    }  # fmt: skip
    if post_training and during_training:
        raise EdgepruneError("--post-training and --during-training", "exclude each other")
    if given is not None and (targeted or during_training):
        raise EdgepruneError("--plan", "says already what stays", "leave the target out")
    if targeted or given is not None or post_training or during_training:
        _refuse(
            paper, "belongs to the paper's way, which stops by accuracy", "leave the target out"
        )
    if (post_training or during_training) and not targeted and given is None:
        raise EdgepruneError("no target", next="give --keep-flops or --keep-params, or --plan FILE")
    fingerprint = "" if given is None else plans.fingerprint(given)
    if asked_for["method"] == "sensitivity" and (post_training or during_training):
        why = (
            "is measured with labels, and --post-training has none"
            if post_training
            else "is measured before the training, which changes it"
        )
        raise EdgepruneError("--method sensitivity", why, "leave it out")
    if post_training:
        _refuse(retrained, "means training, and --post-training does none", "leave one out")
        return ways.Unlabelled(_settings(asked_for), fingerprint)
    only_after = {"--distill-steps": asked_for["distil_steps"]}
    _refuse(only_after, "belongs to --post-training", "use --distill for retraining")
    chosen = {"retrain_epochs": retrain_epochs, "heal": heal, "schedule": schedule}
    if during_training:
        _refuse({"--heal": heal}, "does not apply during training", "leave it out")
        settings = _settings({**asked_for, "compensate": asked_for["compensate"] or "none",
                              "score": asked_for["score"] or "l1"})  # fmt: skip
        more: dict[str, Any] = {
            k: v for k, v in ({**chosen, "cuts": rounds}).items() if v is not None
        }
        return ways.Gradual(settings, distil=distil, **more)
    if targeted or given is not None:
        more = {k: v for k, v in ({**chosen, "rounds": rounds}).items() if v is not None}
        return ways.Targeted(_settings(asked_for), distil=distil, plan=fingerprint, **more)
    _refuse({"--rounds": rounds, "--schedule": schedule}, "leads to a target", "give --keep-flops")
    by_target = {"--method": asked_for["method"], "--keep": asked_for["keep"],
                 "--floor": asked_for["floor"], "--views": asked_for["views"]}  # fmt: skip
    _refuse(by_target, "does not apply to the paper's way", "give a target: --keep-flops")
    own = {
        "step": step, "max_drop": max_drop, "retrain_epochs": retrain_epochs,
        "max_steps": max_steps, "score": asked_for["score"], "heal": heal,
        "compensate": asked_for["compensate"],
    }  # fmt: skip
    known = {k: v for k, v in own.items() if v is not None}
    return ways.Pruning(round_to=asked_for["multiple"], distil=distil, **known)


def _settings(asked_for: dict[str, Any]) -> Any:
    from ..errors import closest
    from ..prune.plan import METHODS
    from ..ways import Settings

    if asked_for["method"] not in (None, *METHODS):
        method = asked_for["method"]
        raise EdgepruneError(f"--method {method!r}", closest(method, METHODS))
    return Settings(**{k: v for k, v in asked_for.items() if v is not None})


def _refuse(words: dict[str, Any], why: str, remedy: str) -> None:
    for word, value in words.items():
        if value is not None:
            raise EdgepruneError(word, why, remedy)


def multiple(text: str, device: str | None = None) -> int:
    """``auto`` -> the multiple of channels that the runtime of ``device`` (None: cpu) computes in."""
    if text == "auto":
        from ..doctor import rounding

        found = rounding.multiple(device or "cpu")
        if device is not None:
            output.note(f"widths in multiples of {found}, as {device} computes")
        return found
    _refuse({f"--device {device}": device}, "only decides --round-to auto", "leave one out")
    if not text.isdigit() or not 1 <= int(text) <= 1024:
        raise EdgepruneError(f"--round-to {text}", "neither auto nor a number in 1..1024")
    return int(text)
