"""The words of a command as one typed value: what Typer sees is what the fields say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import pytest
import typer

from edgeprune.cli import errors
from edgeprune.cli.typed import Panel, flat, typed


@dataclass(frozen=True)
class Rest(Panel, title="The rest"):
    seed: Annotated[int, typer.Option("--seed", min=0, help="A seed.")] = 0
    loud: Annotated[bool, typer.Option("--loud", help="Shout.")] = False


@dataclass(frozen=True)
class Words:
    name: Annotated[str, typer.Argument(help="Whom.")]
    again: Annotated[list[str] | None, typer.Option("--again", help="More.")] = None
    rest: Rest = field(default_factory=Rest)


def app_of(heard: list[Words]) -> typer.Typer:
    @typed
    def greet(words: Words) -> None:
        """Greet somebody."""
        heard.append(words)

    app = typer.Typer()
    app.command()(greet)
    return app


def test_words_arrive_typed_and_in_their_panels() -> None:
    heard: list[Words] = []
    app = app_of(heard)
    assert errors.run(app, ["you"]) == 0
    assert errors.run(app, "me --again a --again b --seed 3 --loud".split()) == 0
    assert heard == [Words("you"), Words("me", ["a", "b"], Rest(3, True))]
    assert flat(heard[1]) == {"name": "me", "again": ["a", "b"], "seed": 3, "loud": True}


def test_what_typer_refuses_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    app = app_of([])
    assert errors.run(app, []) == 2
    assert "argument 'name'" in capsys.readouterr().err
    assert errors.run(app, ["you", "--seed", "-1"]) == 2
    assert "seed" in capsys.readouterr().err


def test_help_shows_panels_and_texts(capsys: pytest.CaptureFixture[str]) -> None:
    assert errors.run(app_of([]), ["--help"]) == 0
    out = capsys.readouterr().out
    assert "Greet somebody." in out
    assert "The rest" in out
    assert out.index("--again") < out.index("The rest") < out.index("--seed")
    assert "A seed." in out


def test_an_option_of_two_panels_stands_in_each_its_own() -> None:
    """Panels copy the option that they share: nothing is written into it."""
    from edgeprune.cli import options
    from edgeprune.cli.prune import prune
    from edgeprune.cli.train import train

    signature = {name: p.annotation for name, p in prune.__signature__.parameters.items()}  # type: ignore[attr-defined]
    assert signature["seed"].__metadata__[0].rich_help_panel == "Rest"
    assert options.SEED.__metadata__[0].rich_help_panel is None  # type: ignore[attr-defined]
    plain = train.__signature__.parameters["seed"].annotation  # type: ignore[attr-defined]
    assert plain.__metadata__[0].rich_help_panel is None


def test_a_word_that_is_said_twice_is_a_fault_of_the_program() -> None:
    @dataclass(frozen=True)
    class Twice:
        seed: Annotated[int, typer.Option("--seed")] = 0
        rest: Rest = field(default_factory=Rest)

    def command(words: Twice) -> None: ...

    command.__annotations__["words"] = Twice
    with pytest.raises(TypeError, match="seed"):
        typed(command)
