"""A study becomes jobs: names, what each wants, what can be done now; and the file that says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeprune.errors import EdgepruneError
from edgeprune.records import Network, Pruning, Start, Study, Words
from edgeprune.study import built_in, checked, read
from edgeprune.study.jobs import blocked, jobs, ready

TWO = Study(
    name="two",
    models={
        "mobilenetv1": Network(inits={"A": Start(of="B"), "B": Start()}, train=Words(epochs=[5, 9]))
    },
    data={"digits": Words(limit=50)},
    seeds=[0, 3],
    train=Words(limit=10, lr=0.1),
    ways={
        "control": Pruning("scratch", {"of": "paper"}),
        "paper": Pruning("paper", {"step": 0.5}),
    },
    bench=True,
)
FILE = """
name = "mine"
seeds = [0, 1]
[train]
epochs = [3]
[data.digits]
limit = 100
[models.mobilenetv1.inits.A]
init = "imagenet"
[models.mobilenetv1.inits.B]
[ways.half]
way = "target"
retrain_epochs = 1
settings.target = {price = "flops", share = 0.5}
"""


def test_a_study_is_its_jobs_in_an_order_in_which_they_can_be_done() -> None:
    names = [job.name for job in jobs(TWO)]
    first = [
        "mobilenetv1-digits-B-s0", "mobilenetv1-digits-A-s0", "mobilenetv1-digits-B-s0-paper",
        "mobilenetv1-digits-B-s0-control", "mobilenetv1-digits-A-s0-paper",
        "mobilenetv1-digits-A-s0-control",
    ]  # fmt: skip
    assert names[:6] == first
    assert names[6:12] == [name.replace("s0", "s3") for name in first]
    assert names[12:] == [n + "-bench" for n in names[:12] if "paper" in n or "control" in n]
    seen: set[str] = set()
    for job in jobs(TWO):
        assert seen.issuperset(job.wants)
        seen.add(job.name)


def test_what_a_job_is_told() -> None:
    found = {job.name: job for job in jobs(TWO)}
    trained, control = found["mobilenetv1-digits-A-s3"], found["mobilenetv1-digits-A-s3-control"]
    assert trained.words == Words(
        epochs=[5, 9], limit=50, lr=0.1
    )  # the set's word, not the study's
    assert trained.wants == ("mobilenetv1-digits-B-s3",) == (trained.of,)
    assert [trained.trained_in(n) for n in (5, 9)] == [trained.name, f"{trained.name}-e9"]
    assert control.wants == (trained.name, f"{trained.name}-paper")
    assert control.of == f"{trained.name}-paper"
    assert control.pruning == Pruning("scratch", {})
    assert found[f"{control.name}-bench"].run == control.name


def test_what_can_be_done_now() -> None:
    every = jobs(TWO)
    b, a = "mobilenetv1-digits-B-s0", "mobilenetv1-digits-A-s0"
    assert [j.name for j in ready(every, set(), set())] == [b, b.replace("s0", "s3")]
    assert [j.name for j in ready(every, {b}, set())][:2] == [a, f"{b}-paper"]
    assert blocked(every, {f"{b}-paper"}) == {
        f"{b}-control": f"{b}-paper", f"{b}-paper-bench": f"{b}-paper",
        f"{b}-control-bench": f"{b}-paper",
    }  # fmt: skip
    others = {j.name for j in every if j.kind != "bench"} - {f"{b}-paper", f"{b}-control"}
    assert [j.name for j in ready(every, others, {f"{b}-paper"})] == [f"{a}-paper-bench"]
    assert not ready(every, {j.name for j in every}, set())


def test_a_file_is_read_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(FILE)
    found = read(tmp_path / "s.toml")
    assert (found.name, found.seeds, found.train.epochs) == ("mine", [0, 1], [3])
    assert found.models["mobilenetv1"].inits == {"A": Start(init="imagenet"), "B": Start()}
    assert len(jobs(found)) == 8


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("seeds =", "seds =", "seds"),
        ("epochs = [3]", "epoch = [3]", "train.epoch"),
        ("epochs = [3]", "epochs = [9, 3]", "must rise"),
        ('init = "imagenet"', 'inti = "x"', "models.mobilenetv1.inits.A.inti"),
        ('init = "imagenet"', 'of = "C"', "inits.A.of 'C'"),
        ('init = "imagenet"', 'of = "A"', "each is made of another"),
        ('way = "target"', "", "ways.half: does not name its way"),
        ('way = "target"', 'way = "targt"', "no way 'targt'"),
        ("retrain_epochs", "retrain_epoks", "retrain_epoks"),
        ('way = "target"', 'way = "target"\nof = "quarter"', "of 'quarter'"),
        ('name = "mine"', 'name = "../mine"', "not a name"),
        ("[0, 1]", "[0, 0]", "one stands twice"),
        ("[0, 1]", "[]", "there are none"),
        ("[data.digits]", "[data.digits", "not readable as TOML"),
    ],
)
def test_what_a_file_must_not_say(old: str, new: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(FILE.replace(old, new, 1))
    with pytest.raises(EdgepruneError) as e:
        read(path)
    assert said in str(e.value)
    assert "s.toml" in str(e.value) or "mine" in str(e.value) or "inits" in str(e.value)


def test_two_runs_of_one_name_are_refused() -> None:
    from dataclasses import replace

    twice = replace(TWO, ways={"a b": Pruning("paper", {}), "a-b": Pruning("paper", {})})
    with pytest.raises(EdgepruneError, match="two of the study's would have this name"):
        jobs(twice)


def test_a_training_of_another_length_has_a_run_of_its_own_name() -> None:
    """epochs [5, 9] make the run …-B-s0-e9, which a way e9 would take for its own."""
    with pytest.raises(EdgepruneError, match="run mobilenetv1-digits-B-s0-e9: two of the study's"):
        jobs(replace(TWO, ways={"e9": Pruning("paper", {"step": 0.5})}))


def test_a_word_that_leaves_nothing_in_a_name_is_refused() -> None:
    with pytest.raises(EdgepruneError, match=r"'\*': no letter of it"):
        jobs(replace(TWO, ways={"*": Pruning("paper", {"step": 0.5})}))


def test_a_number_of_5000_digits_is_told(tmp_path: Path) -> None:
    path = tmp_path / "s.toml"
    path.write_text(f"name = 'x'\nseeds = [{'9' * 5000}]")
    with pytest.raises(EdgepruneError, match="not readable as TOML"):
        read(path)


def test_the_built_in_study_is_possible() -> None:
    study = checked(built_in(), "--paper")
    assert len([j for j in jobs(study) if j.kind == "train"]) == 2 * 4 * 2 * 3


def test_the_studies_of_the_benchmarks_are_possible() -> None:
    found = read(Path(__file__).parents[2] / "benchmarks" / "mobilenet_cifar10.toml")
    assert len(jobs(found)) == 3 * (2 + 2 * 3)
