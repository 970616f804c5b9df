"""``edgeprune frontier``: what accuracy costs in milliseconds, from one look at the images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import complete, options, output, words
from .typed import Panel, typed

if TYPE_CHECKING:
    from ..bench.devices import Device
    from ..frontier import Found, Wish


@dataclass(frozen=True)
class What(Panel, title="What to prune"):
    model: Annotated[str | None, options.model(" Default: vgg16, or what --weights says.")] = None
    init: options.INIT = "scratch"
    weights: options.WEIGHTS = None
    head: Annotated[str | None, options.head()] = None
    data: Annotated[str | None, options.data(" Labels judge the dense network.")] = None
    images: Annotated[
        str | None,
        typer.Option("--images", help="What is looked at, without labels; as of edgeprune prune."),
    ] = None
    shape: options.EXAMPLE = None
    task: options.TASK = None
    size: options.SIZE = None


@dataclass(frozen=True)
class Which(Panel, title="Which networks"):
    points: Annotated[
        int, typer.Option("--points", help="Networks besides the dense one, 2 to 20.")
    ] = 7
    int8: Annotated[bool, typer.Option("--int8", help="And each of them in 8 bits, beside it.")] = (
        False
    )
    score: options.SCORE = None
    method: options.METHOD = None
    keep: options.KEEP = None
    floor: options.FLOOR = None
    round_to: options.ROUND_TO = "auto"
    compensate: Annotated[
        str | None,
        typer.Option(
            "--compensate", help="none, mean, lstsq (default), blocks: how each is repaired."
        ),
    ] = None


@dataclass(frozen=True)
class Where(Panel, title="Where they are measured"):
    device: Annotated[
        str,
        typer.Option("--device", autocompletion=complete.devices, help="As of edgeprune bench."),
    ] = "cpu"
    python: Annotated[
        str | None,
        typer.Option("--python", metavar="PATH", help="Over ssh: the interpreter there."),
    ] = None
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="Threads inside an operator.")
    ] = 1
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Interleaved rounds in all.")] = 30
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.1, help="Seconds of runs per network.")
    ] = 3.0


@dataclass(frozen=True)
class Frontier:
    """Everything that can be typed after ``edgeprune frontier``."""

    run: Annotated[
        str | None,
        typer.Argument(
            autocompletion=complete.runs,
            metavar="[RUN]",
            help="The dense network of this run, instead of --model and --weights.",
        ),
    ] = None
    what: What = field(default_factory=What)
    which: Which = field(default_factory=Which)
    where: Where = field(default_factory=Where)
    rest: words.Rest = field(default_factory=words.Rest)

    def wish(self) -> Wish:
        """What is asked, checked."""
        from ..frontier import Wish
        from ..records import Request
        from ..ways.way import settings_of

        words.own_score(self.which.score)
        known = {
            "score": self.which.score, "method": self.which.method, "floor": self.which.floor,
            "keep": tuple(self.which.keep or ()) or None, "seed": self.rest.seed,
            "compensate": self.which.compensate,
            "round_to": words.multiple(self.which.round_to, self._elsewhere()),
        }  # fmt: skip
        settings = settings_of({k: v for k, v in known.items() if v is not None})
        request = Request(
            threads=self.where.threads, rounds=self.where.rounds, seconds=self.where.seconds,
            passes=min(6, self.where.rounds),
        )  # fmt: skip
        where = self.where.device
        return Wish(settings, self.which.points, where, int8=self.which.int8, request=request)

    def _elsewhere(self) -> str | None:
        """The device, where it is not this machine and decides what widths it computes in."""
        here = self.where.device == "cpu" or self.which.round_to != "auto"
        return None if here else self.where.device


@typed
def frontier(asked: Frontier) -> None:
    """Show what accuracy costs in milliseconds: several networks from exact to fast, measured.

    Looks at unlabelled images once, makes [b]--points[/b] smaller networks without training, measures all
    of them beside the dense one on [b]--device[/b], and says what each keeps of its answers on images that
    took no part. A few minutes; killed, the same command goes on. [b]edgeprune prune RUN --pick N[/b] then
    writes one of them.

    Example: [b]edgeprune frontier --model torchvision/mobilenet_v2 --init imagenet --images photos/[/b]
    """
    from .. import frontier as room
    from ..bench import devices
    from ..bench.devices import profiles
    from ..report import frontier as drawn
    from . import progress

    wish = asked.wish()
    if (profile := profiles.find(wish.device)) is not None:
        wish = replace(wish, request=profile.over(wish.request))
    place: Device = devices.reach(asked.where.device, asked.where.python)
    with output.aside(), progress.watch() as watch:
        found = room.explore(words.wanted(asked), wish, place, watch)
    paths = drawn.write(found.run, found.frontier)
    if asked.rest.as_json:
        show_json(found, paths)
        return
    output.show(drawn.table(found.run.name, found.frontier))
    for path in paths:
        output.note(f"the picture: {path}")
    eight = " --int8" if wish.int8 else ""
    output.note(f"next: edgeprune prune {found.run.word} --pick N{eight}")


def show_json(found: Found, paths: list[Path]) -> None:
    from .. import records

    output.show_json(
        records.plain(found.frontier)
        | {"run": str(found.run.path), "pictures": [str(p) for p in paths]}
    )
