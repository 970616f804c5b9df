"""Many workers on one storage, killed at random: the table of one worker that was never disturbed."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("optuna", reason="pip install 'edgeprune[study]'")

from edgeprune import files, study
from edgeprune.errors import EdgepruneError
from edgeprune.study import storage
from edgeprune.study.storage import Board

from . import tiny

CONTEXT = multiprocessing.get_context("forkserver")  # torch is imported once, not for each kill
CONTEXT.set_forkserver_preload([tiny.__name__])
SERVERS = Path("/usr/lib/postgresql")


def start(folder: Path, *words: str) -> multiprocessing.process.BaseProcess:
    process = CONTEXT.Process(target=tiny.work, args=(str(folder), *words))
    process.start()
    return process


def finish(folder: Path, *words: str) -> None:
    process = start(folder, *words)
    process.join()
    assert process.exitcode == 0, (folder / "log").read_text()[-2000:]


def two_with_kills(folder: Path, kills: int, seed: int, *words: str) -> None:
    """Two workers at a time, of which one dies ``kills`` times, each time after some moments of work."""
    draw = random.Random(seed)
    steady = start(folder, *words)
    for _ in range(kills):
        other = start(folder, *words)
        time.sleep(draw.uniform(0.1, 1.5))
        victim, steady = (other, steady) if draw.random() < 0.7 else (steady, other)
        assert victim.pid
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
    steady.join()
    finish(folder, *words)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    tiny.prepare(folder, (0,))
    finish(folder)
    return folder


def test_a_study_ends_with_its_tables(unbroken: Path) -> None:
    rows = tiny.table(unbroken)
    assert [r["way"] for r in rows] == ["", "", "paper", "control", "paper", "control"]
    assert {r["state"] for r in rows} <= {"done", "still rising"}
    assert all(int(r["params"]) < int(r["dense_params"]) for r in rows if r["way"])
    there = {p.name for p in (unbroken / "studies" / "tiny").iterdir()}
    assert {"README.md", "study.html", "runs.csv", "claims.csv", "jobs", "journal.log"} <= there
    assert "<table>" in (unbroken / "studies" / "tiny" / "study.html").read_text()


@pytest.mark.parametrize(
    "words", [(), ("--storage", "sqlite:///shared.db")], ids=["journal", "sqlite"]
)
def test_two_workers_of_which_one_is_killed(
    words: tuple[str, ...], unbroken: Path, tmp_path: Path
) -> None:
    tiny.prepare(tmp_path, (0,))
    two_with_kills(tmp_path, 1 if words else 3, len(words), *words)
    assert tiny.outcome(tmp_path) == tiny.outcome(unbroken)


@pytest.fixture
def postgres() -> Iterator[str]:
    """A server of Debian's package on loopback, with a socket of its own; its folder is none of pytest's,
    which another session would shut to its user."""
    bins = sorted(SERVERS.glob("*/bin/initdb"))
    if not bins:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    pytest.importorskip("psycopg", reason="pip install 'psycopg[binary]'")
    home = Path(tempfile.mkdtemp(prefix="edgeprune-postgres-"))
    as_user: list[str] = []
    if os.getuid() == 0:  # the server refuses to run as root
        if subprocess.run(["id", "postgres"], capture_output=True).returncode:
            pytest.skip("there is no user postgres")
        shutil.chown(home, "postgres")
        as_user = ["runuser", "-u", "postgres", "--"]
    tool = bins[-1].parent
    run = {"cwd": home, "check": True, "capture_output": True, "timeout": 120}
    subprocess.run(
        [*as_user, tool / "initdb", "-D", home / "db", "-A", "trust", "-U", "edge"], **run
    )
    port = str(20_000 + os.getpid() % 20_000)
    options = f"-p {port} -k {home} -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [*as_user, tool / "pg_ctl", "-D", home / "db", "-w"]
    subprocess.run(
        [*control, "-o", options, "-l", home / "log", "start"],
        **{**run, "capture_output": False, "stdout": subprocess.DEVNULL},
    )
    yield f"postgresql+psycopg://edge@127.0.0.1:{port}/postgres"
    # what it says of a server that took long to go is no part of the test
    subprocess.run([*control, "-m", "immediate", "stop"], **{**run, "check": False})
    shutil.rmtree(home, ignore_errors=True)


def test_two_workers_on_a_postgresql_server(postgres: str, unbroken: Path, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    tiny.prepare(folder, (0,))
    two_with_kills(folder, 1, 7, "--storage", postgres)
    assert tiny.outcome(folder) == tiny.outcome(unbroken)


# -- who works at what -----------------------------------------------------------------------------


@pytest.fixture(params=["journal", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str | None:
    return None if request.param == "journal" else f"sqlite:///{tmp_path}/x.db"


def test_a_job_is_one_workers_at_a_time(tmp_path: Path, url: str | None) -> None:
    one, other = Board("x", tmp_path, url), Board("x", tmp_path, url)
    with one.claimed("job") as mine:
        assert mine is not None
        with other.claimed("job") as theirs:
            assert theirs is None
        with other.claimed("another") as theirs:
            assert theirs is not None
            other.failed(theirs, "for a reason")
        one.done(mine)
    assert [(a.job, a.state, a.why) for a in one.attempts()] == [
        ("job", storage.DONE, ""), ("another", storage.FAILED, "for a reason"),
    ]  # fmt: skip


def test_what_a_dead_worker_left_is_taken_up(tmp_path: Path, url: str | None) -> None:
    dead, board = Board("x", tmp_path, url), Board("x", tmp_path, url)
    assert dead._begin("job")  # and the process is gone, its lock with it
    with board.claimed("job") as mine:
        assert mine is not None
        assert mine.number == 1
        assert [a.state for a in board.attempts()] == [storage.GIVEN_UP, storage.RUNNING]


def test_another_machines_worker_is_dead_when_its_heart_stands_still(
    tmp_path: Path, url: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Board("x", tmp_path / "far", url or f"{tmp_path}/j.log")
    board = Board("x", tmp_path / "near", url or f"{tmp_path}/j.log")
    far.host = "far"
    theirs = far._begin("job")
    assert theirs is not None
    now = [1000.0]
    monkeypatch.setattr(storage.time, "monotonic", lambda: now[0])
    for beat in (1, 2, 3):
        with board.claimed("job") as mine:
            assert mine is None
        now[0] += 0.45 * storage.SILENT
        with board.claimed("job") as mine:
            assert mine is None  # silent, and not for long enough
        now[0] += 0.45 * storage.SILENT
        far.storage.set_trial_user_attr(theirs.key, "beat", beat)
    with board.claimed("job") as mine:
        assert mine is None  # it was heard of since
    now[0] += 1.1 * storage.SILENT
    with board.claimed("job") as mine:
        assert mine is not None


def test_of_two_that_begin_at_once_the_first_stays(tmp_path: Path, url: str | None) -> None:
    first = Board("x", tmp_path / "1", url or f"{tmp_path}/j.log")
    second = Board("x", tmp_path / "2", url or f"{tmp_path}/j.log")
    first.host, second.host = "first", "second"
    assert first._begin("job") is not None
    seen, looks = second._running, iter([True, False])
    second._running = lambda job: [] if next(looks) else seen(job)  # type: ignore[method-assign]
    assert second._begin("job") is None  # it had looked before the first began, and looks again


def test_a_torn_last_line_of_the_journal_is_dropped(tmp_path: Path) -> None:
    board = Board("x", tmp_path)
    with board.claimed("job") as mine:
        assert mine is not None
        board.done(mine)
    with open(tmp_path / "journal.log", "a") as f:
        f.write('{"op_code": 6, "wor')
    assert [a.state for a in Board("x", tmp_path).attempts()] == [storage.DONE]


def test_a_file_that_is_no_journal_stays_as_it_is(tmp_path: Path) -> None:
    """Its last line, without an end, was taken for one that a kill had torn."""
    notes = tmp_path / "notes.txt"
    notes.write_text("the only copy")
    with pytest.raises(EdgepruneError, match=r"notes\.txt: is no journal of a study"):
        Board("x", tmp_path, str(notes))
    assert notes.read_text() == "the only copy"
    notes.write_text('{"op_c')  # a first line that was torn is a journal's
    Board("x", tmp_path, str(notes))


def test_words_in_a_storage_that_no_worker_writes_are_told(tmp_path: Path) -> None:
    board = Board("x", tmp_path)
    attempt = board._begin("job")
    assert attempt is not None
    board.storage.set_trial_user_attr(attempt.key, "beat", "often")
    with pytest.raises(EdgepruneError, match=r"journal\.log: ValueError"):
        board.attempts()


def test_links_in_a_studys_folder_lead_nowhere(tmp_path: Path) -> None:
    far = tmp_path / "far"
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "journal.log.lock").symlink_to(far)
    with pytest.raises(EdgepruneError):
        Board("x", folder)
    with pytest.raises(OSError, match="symbolic"):
        files.to_append(folder / "journal.log.lock")
    assert not far.exists()


def test_a_storage_that_is_none_is_told_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(EdgepruneError) as e:
        Board("x", tmp_path, "postgresql+psycopg://me:secret@127.0.0.1:1/none")
    assert "secret" not in str(e.value)
    assert "me@127.0.0.1:1/none" in str(e.value)
    with pytest.raises(EdgepruneError, match="--storage nonsense"):
        Board("x", tmp_path, "nonsense://x")


# -- failures --------------------------------------------------------------------------------------


def test_a_failure_is_kept_and_retried_when_that_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.study import work

    tiny.prepare(tmp_path, (0,))
    monkeypatch.chdir(tmp_path)
    found = study.read(Path("s.toml"))
    made: set[str] = set()
    broken = [True]

    def do(job: object, hands: object) -> None:
        name = job.name  # type: ignore[attr-defined]
        if broken[0] and name.endswith("A-s0-paper"):
            raise ZeroDivisionError("of nothing")
        made.add(name)

    monkeypatch.setattr(work, "do", do)
    monkeypatch.setattr(work, "is_done", lambda job: job.name in made)
    first = study.Worker(found).work()
    (name,) = first.failed
    assert first.failed[name] == "ZeroDivisionError: of nothing"
    assert len(first.done) == 4  # all but it and its control
    control = next(j for j in first.jobs if j.name.endswith("A-s0-control"))
    assert first.why_not(control) == f"waits for {name}, which failed"
    broken[0] = False
    assert study.Worker(found).work().failed == first.failed  # nothing was asked
    again = study.Worker(found, retry=True).work()
    assert (len(again.done), again.failed) == (6, {})
