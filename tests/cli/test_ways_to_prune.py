"""``edgeprune prune`` beyond the paper's way, as a user types it: without labels, by a plan."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune import checkpoint, files, records, runs, units
from edgeprune.cli import app, errors
from edgeprune.doctor import rounding
from edgeprune.models import Convention, ModelSpec, fresh
from edgeprune.records import plain

NETWORK = """
import torch
from torch import nn

def tiny(classes=3):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 24, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, classes),
    )

def other(classes=3):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )

class Wilful(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 8, 3), nn.Linear(8, classes)

    def forward(self, x):
        y = self.a(x).mean((2, 3))
        return self.b(y) if y.sum() > 0 else -self.b(y)

def wilful(classes=3):
    return Wilful(classes)

def few(classes=3):
    return tiny(classes).to(torch.bfloat16)

def leaves(classes=3):
    raise SystemExit(3)

def stiff(classes=3):
    return nn.Sequential(nn.Conv2d(3, classes, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""
TO_HALF = "--post-training --keep-flops 0.5 --round-to 1"


def call(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = errors.run(app.app, words.split())
    seen = capsys.readouterr()
    return code, seen.out, seen.err


def done(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    code, out, err = call(words, capsys)
    assert code == 0, err
    return out, err


def refused(words: str, capsys: pytest.CaptureFixture[str]) -> str:
    code, out, err = call(words, capsys)
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert (code, out, len(lines)) == (2, "", 1), (out, err)
    return lines[0]


@pytest.fixture
def place(empty_home: Path) -> Path:
    """A working folder with a network, its weights, and 80 images at different depths."""
    here = Path.cwd()
    (here / "net.py").write_text(NETWORK)
    namespace: dict = {}
    exec(NETWORK, namespace)
    torch.manual_seed(0)
    files.write_tensors("w.safetensors", namespace["tiny"](3).state_dict())
    files.write_tensors("w5.safetensors", namespace["tiny"](5).state_dict())
    files.write_tensors("stiff.safetensors", namespace["stiff"]().state_dict())
    files.write_tensors("wilful.safetensors", namespace["wilful"]().state_dict())
    rng = np.random.default_rng(0)
    for i in range(80):
        folder = here / "photos" / ("" if i % 2 else f"deep/{i % 3}")
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (20, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return here


def told_of(records: list[dict]) -> dict[str, dict]:
    return {record["quantity"]: record for record in records}


def left() -> list[str]:
    """Whatever a refused command left behind."""
    return [str(p) for p in Path("runs").rglob("*") if p.is_file()] if Path("runs").exists() else []


WHOLE = "--model net.py:tiny --weights w5.safetensors --size 16"


def test_without_labels_from_weights_to_the_bench(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, err = done(f"prune {WHOLE} --images photos {TO_HALF} --name r", capsys)
    (one,) = json.loads(done("runs --json", capsys)[0])["rows"]
    assert one["state"] == "pruned"
    said = err.splitlines()
    told = next(i for i, line in enumerate(said) if line.startswith("expected: on 16 held-out"))
    assert "Everything lies in" in err
    assert told < next(i for i, line in enumerate(said) if "Everything lies" in line)
    run = runs.Run(Path("runs/r"))
    assert run.recipe().recipe is None
    assert run.recipe().data is None
    dense, pruned = run.history(records.Result)
    assert pruned.flops / dense.flops == pytest.approx(0.5, abs=0.05)
    for figure in (
        units.count(dense.params), units.count(pruned.params), f"{100 * pruned.agreement:.2f} % (",
        "on 16 held-out images", f"{100 * pruned.variance_kept:.2f} %",
    ):  # fmt: skip
        assert figure in out
    assert 0 <= pruned.agreement <= 1
    loaded = checkpoint.load(run, "pruned")
    assert len(loaded.classes) == 5  # the checkpoint's
    given, _ = files.read_tensors("w5.safetensors")
    kept, _ = files.read_tensors(run.weights_path("dense"))
    assert all(torch.equal(kept[k], v) for k, v in given.items())
    out, err = done("export --json", capsys)
    exported = json.loads(out)
    assert exported["labelled"] is False
    parity = exported["networks"]["dense"]["parity"]
    assert parity["images"] == parity["torch_correct"] == 16
    agreeing = exported["networks"]["pruned"]["parity"]["torch_correct"] / 16
    assert agreeing == pytest.approx(pruned.agreement)
    assert "as dense" in done("export", capsys)[0]
    out, err = done("bench --rounds 4 --passes 2 --seconds 0.1 --json", capsys)
    first, second = json.loads(out)["networks"]
    assert (first["top1"], second["top1"], first["outputs"]) == (None, None, [])
    assert second["outputs"][0]["measures"]["agreement"] == pytest.approx(pruned.agreement)
    agreement = f"{100 * pruned.agreement:.2f} % ("
    rows = told_of(json.loads(done("report --json", capsys)[0])["comparison"])
    for quantity, key in (("Parameters", "params"), ("FLOPs, one image", "flops")):
        values = getattr(dense, key), getattr(pruned, key)
        assert (rows[quantity]["dense"], rows[quantity]["pruned"]) == values
    answer = rows["Dense network's answer"]
    assert (answer["pruned"], answer["images"]) == (pruned.agreement, 16)
    assert answer["pruned_interval"] == list(units.wilson(pruned.agreement, 16))
    assert "Test accuracy" not in rows  # nobody knows it
    assert rows["Latency, median"]["pruned"] > 0
    page = (run.path / "report.html").read_text()
    left = 100 * pruned.params / dense.params
    for words in (
        f"keeps {left:.0f} %", "of the 16 images held out",
        units.count(pruned.params), agreement[:-1],
    ):  # fmt: skip
        assert words in page.replace("\N{NO-BREAK SPACE}", " "), words
    for wrong in ("not ended yet", "left out", "not pruned", "not trained"):
        assert wrong not in page
    (one,) = json.loads(done("runs --json", capsys)[0])["rows"]
    assert (one["state"], one["params"], one["agreement"]) == (
        "measured", pruned.params, pruned.agreement,
    )  # fmt: skip
    assert "As dense" in done("runs", capsys)[0]
    assert agreement in done("runs r", capsys)[0]
    out, err = done(f"prune {WHOLE} --images photos {TO_HALF} --name r", capsys)
    assert "pruned already" in err
    assert "choose another --name" in refused(
        f"prune {WHOLE} --images photos --post-training --keep-flops 0.7 --name r", capsys
    )
    assert "no labelled images" in refused("prune r --name again --keep-flops 0.7", capsys)
    done("prune r --name own --post-training --score pfa --method own --round-to 1", capsys)
    own = files.read_json(runs.named("own").plan_path)
    assert own["target"] == {}
    assert own["promised"]["params"] < own["dense"]["params"]
    out, err = done("prune r --name again --post-training --keep-params 0.7 --round-to 1", capsys)
    assert runs.Run(Path("runs/again")).recipe().parent == "r"


def test_a_plan_is_made_edited_and_applied(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dry = f"prune {WHOLE} --images photos {TO_HALF} --dry-run"
    made = json.loads(done(f"{dry} --json", capsys)[0])
    table, err = done(f"{dry} --plan-out plan.json", capsys)
    assert not left()
    assert json.loads(Path("plan.json").read_text()) == made
    assert "expected: " in err
    for word in ("before", "after", "50.0 % asked", "parameters"):
        assert word in table
    made["keep"]["0"] = made["keep"]["0"][:4]
    Path("edited.json").write_text(json.dumps(made))
    done(f"prune {WHOLE} --images photos --post-training --plan edited.json --name r", capsys)
    loaded = checkpoint.load(runs.Run(Path("runs/r")), "pruned")
    assert loaded.model[0].weight.shape[0] == 4
    promised = files.read_json("runs/r/plan.json")["promised"]
    assert promised["flops"] == runs.Run(Path("runs/r")).history(records.Result)[-1].flops


def test_weights_say_of_which_network_they_are(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, given = ModelSpec("mobilenetv1-0.25", 5, "original"), Convention(32)
    said = {
        "edgeprune.model": json.dumps(plain(spec)),
        "edgeprune.input": json.dumps(plain(given)),
    }
    files.write_tensors("m.safetensors", fresh(spec, 0).state_dict(), said)
    tail = "--images photos --post-training --keep-flops 0.5 --round-to 1 --score l1 --dry-run"
    _, err = done(f"prune --weights m.safetensors {tail} --json", capsys)
    assert "m.safetensors is of mobilenetv1-0.25" in err
    assert "assumes" not in err  # its metadata say its input
    line = refused(f"prune --weights w5.safetensors {tail}", capsys)
    assert "w5.safetensors: does not say of which network it is — add --model NAME" in line
    assert "add --model" in refused("train --weights w5.safetensors --data digits", capsys)
    said["edgeprune.model"] = json.dumps(plain(ModelSpec("net.py:tiny", 5)))
    files.write_tensors("n.safetensors", fresh(spec, 0).state_dict(), said)
    assert "add --model" in refused(f"prune --weights n.safetensors {tail}", capsys)  # runs no code
    assert not left()


def test_an_input_that_is_assumed_is_said(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = "prune --model net.py:tiny --weights w5.safetensors --post-training --keep-flops 0.5"
    words += " --round-to 1 --score l1 --compensate none --dry-run --json"
    silent = "w5.safetensors does not say its input: assumes"
    out, err = done(f"{words} --images photos", capsys)
    assert f"{silent} 224x224, RGB, ImageNet mean and std (--size says another)" in err
    at_224 = json.loads(out)["dense"]["flops"]
    out, err = done(f"{words} --images photos --size 32", capsys)
    assert f"{silent} RGB, ImageNet mean and std" in err
    assert "x" not in err.partition("assumes")[2].partition(",")[0]
    assert at_224 / json.loads(out)["dense"]["flops"] == pytest.approx(49, rel=0.01)
    np.save("x.npy", np.random.default_rng(0).random((80, 3, 32, 32), np.float32))
    assert "assumes" not in done(f"{words} --images x.npy", capsys)[1]  # arrays come as they are


def test_a_plan_of_a_way_that_trains(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ("--rounds 2", "--during-training"):
        words = f"prune {WHOLE} --keep-flops 0.5 --round-to 1 --score l1 --compensate none {more}"
        out, err = done(f"{words} --dry-run --json", capsys)
        made = json.loads(out)
        assert made["promised"]["flops"] / made["dense"]["flops"] == pytest.approx(0.5, abs=0.05)
        assert "this is all at once" in err
    assert not left()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda p: p["keep"].update(nothing=[0]), "no group 'nothing'"),
        (
            lambda p: p["keep"].update({"0": [-3, 1]}),
            "keep.0.0: Input should be greater than or equal to 0",
        ),
        (lambda p: p["keep"].update({"0": -3}), "keep.0: Input should be a valid array"),
        (lambda p: p["keep"].update({"0": [1, 1]}), "not a rising list of indices from 0"),
        (lambda p: p["keep"].update({"0": [999]}), "indices below 16"),
        (
            lambda p: p.update(network="0123456789abcdef"),
            "a version of edgeprune that saw networks",
        ),
        (lambda p: p.update(network=p["network"][:-1] + "-"), "is for another network"),
        (lambda p: p.pop("keep"), "keep: Field required"),
    ],
)
def test_plans_that_are_refused(
    change: object, said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"prune {WHOLE} --images photos"
    done(f"{words} {TO_HALF} --score l1 --compensate none --dry-run --plan-out p.json", capsys)
    plan = json.loads(Path("p.json").read_text())
    change(plan)  # type: ignore[operator]
    Path("p.json").write_text(json.dumps(plan))
    assert said in refused(f"{words} --post-training --plan p.json", capsys)
    assert not left()


def test_a_plan_for_another_network(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"prune {WHOLE} --images photos {TO_HALF} --score l1 --compensate none --dry-run"
    done(f"{words} --plan-out p.json", capsys)
    namespace: dict = {}
    exec(NETWORK, namespace)
    files.write_tensors("o.safetensors", namespace["other"](3).state_dict())
    words = "prune --model net.py:other --weights o.safetensors --size 16 --images photos"
    assert "another network" in refused(f"{words} --post-training --plan p.json", capsys)
    assert "no such file" in refused(f"{words} --post-training --plan q.json", capsys)
    Path("p.json").write_text("{")
    assert "not readable as JSON" in refused(f"{words} --post-training --plan p.json", capsys)


def test_images_that_are_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = f"prune {WHOLE} {TO_HALF} --images"
    Path("empty").mkdir()
    assert "it is empty" in refused(f"{words} empty", capsys)
    assert "no such folder or archive" in refused(f"{words} nowhere", capsys)
    assert "neither zip nor tar" in refused(f"{words} net.py", capsys)
    Path("texts").mkdir()
    Path("texts/a.txt").write_text("a")
    assert "it holds a.txt" in refused(f"{words} texts", capsys)
    Path("torn").mkdir()
    Path("torn/a.png").write_bytes(b"\x89PNG and no more")
    assert "a.png" in refused(f"{words} torn", capsys)
    shutil.copytree("photos/deep/0", "few")
    assert "64 are the least" in refused(f"{words} few", capsys)
    assert "no images to look at" in refused(f"prune {WHOLE} {TO_HALF}", capsys)
    assert not left()


def test_networks_and_weights_that_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tail = f"--size 16 --images photos {TO_HALF}"
    wilful = f"prune --model net.py:wilful --weights wilful.safetensors {tail}"
    assert "cannot be traced" in refused(wilful, capsys)
    stiff = f"prune --model net.py:stiff --weights stiff.safetensors {tail}"
    assert "nothing to prune" in refused(stiff, capsys)
    wrong = f"prune --model net.py:other --weights w.safetensors {tail}"
    assert "does not fit" in refused(wrong, capsys)
    assert "no such file" in refused(f"prune --model net.py:tiny --weights no.pth {tail}", capsys)
    assert "is not trained" in refused(f"prune --model net.py:tiny {tail}", capsys)
    assert "no function tinny" in refused(
        f"prune --model net.py:tinny --weights w.safetensors {tail}", capsys
    )
    part, _ = files.read_tensors("w.safetensors")
    files.write_tensors("part.safetensors", {k: v for k, v in part.items() if k[0] != "7"})
    line = refused(f"prune --model net.py:tiny --weights part.safetensors {tail}", capsys)
    assert "7.weight" in line
    assert "classifier" in line
    part["0.weight"][0, 0, 0, 0] = float("nan")
    files.write_tensors("nan.safetensors", part)
    assert "NaN" in refused(f"prune --model net.py:tiny --weights nan.safetensors {tail}", capsys)
    assert not left()


def test_training_what_cannot_be_pruned_leaves_nothing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "--data digits --epochs 1 --size 16"
    assert "cannot be traced" in refused(f"prune --model net.py:wilful {words}", capsys)
    assert "nothing to prune" in refused(f"prune --model net.py:stiff {words}", capsys)
    assert not left()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--post-training", "or --target-mb, --plan FILE, or --max-drop POINTS"),
        ("--post-training --keep-flops 1.5", "must lie above 0"),
        ("--post-training --keep-flops 0.001", "or more, or lower --floor or --round-to"),
        ("--post-training --keep-flops 0.5 --keep-params 0.5", "wants one target"),
        (
            "--post-training --speedup 2 --target-mb 3",
            "--speedup and --target-mb: a plan wants one",
        ),
        ("--post-training --speedup 0.5", "--speedup 0.5: must be a number of at least 1"),
        ("--post-training --target-ms -1", "--target-ms -1: must be a positive number"),
        ("--post-training --target-mb 9", "of weights as it is"),
        ("--post-training --target-mb 1e-4", "of weights stay at these floors"),
        ("--post-training --speedup 2", "nothing predicts times on cpu, 1 thread yet"),
        ("--post-training --speedup 2 --threads 2", "doctor --probe --threads 2 measures"),
        ("--post-training --keep-flops 0.5 --threads 2", "--threads 2: only decides --target-ms"),
        (
            "--post-training --keep-flops 0.5 --device cpu --round-to 8",
            "--device cpu: only decides",
        ),
        ("--post-training --keep-flops 0.5 --during-training", "exclude each other"),
        ("--post-training --keep-flops 0.5 --heal paper", "--post-training does none"),
        ("--post-training --max-drop 2", "held-out images show no less than 19.4"),
        ("--post-training --max-drop 120", "must lie above 0 and below 100"),
        ("--post-training --keep-flops 0.5 --score l7", "--score 'l7'"),
        ("--post-training --keep-flops 0.5 --method best", "--method 'best'"),
        ("--post-training --keep-flops 0.5 --compensate all", "--compensate 'all'"),
        ("--post-training --keep-flops 0.5 --keep z*", "matches no group"),
        ("--post-training --keep-flops 0.5 --floor 2", "floor 2"),
        ("--keep-flops 0.5", "--images"),
    ],
)
def test_words_that_are_refused(
    words: str, said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(f"prune {WHOLE} --images photos {words}", capsys)
    assert not left()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--dry-run", "give a target"),
        ("--keep-flops 0.5 --step 0.25", "--step"),
        ("--schedule agp", "leads to a target"),
        ("--keep-flops 0.5 --schedule apg", "did you mean agp"),
        ("--keep-flops 0.5 --heal gently", "--heal 'gently'"),
        ("--keep-flops 0.5 --distill-steps 5", "belongs to --post-training"),
        ("--keep-flops 0.5 --during-training --compensate lstsq", "optimizer"),
        ("--method global", "does not apply"),
        ("--score l3", "--score 'l3'"),
    ],
)
def test_words_of_the_ways_that_train(
    words: str, said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(f"prune --model net.py:tiny --data digits {words}", capsys)
    assert not left()


def test_inspect(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = json.loads(done("inspect --model net.py:tiny --size 16 --json", capsys)[0])
    first, second = value["groups"]
    assert (first["group"], first["width"], second["width"]) == ("0", 16, 24)
    params = {"0": 3 * 9 * 16 + 2 * 16 + 16 * 9 * 24, "3": 16 * 9 * 24 + 24 + 24 * 10}
    for group in value["groups"]:
        assert group["params_share"] * value["params"] == pytest.approx(
            params[group["group"]], rel=0.02
        )
    assert value["whole"] == ["7"]
    assert ["output of the network" in r["reason"] for r in value["refusals"]] == [True]
    table = done("inspect --model net.py:tiny --size 16", capsys)[0]
    assert "stay in: 7" in table
    assert "must stay" not in table  # but for the outputs, which always do
    assert "one network" in refused("inspect", capsys)
    assert "cannot be traced" in refused("inspect --model net.py:wilful --size 16", capsys)
    assert "SystemExit: 3" in refused("inspect --model net.py:leaves --size 16", capsys)


def test_widths_for_another_device(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """--round-to auto is of the device that is named: what is known of it, or was measured there."""
    monkeypatch.setattr(rounding, "channel_block", lambda: 8)
    swept = {"format": 1, "multiple": 4, "how": "measured", "device": "ssh://pi@board"}
    files.write_json(rounding.kept_path("ssh://pi@board", False), swept)
    words = f"prune {WHOLE} --images photos --post-training --keep-flops 0.6 --dry-run"

    def widths(more: str) -> tuple[list[int], str]:
        out, err = done(f"{words} --json {more}", capsys)
        return [len(kept) for kept in json.loads(out)["keep"].values()], err

    here, err = widths("")
    assert all(w % 8 == 0 for w in here)
    assert "multiples" not in err
    assert widths("--device cpu")[0] == here
    board, err = widths("--device ssh://pi@board")
    assert "widths in multiples of 4, as ssh://pi@board computes" in err
    assert all(w % 4 == 0 for w in board)
    assert any(w % 8 for w in board)
    free, err = widths("--device browser:headless")
    assert "widths in multiples of 1," in err
    assert any(w % 4 for w in free)
    assert "did you mean cpu" in refused(f"{words} --device cpuu", capsys)
    assert "browser:firefox" in refused(f"{words} --device browser:firefox", capsys)
    assert "leave one out" in refused(f"{words} --device cpu --round-to 4", capsys)


def test_bad_images_are_skipped_when_a_run_is_pruned_again(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    done(f"prune {WHOLE} --images photos {TO_HALF} --name r", capsys)
    shutil.copytree("photos", "worse")
    Path("worse/zero.png").touch()
    again = f"prune r --images worse {TO_HALF} --name s"
    assert "--skip-bad" in refused(again, capsys)
    _, err = done(f"{again} --skip-bad", capsys)
    assert "left out 1" in err
    done("export s", capsys)  # looks at the same images once more


def test_a_network_in_half_precision_is_computed_in_float32(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And it is said; the numbers are those of the file."""
    given, _ = files.read_tensors("w5.safetensors")
    half = {k: v.half() if v.is_floating_point() else v for k, v in given.items()}
    files.write_tensors("half.safetensors", half)
    words = "--model net.py:few --weights half.safetensors --size 16 --images photos"
    _, err = done(f"prune {words} {TO_HALF} --name r", capsys)
    assert "half.safetensors holds float16: computed in float32" in err
    kept, _ = files.read_tensors("runs/r/dense.safetensors")
    assert all(torch.equal(kept[k].double(), v.double()) for k, v in half.items())
    done("export r", capsys)


def test_a_network_of_other_classes_than_the_data_is_not_trained(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("net.py").write_text(NETWORK + "\n\ndef fixed():\n    return tiny(4)\n")
    said = refused("train --model net.py:fixed --data digits --size 16 --limit 100", capsys)
    assert "gives 4 class scores, and digits has 10 classes" in said
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(40, 3, 16, 16)), rng.normal(size=(40, 4)) > 0
    np.savez("many.npz", x=x.astype(np.float32), y=y.astype(np.float32))
    said = refused("train --model net.py:fixed --data many.npz", capsys)
    assert "gives 4 class scores, and the labels of many.npz are no classes" in said
    assert "--task labels" in said
    assert not left()


def test_a_run_that_cannot_be_pruned_so_far_leaves_no_other_run(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("net.py").write_text(NETWORK + "\n\ndef fixed():\n    return tiny(10)\n")
    words = "--model net.py:fixed --data digits --size 16 --limit 100 --epochs 1 --name r"
    done(f"train {words}", capsys)
    said = refused("prune r --keep-flops 0.01 --round-to 16 --name far", capsys)
    assert "lower --floor or --round-to (widths are multiples of 16)" in said
    assert not Path("runs/far").exists()
