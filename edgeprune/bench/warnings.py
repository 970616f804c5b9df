"""Everything that may be wrong with a measurement: what was seen, the likely cause, what to do next."""

from __future__ import annotations

from collections.abc import Sequence

from .. import units
from ..records import Judged, Measured, Timed, Warning, parent_of


def warnings(networks: Sequence[Judged], measured: Measured) -> list[Warning]:
    """All warnings on a runner's document ``measured`` and the ``networks`` of its summary."""
    found = [
        w
        for check in (_clock, _contended, _unseen, _threads, _unheeded, _short, _slower)
        if (w := check(networks, measured))
    ]
    for network, model in zip(networks, measured.models, strict=True):
        found += [w for check in (_warm_up, _answers) if (w := check(network, model))]
    return found + [w for check in (_throttled, _pressure) if (w := check(measured))]


def _clock(networks: Sequence[Judged], measured: Measured) -> Warning | None:
    if all(n.latency.clock in ("wall", None) for n in networks):
        return None
    return Warning(
        "times are thread CPU time, not wall time",
        "hardly any run kept its core from start to end: other programs are running",
        "run it again on a quieter machine for wall time; the ratio holds",
    )


def _contended(networks: Sequence[Judged], measured: Measured) -> Warning | None:
    if not any(n.contended for n in networks):
        return None
    known = [(n.name, n.unswitched_share) for n in networks if n.unswitched_share is not None]
    shares = ", ".join(f"{name} {units.percent(share, 0)}" for name, share in known)
    load = measured.before.load
    return Warning(
        f"contended: share of runs that kept their core: {shares}"
        + (f", load {load[0]:.1f} on {measured.environment.cpu.cores} cores" if load else ""),
        "other programs are running; the runs they broke into were left out",
        "stop them, or pin the bench to a core of its own",
    )


def _unseen(networks: Sequence[Judged], measured: Measured) -> Warning | None:
    if any(n.unswitched_share is not None for n in networks):
        return None
    return Warning(
        "whether runs were interrupted is not known",
        "this place does not tell when the system takes the core away, as in a browser",
        "close other programs first: on a busy machine such medians can be far off",
    )


def _threads(networks: Sequence[Judged], measured: Measured) -> Warning | None:
    asked, ran = measured.options.threads_asked, measured.options.threads
    if asked is None or asked == ran:
        return None
    return Warning(
        f"{asked} threads were asked for, {ran} ran",
        "a page over plain http is not isolated, and gets no threads",
        "measure on the device itself (localhost), or over adb; or ask for --threads 1",
    )


def _unheeded(networks: Sequence[Judged], measured: Measured) -> Warning | None:
    options, lost = measured.options, []
    if options.cores and measured.environment.provider == "wasm":
        lost.append("the cores to run on")
    if options.max_temperature and not measured.before.temperatures:
        lost.append("the highest temperature")
    if not lost:
        return None
    return Warning(
        f"{' and '.join(lost)} could not be heeded",
        "this place tells no temperature, or lets nobody choose cores, as a browser",
        "leave them out of the device's profile, and give it time to cool down",
    )


def _short(networks: Sequence[Judged], measured: Measured) -> Warning | None:
    fewest = min(n.latency.samples for n in networks)
    wanted = measured.options.samples
    if measured.stopped != "limit" or fewest >= wanted:
        return None
    return Warning(
        f"stopped after {fewest} usable runs, {wanted} were wanted",
        f"the limit of {measured.options.limit:.0f} s a model was reached",
        "raise --seconds and --limit, or bench on a quieter machine",
    )


def _slower(networks: Sequence[Judged], measured: Measured) -> Warning | None:
    """A network in 8 bits that is slower than the float one that it was made from."""
    floats = {n.name: n.latency.median_s for n in networks if not n.int8}
    said, slow = [], []
    for name, own in ((n.name, n.latency.median_s) for n in networks if n.int8):
        parent = parent_of(name)
        if parent == name:  # a file by another name: beside the first one
            parent = networks[0].name
        before = floats.get(parent)
        if own is not None and before is not None and own > before:
            said.append(f"{name} is {own / before:.2f}x slower than {parent}")
            slow.append(name)
    if not said:
        return None
    return Warning(
        ", ".join(said),
        "this processor or runtime computes 8 bits no faster, or much of the network stays in float",
        f"deploy the float file here; edgeprune doctor says which layers of {slow[0]}.onnx are slow",
    )


def _warm_up(network: Judged, model: Timed) -> Warning | None:
    unstable = sum(not s.stable for s in model.sessions)
    if unstable * 2 <= len(model.sessions):
        return None
    return Warning(
        f"{network.name}: run times had not settled when warm-up ended",
        "a changing clock frequency, heat, or other programs",
        "look at the spread between median and p90 before trusting small differences",
    )


def _answers(network: Judged, model: Timed) -> Warning | None:
    worst = max((s.worst_difference for s in model.sessions), default=0.0)
    if worst <= 1e-4:
        return None
    runs = sum(s.differing_runs for s in model.sessions)
    return Warning(
        f"{network.name}: {runs} timed runs gave another answer (by {worst:.1g} of the scale)",
        "a model with random operators, or faulty hardware",
        "do not trust this network's results here before that is explained",
    )


def _throttled(measured: Measured) -> Warning | None:
    before, after = measured.before.throttled, measured.after.throttled
    if before is None or after is None or after == before:
        return None
    return Warning(
        "the processor was throttled while it was measured",
        "heat, or a weak power supply",
        "cool it, and rest between passes (--cool-down in the device's profile)",
    )


def _pressure(measured: Measured) -> Warning | None:
    before, after = measured.before, measured.after
    if before.steal_ticks is None or after.steal_ticks is None:
        return None
    seconds = max(after.time - before.time, 1e-9)
    share = (after.steal_ticks - before.steal_ticks) / 100 / seconds  # ticks of 10 ms
    if share < 0.05:
        return None
    return Warning(
        f"the host of this virtual machine took {units.percent(share, 0)} of a core away",
        "other machines on the same host",
        "repeat at another time; compare only results of one run",
    )
