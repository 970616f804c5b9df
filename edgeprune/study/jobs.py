"""A study as jobs: each makes one run, and says which others it wants done before. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from .. import records
from ..errors import EdgepruneError, closest
from ..records import Flat, Network, Start, Study, Words

Kind = Literal["train", "prune", "bench"]


@dataclass(frozen=True)
class Job:
    """One run, or its measurement. ``wants`` are jobs that are done before, by name."""

    name: str
    kind: Kind
    model: str
    data: str
    start: str  # the word of its first weights: A, B
    first: Start
    words: Words  # of the training, all of them together
    seed: int
    flat: Flat
    wants: tuple[str, ...] = ()
    way: str | None = None  # the word of its way
    pruning: records.Pruning | None = None
    baseline: str = (
        ""  # the job that trains its dense network; its own name where it does so itself
    )
    of: str | None = None  # the job that its first weights, or the plan that it applies, come from

    @property
    def run(self) -> str:
        """The run that a pruning makes, or that is measured."""
        return self.name.removesuffix("-bench") if self.kind == "bench" else self.name

    @property
    def names(self) -> list[str]:
        """Its own, and the runs of the further lengths of a training."""
        return (
            [self.trained_in(n) for n in self.words.epochs or [0]]
            if self.kind == "train"
            else [self.name]
        )

    def trained_in(self, epochs: int) -> str:
        """The run of a training of that many epochs: the first length has the job's own name."""
        lengths = self.words.epochs or []
        return self.name if not lengths or epochs == lengths[0] else f"{self.name}-e{epochs}"


def jobs(study: Study) -> list[Job]:
    """All jobs of a study, seed after seed, each after those that it wants."""
    check(study)
    found: list[Job] = []
    for seed, (model, network) in product(study.seeds, study.models.items()):
        for data in network.data or study.data:
            words = study.train.but(study.data[data]).but(network.train)
            base = {
                start: _baseline(study, model, data, start, network, words, seed)
                for start in _ordered(network.inits)
            }
            found += base.values()
            for job in base.values():
                found += _prunings(study, job)
    if study.bench:
        found += _benches(found)
    _named_once(found)
    return found


def check(study: Study) -> None:
    """Refuse what cannot be: nothing to do, words that name nothing."""
    for what, there in (("models", study.models), ("data", study.data), ("seeds", study.seeds)):
        if not there:
            raise EdgepruneError(
                f"study {study.name}: {what}", "there are none", "name at least one"
            )
    if len(set(study.seeds)) < len(study.seeds):
        raise EdgepruneError(f"study {study.name}: seeds {study.seeds}", "one stands twice")
    inits = [start for network in study.models.values() for start in network.inits]
    for word in (*study.models, *study.data, *inits, *study.ways):
        if not plain(word):
            raise EdgepruneError(
                f"study {study.name}: {word!r}", "no letter of it can stand in a run's name"
            )
    for model, network in study.models.items():
        where = f"study {study.name}: models.{model}"
        if not network.inits:
            raise EdgepruneError(
                f"{where}.inits", "there are none", 'such as B = {init = "scratch"}'
            )
        for name in network.data or ():
            _known(f"{where}.data", name, study.data)
        for start, first in network.inits.items():
            if first.of is not None:
                _known(f"{where}.inits.{start}.of", first.of, network.inits)
        _ordered(network.inits)
    for way, told in study.ways.items():
        if (of := told.words.get("of")) is not None:
            _known(f"study {study.name}: ways.{way}.of", of, [w for w in study.ways if w != way])


def _baseline(
    study: Study, model: str, data: str, start: str, network: Network, words: Words, seed: int
) -> Job:
    """The job that trains a dense network."""
    first = network.inits[start]
    name = named(model, data, start, f"s{seed}")
    of = None if first.of is None else named(model, data, first.of, f"s{seed}")
    wants = () if of is None else (of,)
    return Job(name, "train", model, data, start, first, words, seed, study.flat, wants,
               baseline=name, of=of)  # fmt: skip


def _prunings(study: Study, trained: Job) -> Iterator[Job]:
    """Each way from the network of ``trained``; one that applies another's plan after that one."""
    for way in _after({w: p.words.get("of") for w, p in study.ways.items()}, "ways"):
        told = study.ways[way]
        of = told.words.get("of")
        own = {word: value for word, value in told.words.items() if word != "of"}
        given = None if of is None else f"{trained.name}-{plain(of)}"
        wants = (trained.name,) if given is None else (trained.name, given)
        yield replace(
            trained, name=f"{trained.name}-{plain(way)}", kind="prune", wants=wants, way=way,
            pruning=records.Pruning(told.way, own), of=given,
        )  # fmt: skip


def _benches(found: list[Job]) -> Iterator[Job]:
    """Each pruned network measured, one after the other, when nothing else is left to do."""
    wants = tuple(job.name for job in found)
    for job in found:
        if job.kind == "prune":
            bench = replace(job, name=f"{job.name}-bench", kind="bench", wants=wants, of=None)
            wants = (*wants, bench.name)
            yield bench


def named(*words: str) -> str:
    """``mobilenetv1-cifar10-A-s0``."""
    return "-".join(map(plain, words))


def plain(word: str) -> str:
    """A word as it stands in a run's name."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", word).strip("-.")


def _ordered(inits: Mapping[str, Start]) -> list[str]:
    return _after({name: start.of for name, start in inits.items()}, "inits")


def _after(of: Mapping[str, str | None], what: str) -> list[str]:
    """The names, each after the one that it is made of."""
    done: list[str] = []
    while len(done) < len(of):
        ready = [n for n, wants in of.items() if n not in done and (wants is None or wants in done)]
        if not ready:
            left = ", ".join(n for n in of if n not in done)
            raise EdgepruneError(f"{what} {left}", "each is made of another of them")
        done += ready
    return done


def _known(where: str, word: str, known: Iterable[str]) -> None:
    if word not in (names := list(known)):
        raise EdgepruneError(
            f"{where} {word!r}", closest(str(word), names) if names else "there are none"
        )


def _named_once(found: list[Job]) -> None:
    names = [name for job in found for name in job.names]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise EdgepruneError(
            f"run {twice}", "two of the study's would have this name", "rename a way or a start"
        )


# -- what can be done now --------------------------------------------------------------------------


def ready(all_jobs: Iterable[Job], done: Set[str], failed: Set[str]) -> list[Job]:
    """Jobs that are not over and of which everything that they want is done, in their order.

    A measurement waits until the others are over, be it that they failed.
    """
    rest = list(all_jobs)
    over = done | failed | set(blocked(rest, failed))
    return [
        job for job in rest
        if job.name not in over and all(w in (over if _only_after(job, w) else done) for w in job.wants)
    ]  # fmt: skip


def blocked(all_jobs: Iterable[Job], failed: Set[str]) -> dict[str, str]:
    """Jobs that wait for one that has failed: name -> that one."""
    found: dict[str, str] = {}
    for job in all_jobs:
        for want in job.wants:
            if _only_after(job, want):
                continue
            if want in failed or want in found:
                found[job.name] = found.get(want, want)
                break
    return found


def _only_after(job: Job, want: str) -> bool:
    """Whether ``job`` waits for that one's end alone, and not for its success."""
    return job.kind == "bench" and want != job.run
