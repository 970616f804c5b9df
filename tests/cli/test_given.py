"""--config, EDGEPRUNE_ variables, how much is told, short helps, errors as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from edgeprune import files, records
from edgeprune.cli import brief, errors, given, output
from edgeprune.cli.app import app
from edgeprune.errors import EdgepruneError


@pytest.fixture(scope="module")
def group() -> Any:
    return typer.main.get_command(app)


def test_what_is_typed_wins_over_variables_and_these_over_the_file(
    group: Any, tmp_path: Path
) -> None:
    path = tmp_path / "ci.toml"
    path.write_text(
        'json = true\n[bench]\ndevice = "board"\nrounds = 7\nseconds = 0.5\nno-accuracy = true\n'
        'shape = ["a=3x8x8", "b=4"]\n[prune]\nkeep-flops = 0.5\n'
    )
    environ = {"EDGEPRUNE_BENCH_ROUNDS": "9", "EDGEPRUNE_BENCH_NO_ACCURACY": "0"}
    words = ["bench", "run", "--config", str(path), "--device=cpu"]
    found = given.expanded(group, words, environ)
    assert found[:1] == ["bench"]
    assert sorted(found[1:-2]) == [
        "--json", "--rounds=9", "--seconds=0.5", "--shape=a=3x8x8", "--shape=b=4"
    ]  # fmt: skip
    assert found[-2:] == ["run", "--device=cpu"]
    by_variable = given.expanded(group, ["bench"], {"EDGEPRUNE_CONFIG": str(path)})
    assert "--device=board" in by_variable
    assert given.expanded(group, ["runs"], {"EDGEPRUNE_BENCH_ROUNDS": "9"}) == ["runs"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("roundz = 3", "roundz: no such option; did you mean rounds"),
        ("[bensh]\nrounds = 3", r"\[bensh\]: no command of that name; did you mean bench"),
        ("[bench]\nmlperf = 3", "mlperf: 3 is neither true nor false"),
        ("rounds = [1, 2]", "rounds: takes one value"),
        ("rounds = 2020-01-01", "is no text and no number"),
        ("rounds", "not readable as TOML"),
        ("help = true", "no such option"),
        ("rounds = " + "9" * 5000, "not readable as TOML"),
    ],
)
def test_what_a_file_cannot_say(group: Any, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "x.toml"
    path.write_text(text)
    with pytest.raises(EdgepruneError, match=said):
        given.expanded(group, ["bench", "--config", str(path)], {})


def test_one_file_is_named_and_can_be_found(group: Any, tmp_path: Path) -> None:
    one, other = tmp_path / "a.toml", tmp_path / "b.toml"
    one.write_text("rounds = 3")
    other.write_text("nonsense = 1")
    for words, said in (
        ([f"--config={one}", "--config", str(other)], "b.toml: stands beside"),  # not passed over
        (["--config", "~no-such-user/x.toml"], "no such user's folder"),
        (["--config="], "names no file"),
        (["run", "--config"], "names no file"),
    ):
        with pytest.raises(EdgepruneError, match=said):
            given.expanded(group, ["bench", *words], {})
    behind = ["bench", "--", "--config", str(other)]
    assert given.expanded(group, behind, {}) == behind


def test_variables_of_no_option_are_refused(group: Any) -> None:
    with pytest.raises(EdgepruneError, match="EDGEPRUNE_BENCH_ROUNDZ: no such option"):
        given.expanded(group, ["bench"], {"EDGEPRUNE_BENCH_ROUNDZ": "9"})
    with pytest.raises(EdgepruneError, match="--config: names no file"):
        given.expanded(group, ["bench", "--config"], {})


def recipe(path: Path, *words: str) -> str:
    files.write_json(path, records.plain(records.Recipe(argv=list(words))))
    return str(path)


def test_a_recipe_gives_the_words_of_its_command(group: Any, tmp_path: Path) -> None:
    words = ("prune", "a", "--keep-flops", "0.5", "--post-training", "--seed=3", "--keep", "f*")
    path = recipe(tmp_path / "recipe.json", *words)
    found = given.expanded(group, ["prune", "--config", path, "--keep-flops", "0.7"], {})
    assert found == [
        "prune", "a", "--post-training", "--seed=3", "--keep", "f*", "--keep-flops", "0.7"
    ]  # fmt: skip
    with pytest.raises(EdgepruneError, match="of edgeprune prune, not of edgeprune train"):
        given.expanded(group, ["train", "--config", path], {})


@pytest.mark.parametrize(
    "word",
    [
        ("--model", "evil.py:net"), ("--score=evil.py:f",), ("--model=evil.py/:net",),
        ("--model", "evil.pyc:net"),
    ],
)  # fmt: skip
def test_a_received_recipe_names_no_code(group: Any, tmp_path: Path, word: tuple[str, ...]) -> None:
    path = recipe(tmp_path / "recipe.json", "prune", *word)
    with pytest.raises(EdgepruneError, match="code runs only where it is typed"):
        given.expanded(group, ["prune", "--config", path], {})


def test_errors_are_json_too(capsys: pytest.CaptureFixture[str], empty_home: Path) -> None:
    assert errors.run(app, ["bench", "none", "--json"]) == 2
    told = capsys.readouterr()
    assert json.loads(told.out)["format"] == "edgeprune-output"
    error = json.loads(told.out)["error"]
    assert error["what"] == "no run 'none'"
    assert error["exit_code"] == 2
    assert "no run 'none'" in told.err
    assert errors.run(app, ["bench", "--rounds", "x", "--json"]) == 2
    assert "--rounds" in json.loads(capsys.readouterr().out)["error"]["what"]
    assert errors.run(app, ["bench", "none"]) == 2
    assert capsys.readouterr().out == ""


def test_quiet_and_verbose(capsys: pytest.CaptureFixture[str], empty_home: Path) -> None:
    words = ["inspect", "--model", "mobilenetv1-0.25", "--json"]
    assert errors.run(app, words) == 0
    assert "following the channels" in capsys.readouterr().err
    assert errors.run(app, [*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert errors.run(app, ["bench", "none", "--verbose"]) == 2
    assert "Traceback" in capsys.readouterr().err
    output.loudness()


def test_short_and_whole_help(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert errors.run(app, ["prune", "--help"]) == 0
    short = capsys.readouterr().out
    assert len(short.splitlines()) <= 60
    assert "--help-all" in short
    assert errors.run(app, ["prune", "--help-all"]) == 0
    whole = capsys.readouterr().out
    group = typer.main.get_command(app)
    for name, parameter in given.options(group.commands["prune"]).items():
        assert f"--{name}" in whole, name
        assert (f"--{name}" in short) or parameter.name not in brief.OFTEN["prune"]
    for command, names in brief.OFTEN.items():
        known = {p.name for p in group.commands[command].params}
        assert set(names) <= known, set(names) - known


def test_every_command_has_the_common_options(group: Any) -> None:
    for name, command in group.commands.items():
        assert {"config", "quiet", "verbose"} <= set(given.options(command)), name


def test_the_workflow_of_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its edgeprune lines, in a folder with a network and images; a machine that is busy may say no."""
    import numpy as np
    import torch
    from PIL import Image

    from tests.test_extras import NET

    shipped = Path(__file__).parents[2] / "deploy/ci"
    (tmp_path / "edgeprune.toml").write_text((shipped / "edgeprune.toml").read_text())
    (tmp_path / "net.py").write_text(NET)
    space: dict[str, Any] = {}
    exec(NET, space)
    torch.manual_seed(0)
    files.write_tensors(tmp_path / "net.safetensors", space["net"]().state_dict())
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for i in range(80):
        picture = Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8))
        picture.save(tmp_path / "photos" / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEPRUNE_BENCH_SECONDS", "0.2")
    monkeypatch.setenv("EDGEPRUNE_BENCH_ROUNDS", "4")
    lines = [
        line.partition("edgeprune ")[2] for line in (shipped / "github-actions.yml").read_text().splitlines()
        if line.strip().startswith("- run: edgeprune ")
    ]  # fmt: skip
    codes = [errors.run(app, line.split()) for line in lines]
    assert codes[:3] == [0, 0, 0]
    assert codes[3] in (0, 3)
    recipe = records.read(tmp_path / "runs/ci/recipe.json", records.Recipe)
    assert recipe.images == "photos"
