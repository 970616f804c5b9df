"""From raw samples to numbers with intervals. Pure: values in, values out.

The model of the noise (measured, see ``benchmarks/results``): runs in a row resemble each other, rounds
differ a little, processes differ by a per cent or so each in its own way, and on a shared machine a run
in which the kernel took the core away says nothing of the network. Hence

* a sample is *clean* when its thread was not preempted while it ran, and it is not the first of its
  slice (whose caches belong to the other model);
* with fewer than 5 clean samples thread CPU time takes the place of wall time, for all models;
* the unit of resampling is the process, never the single run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..records import Judged, Latency, Listed, Loading, Measured, Resident, Session, Summary, Timed

FEWEST = 5  # clean samples, below which the clock is changed
RESAMPLES = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Clean:
    """The usable samples of one model. ``cells[i]`` is the (pass, round) of ``seconds[i]``."""

    seconds: np.ndarray  # [n]
    cells: np.ndarray  # [n, 2] int
    total: int  # samples that were taken, first ones of a slice left out
    clock: str  # "wall" or "thread CPU"

    @property
    def kept_share(self) -> float:
        return len(self.seconds) / self.total if self.total else 0.0


def clean(models: Sequence[Timed], threads: int = 1) -> list[Clean]:
    """The clean samples of each model of a runner's document, all by the same clock.

    Where the system does not count preemptions every sample counts as clean. CPU time is no substitute
    with several threads (it is one thread's only), so wall time is then kept whatever it is.
    """
    by_wall = [_gather(m, "wall", only_unswitched=True) for m in models]
    if all(len(c.seconds) >= FEWEST for c in by_wall):
        return by_wall
    if threads > 1 or any(None in r.cpu_s for m in models for r in m.rounds):
        return [_gather(m, "wall", only_unswitched=False) for m in models]
    return [_gather(m, "thread CPU", only_unswitched=False) for m in models]


def _gather(model: Timed, clock: str, *, only_unswitched: bool) -> Clean:
    """The samples by one clock, "wall" or "thread CPU"; every run has its time by it."""
    seconds: list[float | None] = []
    cells: list[tuple[int, int]] = []
    total = 0
    for session in model.sessions:
        for r in session.rounds:
            settle = 1 if len(r.wall_s) >= 3 else 0
            times = r.wall_s if clock == "wall" else r.cpu_s
            for value, switches in list(zip(times, r.switches, strict=True))[settle:]:
                total += 1
                if not (only_unswitched and switches):
                    seconds.append(value)
                    cells.append((session.number, r.round))
    return Clean(np.array(seconds), np.array(cells, int).reshape(-1, 2), total, clock)


def unswitched_share(model: Timed) -> float | None:
    """Share of all samples during which the thread kept its core; None where that is not known."""
    if all(n is None for r in model.rounds for n in r.switches):
        return None
    return _gather(model, "wall", only_unswitched=True).kept_share


def fewest_samples(percentile: float) -> int:
    """How many samples a percentile needs: MLPerf's early stopping, 64 for p90 and 662 for p99.

    The smallest n at which two or more of n samples lie above the percentile with 99 % probability
    (MLPerf Inference rules, "early stopping", with tolerance 0 and one sample over the limit).
    """
    p, n = percentile / 100, 1
    while p**n + n * (1 - p) * p ** (n - 1) > 0.01:
        n += 1
    return n


def percentile(seconds: np.ndarray, which: float) -> float | None:
    """The percentile, or None where there are too few samples to know it."""
    if len(seconds) < fewest_samples(which):
        return None
    return float(np.percentile(seconds, which))


def weights(cells: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """How often each cell is drawn in each resample, [resamples, cells].

    ``cells`` [n, 2] lists (pass, round), each once. Whole passes are drawn with replacement, their rounds
    as they were: the spread between passes holds the spread within them already, and drawing rounds too
    would count it twice (Davison & Hinkley 1997, section 3.8). A single pass is drawn by its rounds.
    """
    rng = np.random.default_rng(seed)
    groups, group = np.unique(_groups(cells), return_inverse=True)
    n = len(groups)
    return rng.multinomial(n, np.full(n, 1 / n), resamples)[:, group].astype(float)


def _groups(cells: np.ndarray) -> np.ndarray:
    """What is drawn as one: the pass of each cell, or its round where there is one pass."""
    several = len(np.unique(cells[:, 0])) > 1
    return cells[:, 0] if several else cells[:, 1]


def medians(samples: Clean, cells: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The median of ``samples`` in each resample, [resamples] (nan where it drew none of them)."""
    order = np.argsort(samples.seconds, kind="stable")
    values = samples.seconds[order]
    both = np.concatenate([cells, samples.cells[order]])
    cell = np.unique(both, axis=0, return_inverse=True)[1].reshape(-1)
    cell = np.argsort(cell[: len(cells)])[cell[len(cells) :]]
    found = np.empty(len(drawn))
    for start in range(0, len(drawn), 50):  # at most 50 resamples of all samples in memory
        heap = np.cumsum(drawn[start : start + 50, cell], axis=1)
        at = (heap >= heap[:, -1:] / 2).argmax(axis=1)
        found[start : start + 50] = np.where(heap[:, -1] > 0, values[at], np.nan)
    return found


def widened(estimate: float, resampled: np.ndarray, groups: int) -> tuple[float, float]:
    """The interval of a positive quantity from its bootstrap: on the log scale, mean at the estimate,
    Student's t with ``groups - 1`` degrees of freedom, and the variance times groups/(groups-1),
    since drawing few groups with replacement understates how much they differ."""
    from scipy.stats import t

    logs = np.log(resampled[np.isfinite(resampled) & (resampled > 0)])
    if groups < 2 or len(logs) < 2:
        return (0.0, math.inf)
    half = t.ppf((1 + CONFIDENCE) / 2, groups - 1) * logs.std() * math.sqrt(groups / (groups - 1))
    return (estimate * math.exp(-half), estimate * math.exp(half))


@dataclass(frozen=True)
class Ratio:
    """A ratio of two medians with its interval of 95 %."""

    value: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """ "faster" or "slower" than the baseline only where the interval leaves no doubt."""
        if self.low <= 1 <= self.high:
            return "no measurable difference"
        return "faster" if self.value > 1 else "slower"

    def over(self, promised: float) -> Ratio:
        return Ratio(self.value / promised, self.low / promised, self.high / promised)


def speedup(baseline: Clean, other: Clean, *, resamples: int = RESAMPLES, seed: int = 0) -> Ratio:
    """t_baseline / t_other, from medians; rounds of both are drawn together, as they were run."""
    cells = np.unique(np.concatenate([baseline.cells, other.cells]), axis=0)
    drawn = weights(cells, resamples, seed)
    value = float(np.median(baseline.seconds) / np.median(other.seconds))
    ratios = medians(baseline, cells, drawn) / medians(other, cells, drawn)
    low, high = widened(value, ratios, len(np.unique(_groups(cells))))
    return Ratio(value, low, high)


# Two benches of one network at different times came out up to 7.5 % apart on a shared machine, where the
# same two interleaved were within 1.1 % (measured; 100 runs each).
DRIFT = 0.075


def apart(before: Clean, after: Clean, *, seed: int = 0) -> Ratio:
    """t_before / t_after of samples that were not interleaved: both spreads, and ``DRIFT``."""
    medians_of = [float(np.median(s.seconds)) for s in (before, after)]
    value = medians_of[0] / medians_of[1]
    half = [DRIFT]
    for samples, median in zip((before, after), medians_of, strict=True):
        cells = np.unique(samples.cells, axis=0)
        resampled = medians(samples, cells, weights(cells, seed=seed))
        _, high = widened(median, resampled, len(np.unique(_groups(cells))))
        half.append(math.log(high / median))
    spread = math.hypot(*half)
    return Ratio(value, value * math.exp(-spread), value * math.exp(spread))


def latency(samples: Clean, *, seed: int = 0) -> Latency:
    """Median with its interval, minimum and the percentiles that the sample carries; seconds."""
    cells = np.unique(samples.cells, axis=0)
    median = float(np.median(samples.seconds))
    resampled = medians(samples, cells, weights(cells, seed=seed))
    interval = widened(median, resampled, len(np.unique(_groups(cells))))
    return Latency(
        median_s=median,
        median_interval_s=_finite(interval),
        min_s=float(samples.seconds.min()),
        p90_s=percentile(samples.seconds, 90),
        p99_s=percentile(samples.seconds, 99),
        samples=len(samples.seconds),
        kept_share=samples.kept_share,
        clock=samples.clock,
    )


def _finite(interval: tuple[float, float]) -> tuple[float | None, float | None]:
    low, high = (v if math.isfinite(v) else None for v in interval)
    return low, high


def summary(models: Sequence[Listed], measured: Measured, *, emulated: bool = False) -> Summary:
    """Each network of a bench, the first as the baseline. Of an emulated machine no time is told."""
    samples = clean(measured.models, measured.options.threads)
    networks = []
    for i, (model, raw, own) in enumerate(zip(models, measured.models, samples, strict=True)):
        network = _alone(model, raw, own)
        if i:
            network = _against(network, speedup(samples[0], own), models[0].flops)
        networks.append(_untimed(network) if emulated else network)
    return Summary(baseline=models[0].name, networks=networks)


def _alone(model: Listed, raw: Timed, own: Clean) -> Judged:
    share = unswitched_share(raw)
    return Judged(
        name=model.name,
        bytes=model.bytes,
        params=model.params,
        macs=model.macs,
        flops=model.flops,
        counted_by=model.counted_by,
        int8=model.int8,
        latency=latency(own),
        load=Loading(
            import_s=_median(s.import_s for s in raw.sessions),
            load_s=_median(s.load_s for s in raw.sessions),
            first_run_s=_median(s.first_run_s for s in raw.sessions),
        ),
        memory=_memory(raw.sessions),
        top1=model.top1,
        outputs=model.outputs,
        images=model.images,
        energy_j=_energy(raw),
        unswitched_share=share,
        contended=share is not None and share < 0.5,
    )


def _against(network: Judged, measured: Ratio, baseline_flops: int | None) -> Judged:
    found = replace(
        network,
        speedup=measured.value,
        speedup_interval=_finite((measured.low, measured.high)),
        verdict=measured.verdict,
    )
    flops = network.flops
    if not baseline_flops or not flops:
        return found
    promised = baseline_flops / flops
    realised = measured.over(promised)
    return replace(
        found,
        promised_speedup=promised,
        realised_speedup=realised.value,
        realised_speedup_interval=_finite((realised.low, realised.high)),
    )


def _untimed(network: Judged) -> Judged:
    """Without what an emulator cannot say."""
    return replace(
        network,
        latency=Latency(samples=network.latency.samples),
        load=Loading(),
        memory=Resident(),
        contended=False,
        verdict="emulated: it runs; its times say nothing",
        speedup=None,
        speedup_interval=None,
        realised_speedup=None,
        realised_speedup_interval=None,
    )


def _median(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.median(known)) if known else None


def _memory(sessions: Sequence[Session]) -> Resident:
    return Resident(
        bare=_median(s.memory.bare.rss for s in sessions),
        imported=_median(s.memory.imported.rss for s in sessions),
        loaded=_median(s.memory.loaded.rss for s in sessions),
        peak=_median(s.memory.peak.high_water for s in sessions),
    )


def _energy(model: Timed) -> float | None:
    """Joules a run, by the processor's own counter, over all rounds; None where there is none."""
    spent = [r.energy_uj for r in model.rounds if r.energy_uj is not None]
    if not spent or len(spent) < len(model.rounds):
        return None
    return sum(spent) / 1e6 / sum(len(r.wall_s) for r in model.rounds)
