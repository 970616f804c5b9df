"""Each claim on tables that are made up, worked out by hand."""

from __future__ import annotations

import pytest

from edgeprune.records import StudyRow
from edgeprune.study import CLAIMS, PRINTED, claims, verdicts
from edgeprune.study.claims import decided, halves, later, lost

DENSE = {"a": 10, "b": 10, "c": 20, "d": 20, "e": 40}  # early: a, b; late: c, d, e


def row(start: str, seed: int, **more: object) -> StudyRow:
    plain: dict = {
        "job": f"{start}{seed}", "model": "mobilenetv1", "data": "cifar10", "start": start,
        "seed": seed, "way": "paper", "state": "done", "dense_params": 1000, "params": 500,
        "dense_flops": 1000, "flops": 500, "dense_widths": DENSE, "widths": DENSE,
        "dense_test": 0.8, "test": 0.8,
    }  # fmt: skip
    return StudyRow(**{**plain, **more})


def table(a: list[int], b: list[int], what: str) -> list[StudyRow]:
    """What is left of A's and B's parameters or FLOPs, a number a seed."""
    return [row(s, i, **{what: v}) for s, some in (("A", a), ("B", b)) for i, v in enumerate(some)]


def answers(rows: list[StudyRow], **more: dict[str, str]) -> dict[str, str]:
    return {v.claim: v.answer for v in verdicts(rows, "paper", **more)}


def test_an_interval_decides() -> None:
    # mean 2, deviation 1, t(2) = 4.303: 2 +- 4.303 / sqrt 3 = 2 +- 2.484
    answer, middle, low, high = decided([1.0, 2.0, 3.0])
    assert (answer, middle) == ("not decided", 2.0)
    assert (low, high) == (pytest.approx(-0.484, abs=1e-3), pytest.approx(4.484, abs=1e-3))
    assert decided([1.0, 2.0, 3.0], bound=-0.5)[0] == "yes"
    assert decided([1.0, 2.0, 3.0], bound=4.5)[0] == "no"
    assert decided([5.0])[0] == decided([])[0] == "not decided"


def test_what_is_gone_of_a_row() -> None:
    assert lost(row("A", 0, params=250), "params") == 75.0
    cut = row("A", 0, widths={**DENSE, "a": 5, "e": 0})
    assert halves(cut) == (25.0, 50.0)  # 5 of 20, 40 of 80
    assert later(cut) == 25.0


def test_a_loses_more_parameters() -> None:
    assert answers(table([200, 210, 220], [500, 520, 510], "params"))["further"] == "yes"
    assert answers(table([500, 520, 510], [200, 210, 220], "params"))["further"] == "no"
    assert answers(table([200, 700, 400], [500, 520, 510], "params"))["further"] == "not decided"
    assert answers(table([200], [500], "params"))["further"] == "not decided"  # one seed


def test_the_difference_is_taken_within_a_seed() -> None:
    rows = table(
        [200, 400, 600], [300, 500, 701], "params"
    )  # far apart, and 10 points in each seed
    found = next(v for v in verdicts(rows, "paper") if v.claim == "further")
    assert found.figure == pytest.approx(10.03, abs=0.01)
    assert (found.answer, found.seeds) == ("yes", 3)
    unpaired = [r for r in rows if (r.start, r.seed) != ("B", 1)]
    assert next(v for v in verdicts(unpaired, "paper") if v.claim == "further").seeds == 2


def test_the_exception_of_the_papers_own_table() -> None:
    rows = table([500, 520, 510], [200, 210, 220], "params")
    assert answers(rows)["exception"] == "yes"
    other = [row(r.start, r.seed, params=r.params, data="svhn") for r in rows]
    assert "exception" not in answers(other)


def test_late_and_even() -> None:
    late = {**DENSE, "e": 10}
    rows = [row("A", i, widths={**late, "d": 10 + i}) for i in range(3)]
    rows += [row("B", i, widths={**DENSE, "a": 5, "e": 30 + i}) for i in range(3)]
    found = answers(rows)
    assert (found["late"], found["even"]) == ("yes", "yes")
    swapped = [row("B" if r.start == "A" else "A", r.seed, widths=r.widths) for r in rows]
    assert (answers(swapped)["late"], answers(swapped)["even"]) == ("no", "no")


def test_b_has_fewer_flops() -> None:
    assert answers(table([500, 510, 520], [300, 310, 330], "flops"))["flops"] == "yes"
    assert answers(table([300, 310, 330], [500, 510, 520], "flops"))["flops"] == "no"


def test_up_to_eighty_percent() -> None:
    def of(left: list[int]) -> str:
        rows = [row("A", i, params=n, model="vgg16", data="svhn") for i, n in enumerate(left)]
        return answers(rows)["eighty"]

    assert of([180, 181, 182]) == "yes"
    assert of([280, 281, 282]) == "no"
    assert of([180, 281, 200]) == "not decided"


def test_accuracy_is_that_of_the_test_images() -> None:
    close = [row("A", i, test=0.798 + i / 1000) for i in range(3)]
    far = [row("A", i, test=0.75 + i / 1000) for i in range(3)]
    assert answers(close)["accuracy"] == "yes"
    assert answers(far)["accuracy"] == "no"


def test_a_baseline_that_still_rises_is_not_compared() -> None:
    rows = table([200, 210, 220], [500, 520, 510], "params")
    for state in ("still rising", "at chance", "failed"):
        odd = [
            row(r.start, r.seed, params=r.params, state=state if r.start == "B" else "done")
            for r in rows
        ]
        found = next(v for v in verdicts(odd, "paper") if v.claim == "further")
        assert (found.answer, found.seeds, found.figure) == ("not decided", 0, None)


def test_the_control_from_random_weights() -> None:
    pruned = [row("A", i, test=0.80 + i / 1000) for i in range(3)]
    control = [row("A", i, way="e", test=0.70 + i / 1000) for i in range(3)]
    assert answers([*pruned, *control], controls={"e": "paper"})["control"] == "yes"
    assert answers([*pruned, *control], controls={"e": "another"}).get("control") is None
    better = [row("A", i, way="e", test=0.90 + i / 900) for i in range(3)]
    assert answers([*pruned, *better], controls={"e": "paper"})["control"] == "no"


def test_every_claim_says_what_its_number_is() -> None:
    assert all(c.said and c.figure for c in CLAIMS.values())
    assert claims.against([], []) == []


def test_the_paper_as_it_is_printed() -> None:
    """Section 1.5 of the facts: the reductions follow from the cells; one claim fails in its own table."""
    found = {(p.model, p.data, p.start): p.lost for p in PRINTED}
    assert len(found) == 16
    assert found["vgg16", "svhn", "A"] == (
        pytest.approx(79.0, abs=0.05),
        pytest.approx(34.0, abs=0.05),
    )
    assert found["mobilenetv1", "cifar10", "A"][0] < found["mobilenetv1", "cifar10", "B"][0]
    fewer = [k for k in found if k[2] == "A" and found[(*k[:2], "B")][1] > found[k][1]]
    assert len(fewer) == 5


def test_the_paper_s_own_figures() -> None:
    """From its tables: MobileNetV1 on CIFAR-10 3.76 -> A 1.05, B 0.98 M; VGG16 on SVHN 14.98 -> A 3.15 M."""
    a, b = 100 * (1 - 1.05 / 3.76), 100 * (1 - 0.98 / 3.76)
    assert claims.printed("further", "mobilenetv1", "cifar10") == pytest.approx(a - b)
    assert claims.printed("exception", "mobilenetv1", "cifar10") == pytest.approx(b - a)
    assert claims.printed("eighty", "vgg16", "svhn") == pytest.approx(100 * (1 - 3.15 / 14.98))
    assert claims.printed("flops", "vgg16", "cifar10") == pytest.approx(
        100 * (421.20 - 397.85) / 627.48
    )
    # VGG16-A on CIFAR-10: nothing of the first six of 13 layers; the seventh stays, the last six lose
    late = 100 * (1 - (256 + 3 * 192 + 3 * 128) / (256 + 6 * 512))
    assert claims.printed("late", "vgg16", "cifar10") == pytest.approx(late)
    assert claims.printed("late", "vgg16", "svhn") is None  # no widths are given
    assert claims.printed("accuracy", "vgg16", "cifar10") is None  # no accuracy is
    assert claims.printed("control", "vgg16", "cifar10") is None
