"""What bench asks, what a device answers, what its summary says: the parts of a result file.

``runs/NAME/bench/*.json``, or wherever ``--out`` says, is one :class:`Bench`. Seconds, bytes and counts
are plain numbers, accuracies are shares, absent things are ``null``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge, Gt, Lt, MaxLen

from ..errors import EdgepruneError
from .run import Output
from .typed import FINITE, Count, Stated

Text = Annotated[str, MaxLen(10_000)]
Time = Annotated[float, Ge(0), Lt(1e7)]  # seconds
Ratio = Annotated[float, Gt(0)]
Interval = tuple[float | None, float | None]  # of 95 %; None: open
MOST = MaxLen(10_000_000)  # samples; more is no measurement
MANY = MaxLen(100_000)  # models, processes, rounds


class Finite:
    """A record whose numbers are finite."""

    __pydantic_config__: ClassVar[Any] = FINITE


@dataclass(frozen=True)
class Request(Stated, Finite):
    """What is asked of a device; the same fields as the runner's options, explained there."""

    STATED: ClassVar[tuple[str, ...]] = ("threads",)

    threads: int = 1
    rounds: int = 50  # in all, over the passes
    seconds: float = 5.0  # of runs per model
    samples: int = 64  # runs per model that were not preempted: what p90 needs
    limit: float = 60.0  # seconds per model after which it ends without enough samples
    passes: int = 10  # fresh processes per model
    batch: int = 1
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    cores: tuple[int, ...] | None = None  # run on these only
    cool_down: float = 0.0  # seconds of rest before each pass
    max_temperature: float | None = None  # degrees Celsius, waited for before each pass

    def __post_init__(self) -> None:
        for name in ("threads", "rounds", "samples", "passes", "batch"):
            if getattr(self, name) < 1:
                raise EdgepruneError(f"--{name} {getattr(self, name)}", "must be at least 1")
        for name in ("seconds", "limit", "cool_down"):
            if not 0 <= getattr(self, name) < 1e6:
                raise EdgepruneError(f"--{name} {getattr(self, name)}", "not a sensible duration")

    def arguments(self) -> list[str]:
        """The runner's command line, without the models."""
        words: list[str] = []
        for name, value in asdict(self).items():
            if isinstance(value, int | float):
                words += [f"--{name.replace('_', '-')}", str(value)]
        if self.cores is not None:
            words += ["--cores", ",".join(map(str, self.cores))]
        for name, shape in self.shapes.items():
            words += ["--shape", f"{name}={','.join(map(str, shape))}"]
        return words


# -- the runner's document (``deploy/runner.py`` describes it): it comes from outside ----------------


@dataclass(frozen=True)
class Round(Finite):
    """A slice of runs of one model: a column each of times and of involuntary switches."""

    round: Count
    wall_s: Annotated[list[Time], MOST]
    cpu_s: Annotated[list[Time | None], MOST]
    switches: Annotated[list[Count | None], MOST]
    energy_uj: Count | None

    def __post_init__(self) -> None:
        if len({len(self.wall_s), len(self.cpu_s), len(self.switches)}) != 1 or not self.wall_s:
            raise EdgepruneError(f"round {self.round}", "columns of unlike length")


@dataclass(frozen=True)
class Stage(Stated, Finite):
    """Bytes of a process at one moment: resident, and at most so far."""

    rss: Count | None = None
    high_water: Count | None = None


@dataclass(frozen=True)
class Memory(Stated, Finite):
    bare: Stage = Stage()
    imported: Stage = Stage()
    loaded: Stage = Stage()
    peak: Stage = Stage()


@dataclass(frozen=True, kw_only=True)
class Session(Stated, Finite):
    """One fresh process with one model."""

    number: Count = 0  # of the pass; JSON says ``pass``
    import_s: Time | None = None
    load_s: Time = 0.0
    first_run_s: Time = 0.0
    stable: bool = True  # when warm-up ended
    memory: Memory = Memory()
    differing_runs: Count = 0
    worst_difference: float = 0.0  # of all runs, relative to the largest output
    rounds: Annotated[list[Round], MANY] = field(default_factory=list)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        made = super().__get_pydantic_core_schema__(source, handler)
        for f in made["schema"]["fields"]:
            if f["name"] == "number":
                f["validation_alias"] = "pass"
        return made


@dataclass(frozen=True)
class Correct(Finite):
    """Of ``n`` labelled images so many were classified right."""

    n: Count
    correct: Count
    predictions: Annotated[list[Count], MOST]


@dataclass(frozen=True, kw_only=True)
class Timed(Stated, Finite):
    """One model as it was run."""

    bytes: Count = 0
    sha256: Text = ""
    accuracy: Correct | None = None
    sessions: Annotated[list[Session], MANY] = field(default_factory=list)

    @property
    def rounds(self) -> list[Round]:
        return [r for session in self.sessions for r in session.rounds]


@dataclass(frozen=True, kw_only=True)
class Options(Finite):
    """The options as the runner took them, as far as anyone asks."""

    threads: Count
    samples: Count
    limit: float
    threads_asked: Count | None = None  # where a page may run fewer
    cores: list[Count] | None = None
    max_temperature: float | None = None


@dataclass(frozen=True, kw_only=True)
class Processor(Finite):
    name: Text | None
    cores: Count | None
    flags: Annotated[list[Text], MANY] | None = None
    affinity: Annotated[list[Count], MANY] | None = None


@dataclass(frozen=True, kw_only=True)
class Environment(Finite):
    onnxruntime: Text
    cpu: Processor
    system: Text | None = None
    machine: Text | None = None
    provider: Text | None = None


@dataclass(frozen=True, kw_only=True)
class Weather(Finite):
    """What else went on in the machine."""

    time: float
    load: list[float] | None
    steal_ticks: Count | None  # of 10 ms
    throttled: Count | None
    governor: Text | None = None
    temperatures: dict[str, float] | None = None  # degrees Celsius


@dataclass(frozen=True, kw_only=True)
class Measured(Finite):
    """A device's whole answer."""

    runner: Literal[1] = 1
    options: Options
    environment: Environment
    before: Weather
    after: Weather
    stopped: Text  # enough, limit
    models: Annotated[list[Timed], MANY]

    def of(self, models: int) -> Measured:
        """Itself, if it is about so many models and has samples of each."""
        if len(self.models) != models:
            raise EdgepruneError("models", f"{len(self.models)} of them, {models} were sent")
        for i, model in enumerate(self.models):
            if not model.rounds:
                raise EdgepruneError(f"models.{i}", "no samples")
        return self


@dataclass(frozen=True)
class Event(Finite):
    """A line of the runner on the way to its document."""

    event: Literal["session", "round", "accuracy"]
    model: Count
    round: Round | None = None
    session: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.event != "accuracy" and getattr(self, self.event) is None:
            raise EdgepruneError("event", f"no {self.event}")


# -- what bench makes of it --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Listed(Finite):
    """A model of a result file, in the order of the command line; the first is the baseline.

    ``counted_by``: edgeprune (the paper's convention, from the file's metadata) or graph (twice the
    multiply-adds of the convolutions and matrix products, counted in the file).
    """

    name: Text
    file: Text | None = None
    bytes: Count | None = None
    params: Count | None = None
    macs: Count | None = None
    flops: Count | None = None
    counted_by: Text | None = None
    int8: bool = False  # by its operators, whatever it is called
    metadata: dict[str, str] = field(default_factory=dict)  # the file's own
    images: Count | None = None  # that it was judged on
    top1: float | None = None  # share
    outputs: list[Output] = field(default_factory=list)  # beside the baseline's, without labels


@dataclass(frozen=True, kw_only=True)
class Latency(Stated, Finite):
    """Of one run, seconds; a percentile that the sample does not carry is None."""

    STATED: ClassVar[tuple[str, ...]] = ("median_s", "p90_s")

    median_s: Time | None = None
    median_interval_s: Interval | None = None
    min_s: Time | None = None
    p90_s: Time | None = None
    p99_s: Time | None = None
    samples: Count = 0
    kept_share: float | None = None
    clock: Text | None = None  # wall, thread CPU


@dataclass(frozen=True, kw_only=True)
class Loading(Stated, Finite):
    """Seconds, medians over the processes."""

    STATED: ClassVar[tuple[str, ...]] = ("load_s",)

    import_s: Time | None = None
    load_s: Time | None = None
    first_run_s: Time | None = None


@dataclass(frozen=True, kw_only=True)
class Resident(Stated, Finite):
    """Bytes, medians over the processes; the peak is the highest ever."""

    STATED: ClassVar[tuple[str, ...]] = ("peak",)

    bare: float | None = None
    imported: float | None = None
    loaded: float | None = None
    peak: float | None = None


@dataclass(frozen=True, kw_only=True)
class Judged(Stated, Finite):
    """One network of a summary, against the baseline.

    ``promised_speedup`` = FLOPs over FLOPs; ``realised_speedup`` = speedup / promised; ``energy_j`` a
    run, with whatever else the processor did meanwhile.
    """

    STATED: ClassVar[tuple[str, ...]] = (
        "bytes", "flops", "latency", "load", "memory", "top1", "speedup", "speedup_interval",
        "promised_speedup", "realised_speedup", "realised_speedup_interval", "verdict",
    )  # fmt: skip

    name: Text
    bytes: Count | None = None
    params: Count | None = None
    macs: Count | None = None
    flops: Count | None = None
    counted_by: Text | None = None
    int8: bool = False
    latency: Latency = Latency()
    load: Loading = Loading()
    memory: Resident = Resident()
    top1: float | None = None
    outputs: list[Output] = field(default_factory=list)  # beside the baseline's, without labels
    images: Count | None = None
    energy_j: float | None = None
    unswitched_share: float | None = None
    contended: bool = False
    speedup: Ratio | None = None
    speedup_interval: Interval | None = None
    promised_speedup: Ratio | None = None
    realised_speedup: Ratio | None = None
    realised_speedup_interval: Interval | None = None
    verdict: Text = "baseline"


@dataclass(frozen=True)
class Warning(Finite):
    """What was seen, the likely cause, what to do next."""

    seen: Text
    cause: Text = ""
    next: Text = ""


@dataclass(frozen=True, kw_only=True)
class Summary(Finite):
    """What the samples say; it can be made again from them."""

    baseline: Text | None = None
    networks: Annotated[list[Judged], MANY]
    warnings: Annotated[Sequence[Warning], MANY] = ()


@dataclass(frozen=True, kw_only=True)
class Bench(Finite):
    """A result file of bench. ``measured``: a device's answer as it came, every sample of it."""

    format: Literal["edgeprune-bench"] = "edgeprune-bench"
    version: Literal[1] = 1
    status: Text  # complete; incomplete while it is measured, and for ever if that broke off
    created: Text  # local time of the start
    device: Text  # as it was asked for
    emulated: bool = False  # then its times say nothing
    request: Request
    models: Annotated[list[Listed], MANY] = field(default_factory=list)
    measured: Any = None  # see :class:`Measured`
    summary: Summary | None = None  # of what is complete


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One network in two result files, or two of one file. ``answers``: the share that labels call
    right, or that are the baseline's, of ``images`` each."""

    name: str
    before_s: float
    after_s: float
    speedup: float  # before / after
    speedup_interval: tuple[float, float]
    verdict: str
    same_file: bool
    bytes: tuple[int | None, int | None] = (None, None)
    answers: tuple[float | None, float | None] = (None, None)
    images: tuple[int | None, int | None] = (None, None)
