"""From samples to numbers: what counts, how wide, and what may be said."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune import records
from edgeprune.bench import stats


def model(rounds: list[list[tuple[float, float, int | None]]], passes: int = 1) -> records.Timed:
    """A runner's model from (wall, cpu, switches) a run; the rounds are dealt over the passes."""
    stage = records.Stage(rss=10, high_water=20)
    sessions = [
        records.Session(
            number=p, import_s=1.0, load_s=2.0, first_run_s=3.0,
            memory=records.Memory(stage, stage, stage, stage),
        )
        for p in range(passes)
    ]  # fmt: skip
    for i, runs in enumerate(rounds):
        walls, cpus, switches = (list(column) for column in zip(*runs, strict=True))
        taken = records.Round(i, walls, cpus, switches, energy_uj=8_000_000)
        sessions[i * passes // len(rounds)].rounds.append(taken)
    return records.Timed(sessions=sessions)


def test_preempted_runs_and_the_first_of_a_slice_are_left_out() -> None:
    runs = [(9.0, 9.0, 0), (1.0, 1.0, 0), (5.0, 1.0, 2), (2.0, 2.0, 0)]
    (found,) = stats.clean([model([runs] * 4)])
    assert sorted(found.seconds.tolist()) == [1.0] * 4 + [2.0] * 4
    assert found.clock == "wall"
    assert (found.total, found.kept_share) == (12, 8 / 12)


def test_short_slices_keep_their_first_run() -> None:
    (found,) = stats.clean([model([[(1.0, 1.0, 0)]] * 6)])
    assert len(found.seconds) == 6


def test_cpu_time_takes_over_for_all_when_one_model_has_too_few() -> None:
    quiet = model([[(1.0, 0.9, 0)] * 5] * 5)
    loud = model([[(4.0, 2.0, 1)] * 5] * 5)
    found = stats.clean([quiet, loud])
    assert [f.clock for f in found] == ["thread CPU", "thread CPU"]
    assert stats.speedup(*found).value == pytest.approx(0.9 / 2.0)
    with_threads = stats.clean([quiet, loud], threads=2)  # CPU time of one thread would be wrong
    assert [f.clock for f in with_threads] == ["wall", "wall"]
    assert stats.unswitched_share(loud) == 0


def test_unknown_preemption_counts_as_none() -> None:
    (found,) = stats.clean([model([[(1.0, 1.0, None)] * 4] * 4)])
    assert found.kept_share == 1


def test_filtering_gives_the_true_ratio_where_plain_medians_flatter() -> None:
    """3 of 4 long runs are preempted and 1 of 4 short ones, as on a loaded machine (true ratio 3.5)."""
    rng = np.random.default_rng(0)

    def runs(true: float, share: float) -> list[list[tuple[float, float, int | None]]]:
        hit = rng.random((40, 20)) < share
        wall = true * rng.normal(1, 0.01, (40, 20)) + hit * rng.uniform(2, 8, (40, 20))
        return [
            [(w, true, int(h)) for w, h in zip(*row, strict=True)]
            for row in zip(wall, hit, strict=True)
        ]

    dense, pruned = model(runs(5.5, 0.76), 8), model(runs(1.57, 0.25), 8)
    plain = np.median([w for r in dense.rounds for w in r.wall_s])
    plain /= np.median([w for r in pruned.rounds for w in r.wall_s])
    found = stats.speedup(*stats.clean([dense, pruned]))
    assert plain > 1.2 * 5.5 / 1.57
    assert found.value == pytest.approx(5.5 / 1.57, rel=0.01)
    assert found.low < 5.5 / 1.57 < found.high


def test_percentiles_want_mlperfs_counts() -> None:
    assert (stats.fewest_samples(90), stats.fewest_samples(99)) == (64, 662)
    values = np.arange(1.0, 64.0)
    assert stats.percentile(values, 90) is None
    assert stats.percentile(np.append(values, 64.0), 90) == pytest.approx(57.7)
    assert stats.percentile(np.ones(661), 99) is None
    assert stats.percentile(np.ones(662), 99) == 1


def test_the_same_samples_give_the_same_interval() -> None:
    rng = np.random.default_rng(3)
    rows = [[(t, t, 0) for t in row] for row in rng.normal(1, 0.05, (20, 6))]
    a, b = stats.clean([model(rows, 5), model(rows[::-1], 5)])
    assert stats.speedup(a, b) == stats.speedup(a, b)
    assert stats.speedup(a, a) == stats.Ratio(1.0, 1.0, 1.0)


def synthetic(rng: np.random.Generator, true: float, drift: np.ndarray) -> records.Timed:
    """10 passes of 5 rounds of 10 runs, with a noise of its own on each level; sd 1, 1 and 2 %."""
    passes = np.repeat(rng.normal(0, 0.01, 10), 5)
    rounds = rng.normal(0, 0.01, 50) + passes + drift
    noise = np.exp(rounds[:, None] + np.abs(rng.normal(0, 0.02, (50, 10))))
    return model([[(true * v, true * v, 0) for v in row] for row in noise], 10)


@pytest.mark.parametrize("true", [1.0, 1.1])
def test_the_interval_of_95_percent_holds_the_truth(true: float) -> None:
    """200 benches whose noise sits mostly between processes; a plain bootstrap of runs holds 60 %."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        drift = np.cumsum(rng.normal(0, 0.005, 50))  # meets both alike
        pair = [synthetic(rng, true, drift), synthetic(rng, 1.0, drift)]
        found = stats.speedup(*stats.clean(pair), resamples=200)
        held += found.low <= true <= found.high
    assert 0.92 * 200 <= held <= 0.99 * 200


def test_ten_percent_are_found_and_nothing_is_not() -> None:
    rng = np.random.default_rng(2)
    verdicts = []
    for true in (1.1, 1 / 1.1):
        for _ in range(20):
            pair = [synthetic(rng, true, np.zeros(50)), synthetic(rng, 1.0, np.zeros(50))]
            verdicts.append(stats.speedup(*stats.clean(pair), resamples=200).verdict)
    assert verdicts == ["faster"] * 20 + ["slower"] * 20
    assert stats.Ratio(1.2, 0.99, 1.4).verdict == "no measurable difference"
    assert stats.Ratio(1.2, 0.0, float("inf")).verdict == "no measurable difference"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(1e-6, 10), min_size=1, max_size=40),
    st.integers(1, 4),
    st.integers(0, 2**31),
)
def test_medians_by_weight_are_medians_of_copies(
    values: list[float], cells: int, seed: int
) -> None:
    seconds = np.array(values)
    cell = np.arange(len(values)) % cells
    used = np.unique(np.column_stack([cell, cell]), axis=0)
    samples = stats.Clean(seconds, np.column_stack([cell, cell]), len(values), "wall")
    drawn = stats.weights(used, resamples=3, seed=seed)
    for weight, found in zip(drawn, stats.medians(samples, used, drawn), strict=True):
        copies = np.sort(np.repeat(seconds, weight[cell].astype(int)))
        assert found in (copies[(len(copies) - 1) // 2], copies[len(copies) // 2])


def test_whole_passes_are_drawn_and_rounds_of_a_single_one() -> None:
    cells = np.array([(p, r) for p in range(6) for r in range(4)])
    drawn = stats.weights(cells, resamples=200).reshape(200, 6, 4)
    assert (drawn.sum(axis=(1, 2)) == 24).all()
    assert (drawn == drawn[:, :, :1]).all()
    single = stats.weights(cells[:4], resamples=200)
    assert (single.sum(axis=1) == 4).all()
    assert len(np.unique(single, axis=0)) > 10


def measured(*times: float) -> records.Measured:
    models = [
        model([[(t * (1 + 0.001 * (i % 3)),) * 2 + (0,) for i in range(8)]] * 20, 5) for t in times
    ]
    weather = records.Weather(time=0.0, load=None, steal_ticks=None, throttled=None)
    return records.Measured(
        options=records.Options(threads=1, samples=64, limit=60.0),
        environment=records.Environment(
            onnxruntime="none", cpu=records.Processor(name="fake", cores=1)
        ),
        before=weather, after=weather, stopped="enough", models=models,
    )  # fmt: skip


def test_realised_speedup_is_measured_over_promised() -> None:
    """The facts' MobileNetV1 with odd widths: 2.50 promised, 1.11 measured."""
    models = [
        records.Listed(name="dense", bytes=1, flops=2500),
        records.Listed(name="pruned", bytes=1, flops=1000),
    ]
    dense, pruned = stats.summary(models, measured(1.11, 1.0)).networks
    assert dense.speedup is None
    assert dense.verdict == "baseline"
    assert pruned.promised_speedup == 2.5
    assert pruned.speedup == pytest.approx(1.11)
    assert pruned.realised_speedup == pytest.approx(1.11 / 2.5)
    low, high = pruned.speedup_interval or (None, None)
    assert low is not None
    assert high is not None
    assert pruned.realised_speedup_interval == pytest.approx((low / 2.5, high / 2.5))
    assert pruned.memory == records.Resident(bare=10, imported=10, loaded=10, peak=20)
    assert pruned.load == records.Loading(import_s=1.0, load_s=2.0, first_run_s=3.0)
    assert pruned.energy_j == pytest.approx(1.0)
    assert pruned.latency.p90_s is not None
    assert pruned.latency.p99_s is None


def test_without_flops_nothing_is_promised() -> None:
    models = [records.Listed(name=n, bytes=1) for n in "ab"]
    found = stats.summary(models, measured(2.0, 1.0)).networks[1]
    assert found.realised_speedup is None
    assert found.verdict == "faster"


@pytest.mark.parametrize(("groups", "t"), [(2, 12.7062), (4, 3.18245), (10, 2.26216)])
def test_the_interval_by_hand(groups: int, t: float) -> None:
    """On the log scale +- t(0.975, n - 1) s sqrt(n / (n - 1)), here s = 0.02; t from a table."""
    resampled = np.exp([0.02, -0.02] * 50)
    low, high = stats.widened(5.0, resampled, groups)
    half = t * 0.02 * (groups / (groups - 1)) ** 0.5
    assert np.log([low / 5, high / 5]) == pytest.approx([-half, half], rel=1e-5)


def test_one_process_alone_has_no_interval() -> None:
    assert stats.widened(5.0, np.exp([0.02, -0.02] * 50), 1) == (0.0, float("inf"))


def test_benches_apart_have_both_spreads_and_the_drift() -> None:
    """Three lengths at right angles: each bench's own half width and 7.5 % of drift."""
    rng = np.random.default_rng(5)
    rows = [[(t, t, 0) for t in row] for row in rng.normal(1, 0.2, (12, 6))]
    still = [[(2.0, 2.0, 0)] * 6] * 12
    noisy, quiet = stats.clean([model(rows, 4), model(still, 4)])
    alone = stats.apart(quiet, quiet)
    assert np.log([alone.low, alone.high]) == pytest.approx([-0.075, 0.075])
    found = stats.latency(noisy)
    assert found.median_interval_s is not None
    own = np.log(np.divide(found.median_interval_s[1], found.median_s))
    assert own > 0.02
    for one, other, sides in ((noisy, quiet, 1), (quiet, noisy, 1), (noisy, noisy, 2)):
        ratio = stats.apart(one, other)
        half = (0.075**2 + sides * own**2) ** 0.5
        assert np.log(ratio.high / ratio.value) == pytest.approx(half)
        assert np.log(ratio.value / ratio.low) == pytest.approx(half)


@pytest.mark.parametrize(("switched", "contended"), [(3, False), (4, True)])
def test_contended_is_less_than_half(switched: int, contended: bool) -> None:
    """Of 8 runs the first does not count: 4 of 7 kept their core, or 3 of 7."""
    found = measured(2.0, 1.0)
    for r in found.models[1].rounds:
        r.switches[1 : 1 + switched] = [1] * switched
    models = [records.Listed(name=n, bytes=1) for n in "ab"]
    a, b = stats.summary(models, found).networks
    assert (a.contended, b.contended) == (False, contended)
    assert b.unswitched_share == pytest.approx((7 - switched) / 7)
