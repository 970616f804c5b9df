"""Networks that are no classifiers of images through prune, export and bench, as they are typed."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgeprune import files, records, runs
from edgeprune.cli import app, errors

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def cases() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])
        import cases

        yield cases


@pytest.fixture(scope="module")
def prepared(cases: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with networks, photos and arrays."""
    made = tmp_path_factory.mktemp("cases")
    cases.prepared(made, photos=80)
    return made


@pytest.fixture
def folder(
    cases: ModuleType,
    prepared: Path,
    empty_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> Path:
    """The current folder with networks, photos and arrays; commands run in this process."""

    def typed(_: Path, *words: str) -> Any:
        code = errors.run(app.app, [*words, "--json"])
        seen = capsys.readouterr()
        if code:
            raise RuntimeError(seen.err)
        return json.loads(seen.out)

    monkeypatch.setattr(cases, "typed", typed)
    monkeypatch.setattr(cases, "QUICK", ("--rounds", "2", "--passes", "1", "--seconds", "0.1"))
    shutil.copytree(prepared, Path.cwd(), dirs_exist_ok=True)
    return Path.cwd()


CHOSEN = {
    "U-Net": ("segmentation", {"agreement", "miou"}),
    "multi-task": ("kind=classification,age=number", {"agreement", "relative_error"}),
    "ESPCN": ("restoration", {"psnr"}),
    "DS-CNN": ("classification", {"agreement"}),
    "siamese": ("distance=number,left=embedding,right=embedding", {"cosine"}),
}


@pytest.mark.parametrize("name", list(CHOSEN))
def test_prune_export_bench(cases: ModuleType, folder: Path, name: str) -> None:
    (case,) = (c for c in cases.CASES if c.name == name)
    found = cases.through(case, folder)
    assert not found.error
    task, measures = CHOSEN[name]
    assert found.task == task
    assert found.flops == pytest.approx(0.7, abs=0.05)
    run = runs.Run(folder / "runs" / case.function.lower())
    result = run.history(records.Result)[-1]
    assert [o.task for o in result.outputs] == [w.split("=")[-1] for w in task.split(",")]
    assert measures <= {m for o in result.outputs for m in o.measures}
    (bench,) = run.bench_folder.glob("*.json")
    pruned = files.read_json(bench)["summary"]["networks"][1]
    for mine, theirs in zip(
        result.outputs, pruned["outputs"], strict=True
    ):  # torch and onnxruntime
        assert theirs["measures"] == pytest.approx(mine.measures, rel=0.02, abs=2e-3)
        assert theirs["variance_kept"] == pytest.approx(mine.variance_kept, rel=1e-3, abs=1e-3)


def test_what_it_answers_is_told_everywhere(
    cases: ModuleType, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the task's words: prune's sentence, the table, export's, bench's, and the page's headline."""
    import torch

    net = cases.shaken(cases.networks.Embedding())
    torch.save(net.state_dict(), "e.pth")
    words = (
        "prune --post-training --model cases_networks.py:Embedding --weights e.pth --size 48 --images photos"
        " --keep-flops 0.7 --round-to 1 --name e"
    )
    code, seen = errors.run(app.app, words.split()), capsys.readouterr()
    assert code == 0, seen.err
    assert "gives [N, 32]: embedding (--task says another)" in seen.err
    assert "held-out examples it is at cosine" in seen.err
    assert "Cosine with the dense network's" in seen.out
    assert "logits" not in seen.out + seen.err
    code, seen = errors.run(app.app, ["export", "e"]), capsys.readouterr()
    assert code == 0, seen.err
    assert "Cosine with the dense network's" in seen.out
    assert "same class" not in seen.out
    code, seen = errors.run(app.app, ["bench", "e", *cases.QUICK]), capsys.readouterr()
    assert code == 0, seen.err
    assert "Cosine with the dense network's" in seen.out
    assert errors.run(app.app, ["report", "e"]) == 0
    assert "is at cosine" in Path("runs/e/report.html").read_text()


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("--model cases_networks.py:ecg --weights ecg.pth --images photos", "Conv1d of 12 channels"),
        ("--model cases_networks.py:ecg --weights ecg.pth --images photos --shape 12x400", "images give"),
        ("--model cases_networks.py:Siamese --weights Siamese.pth --images photos", "missing 1 required"),
        ("--model cases_networks.py:Siamese --weights Siamese.pth --images waves.npy", "does not run on"),
        ("--model cases_networks.py:ecg --weights ecg.pth --images keywords.npz", "does not run|cannot"),
        ("--model cases_networks.py:ecg --weights ecg.pth --images none.npy", "no such file"),
        ("--model cases_networks.py:ecg --weights ecg.pth --images bad.npy", "not readable"),
        ("--model cases_networks.py:ecg --weights ecg.pth --images waves.npy --task x", "task 'x'"),
        ("--model cases_networks.py:ecg --weights ecg.pth --images waves.npy --shape 12x4", "takes"),
        ("--model cases_networks.py:ecg --weights ecg.pth --images waves.npy --score taylor --task values "
         "--distill-steps 3", "teaches class scores"),
        ("--model cases_networks.py:UNet --weights UNet.pth --images photos --score car", "class that a"),
        ("--model cases_networks.py:UNet --weights UNet.pth --images cases_networks.py:nothing", "nothing"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_sentence(
    cases: ModuleType, folder: Path, words: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    import re

    import torch

    name = re.findall(r":(\w+)", words)[0]
    torch.save(cases.shaken(getattr(cases.networks, name)()).state_dict(), f"{name}.pth")
    Path("bad.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'")
    before = sorted(Path().rglob("*"))
    code = errors.run(app.app, f"prune --post-training --keep-flops 0.7 {words}".split())
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert code == 2
    assert re.search(why, said), said
    assert sorted(p for p in Path().rglob("*") if "runs" not in p.parts) == before
