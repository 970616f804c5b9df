"""The runner as a program: what it prints, what it refuses, what it leaves behind."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeprune.bench.devices.base import runner_path
from tests.tiny_onnx import conv_net, save, with_random_output

QUICK = ["--passes", "2", "--rounds", "4", "--seconds", "0.02", "--samples", "1"]


def call(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, runner_path(), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def run(*words: str | Path, **environment: str) -> dict[str, Any]:
    """The document of a quick measurement that must succeed."""
    done = call(*QUICK, *words, **environment)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout.splitlines()[-1])


def error(*words: str | Path, **environment: str) -> str:
    """The sentence of a measurement that must fail."""
    done = call(*QUICK, *words, **environment)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])["error"]


def test_help_is_the_docstring() -> None:
    shown = call("--help").stdout
    assert (
        shown.strip()
        == ast.get_docstring(ast.parse(runner_path().read_text()), clean=False).strip()
    )


def test_it_is_python_3_9_and_needs_nothing_but_numpy_and_onnxruntime() -> None:
    tree = ast.parse(runner_path().read_text(), feature_version=(3, 9))
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in (
            [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module]
        )
    }
    assert imported - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


def test_document(tmp_path: Path) -> None:
    a, b = save(tmp_path / "a.onnx"), save(tmp_path / "-b.onnx", conv_net(width=16))
    document = run("--", a, b)
    assert document["runner"] == 1
    assert document["options"]["threads"] == 1
    assert document["environment"]["onnxruntime"]
    assert len(document["before"]["load"]) == 3
    for model, path in zip(document["models"], (a, b), strict=True):
        assert model["bytes"] == path.stat().st_size
        assert len(model["sha256"]) == 64
        assert model["accuracy"] is None
        assert [s["pass"] for s in model["sessions"]] == [0, 1]
        for session in model["sessions"]:
            assert session["inputs"] == {"images": [1, 3, 8, 8]}
            assert session["outputs"] == {"logits": [1, 4]}
            assert len(session["answer"]) == 4
            assert session["differing_runs"] == 0
            for r in session["rounds"]:
                assert len(r["wall_s"]) == len(r["cpu_s"]) == len(r["switches"]) > 0
                assert min(r["wall_s"]) > 0
    numbers = [r["round"] for s in document["models"][0]["sessions"] for r in s["rounds"]]
    assert numbers == [0, 1, 2, 3]


def test_memory_is_the_sessions_own(tmp_path: Path) -> None:
    """A parent of 300 MB must not show in a fresh process (ru_maxrss would pass it on)."""
    path = save(tmp_path / "a.onnx")
    ballast = "import sys, subprocess; b = bytearray(300 << 20); b[::4096] = b'x' * len(b[::4096]);"
    code = ballast + "sys.exit(subprocess.call(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, sys.executable, runner_path(), *QUICK, path],
        capture_output=True,
        text=True,
        timeout=120,
    )
    document = json.loads(done.stdout.splitlines()[-1])
    for session in document["models"][0]["sessions"]:
        memory = session["memory"]
        stages = [memory[s]["high_water"] for s in ("bare", "imported", "loaded", "peak")]
        assert stages == sorted(stages)
        assert stages[0] < 60 << 20
        assert stages[-1] < 250 << 20


def test_the_session_finds_telemetry_off_before_the_import(tmp_path: Path) -> None:
    """A stand-in for onnxruntime writes down what its import saw."""
    fake = tmp_path / "onnxruntime.py"
    names = ["ORT_DISABLE_TELEMETRY", "ORT_INTRA_OP_NUM_THREADS", "ORT_LOAD_CONFIG_FROM_MODEL"]
    fake.write_text(f"import os\nraise ImportError(str([os.environ.get(n) for n in {names}]))\n")
    environment = {"ORT_INTRA_OP_NUM_THREADS": "6", "ORT_LOAD_CONFIG_FROM_MODEL": "1"}
    told = error(
        save(tmp_path / "a.onnx"),
        PYTHONPATH=str(tmp_path),
        ORT_DISABLE_TELEMETRY="0",
        **environment,
    )
    assert "['1', None, None]" in told
    assert "pip install" in told


def test_the_same_inputs_and_answers_in_each_process(tmp_path: Path) -> None:
    document = run(save(tmp_path / "a.onnx"))
    answers = [s["answer"] for s in document["models"][0]["sessions"]]
    assert answers[0] == answers[1]
    assert len(set(answers[0])) == 4


def test_a_random_model_is_noticed(tmp_path: Path) -> None:
    document = run(save(tmp_path / "random.onnx", with_random_output()))
    session = document["models"][0]["sessions"][0]
    assert session["differing_runs"] > 0
    assert session["worst_difference"] > 1e-3


def test_accuracy_is_that_of_a_loop_by_hand(tmp_path: Path) -> None:
    import onnxruntime

    path = save(tmp_path / "a.onnx")
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (70, 8, 8, 3), dtype=np.uint8)
    mean, std = np.float32([0.1, 0.2, 0.3]), np.float32([0.3, 0.2, 0.1])
    session = onnxruntime.InferenceSession(path)
    x = ((images[..., ::-1] / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)
    expected = session.run(None, {"images": np.ascontiguousarray(x, np.float32)})[0].argmax(1)
    labels = expected.copy()
    labels[:7] = (labels[:7] + 1) % 4
    npz = tmp_path / "images.npz"
    np.savez(npz, images=images, labels=labels, mean=mean, std=std, channels=np.array("BGR"))
    for batch in ("N", 1, 8):  # open, and fixed to what does not divide 70
        fixed = save(tmp_path / "fixed.onnx", conv_net(batch=batch))
        accuracy = run("--accuracy", npz, fixed)["models"][0]["accuracy"]
        assert (accuracy["n"], accuracy["correct"]) == (70, 63)
        assert accuracy["predictions"] == expected.tolist()


def test_preemption_and_threads(tmp_path: Path) -> None:
    document = run("--threads", "2", save(tmp_path / "a.onnx"))
    assert document["options"]["threads"] == 2
    switches = [
        s for x in document["models"][0]["sessions"] for r in x["rounds"] for s in r["switches"]
    ]
    assert all(isinstance(s, int) and s >= 0 for s in switches)


def test_it_ends_at_the_limit(tmp_path: Path) -> None:
    done = call(
        "--passes",
        "3",
        "--rounds",
        "30",
        "--seconds",
        "9",
        "--limit",
        "0.1",
        save(tmp_path / "a.onnx"),
    )
    document = json.loads(done.stdout.splitlines()[-1])
    assert document["stopped"] == "limit"
    assert len(document["models"][0]["sessions"]) == 1


def test_streamed_rounds_are_those_of_the_document(tmp_path: Path) -> None:
    lines = call(*QUICK, "--stream", save(tmp_path / "a.onnx")).stdout.splitlines()
    *events, document = map(json.loads, lines)
    told = [e["round"] for e in events if e["event"] == "round"]
    kept = [r for s in document["models"][0]["sessions"] for r in s["rounds"]]
    assert told == kept


def test_open_axes_want_a_shape(tmp_path: Path) -> None:
    model = conv_net()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    path = save(tmp_path / "open.onnx", model)
    assert "--shape images=1,3,H,8" in error(path)
    document = run("--shape", "images=2,3,12,8", path)
    assert document["models"][0]["sessions"][0]["inputs"] == {"images": [2, 3, 12, 8]}
    assert "does not fit" in error("--shape", "images=2,5,12,8", path)


@pytest.mark.parametrize("raw", [b"", b"hello", conv_net().SerializeToString()[:400]])
def test_what_is_no_model(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(raw)
    assert error(path)


def test_missing_file_unknown_operator_and_dead_process(tmp_path: Path) -> None:
    assert "No such file" in error(tmp_path / "none.onnx")
    model = conv_net()
    model.graph.node[1].op_type = "Rleu"
    assert "Rleu" in error(save(tmp_path / "op.onnx", model))
    good = save(tmp_path / "a.onnx")
    assert "ended with code 1" in error("--python", "false", good)
    assert "signal 9" in error("--python", "sh -c 'kill -9 $$'", good)


def test_wrong_words_are_refused(tmp_path: Path) -> None:
    for words in (["--threads", "0"], ["--rounds", "x"], ["--nonsense"], []):
        done = call(*words, tmp_path / "a.onnx") if words else call("--threads", "1")
        assert done.returncode == 2
        assert "Traceback" not in done.stderr


def test_wrong_accuracy_file(tmp_path: Path) -> None:
    good = save(tmp_path / "a.onnx")
    npz = tmp_path / "x.npz"
    np.savez(npz, images=np.zeros((2, 8, 8, 3), np.uint8))
    assert "lacks channels, labels, mean, std" in error("--accuracy", npz, good)
    rest = {"labels": [0, 1], "mean": [0] * 3, "std": [1] * 3, "channels": "RGB"}
    np.savez(npz, images=np.zeros((2, 8, 8, 1), np.uint8), **rest)
    assert "uint8 [n, height, width, 3]" in error("--accuracy", npz, good)
    np.savez(npz, images=np.zeros((3, 8, 8, 3), np.uint8), **rest)
    assert "another number of labels" in error("--accuracy", npz, good)
    np.savez(npz, images=np.zeros((2, 9, 9, 3), np.uint8), **rest)
    assert "images" in error("--accuracy", npz, good)


def test_no_process_outlives_a_killed_runner(tmp_path: Path) -> None:
    path = save(tmp_path / "a.onnx")
    runner = subprocess.Popen(
        [sys.executable, runner_path(), "--seconds", "60", "--stream", path],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert runner.stdout is not None
    runner.stdout.readline()  # a session is there
    children = Path(f"/proc/{runner.pid}/task/{runner.pid}/children")
    if not children.exists():
        runner.kill()
        pytest.skip("this system does not list a process's children")
    pids = children.read_text().split()
    assert pids
    runner.kill()
    runner.wait()
    runner.stdout.close()
    for pid in pids:
        for _ in range(200):
            state = Path(f"/proc/{pid}/stat")
            if not state.exists() or state.read_text().split()[2] == "Z":
                break
            import time

            time.sleep(0.05)
        else:
            pytest.fail(f"session {pid} is still there")


@pytest.mark.parametrize("n", [2, 3, 4, 7])
def test_the_order_favours_nobody(n: int) -> None:
    """Each place equally often; nobody of three or more after itself, and of two both equally often."""
    space: dict[str, Any] = {"__name__": "runner"}
    exec(compile(runner_path().read_text(), str(runner_path()), "exec"), space)
    lines = [space["order"](turn, n) for turn in range(4 * n)]
    for place in range(n):
        assert sorted(line[place] for line in lines) == sorted(list(range(n)) * 4)
    flat = [i for line in lines for i in line]
    again = [a for a, b in itertools.pairwise(flat) if a == b]
    if n > 2:
        assert not again
    else:
        assert abs(again.count(0) - again.count(1)) <= 1


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("edgeprune_runner", runner_path())
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


class Noted:
    """A session's process that only notes when it is asked to run."""

    def __init__(self, name: str, notes: list[str]) -> None:
        self.name, self.notes = name, notes

    def ask(self, do: str, n: int) -> dict[str, Any]:
        assert do == "run"
        self.notes.append(f"{self.name}{n}")
        return {"wall_s": [1.0] * n}


def test_rounds_go_round(module: ModuleType) -> None:
    """Forwards, each time another one first, then backwards likewise; a slice is a share of --seconds."""
    notes: list[str] = []
    models = [{"sessions": [{"warm_up_s": [t] * 5, "rounds": []}]} for t in (0.01, 0.02, 5.0)]
    processes = [Noted(name, notes) for name in "abc"]
    options = {"rounds": 12, "passes": 2, "seconds": 0.48}  # 0.04 s a round
    for number in (0, 1):
        late = module.rounds(
            options, models, processes, number, float("inf"), lambda *_, **__: None
        )
        assert not late
    assert " ".join(notes).replace("a4", "a").replace("b2", "b").replace("c1", "c") == (
        "a b c b c a c a b c b a b a c a c b a b c b c a c a b c b a b a c a c b"
    )
    assert [r["round"] for r in models[2]["sessions"][-1]["rounds"]] == list(range(12))


@pytest.mark.parametrize(
    ("windows", "settled", "runs"),
    [
        ([10, 5, 2, 1.01, 1, 1, 1], True, 25),  # 1 is within 2 % of 1.01
        ([1, 1, 1], True, 10),
        ([2.0**-k for k in range(20)], False, 45),  # never; 9 windows of 5 x 0.07 s are 3.15 s
    ],
)
def test_warm_up_ends_when_two_windows_agree(
    module: ModuleType,
    windows: list[float],
    settled: bool,
    runs: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = itertools.count()
    session = module.Session.__new__(module.Session)
    now = [0.0]

    def run(n: int) -> dict[str, list[float]]:
        assert n == 1
        now[0] += 0.07
        return {"wall_s": [windows[next(clock) // 5]]}

    session.run = run
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])
    times, stable = session.warm_up()
    assert (len(times), stable) == (runs, settled)


def test_timed_runs_go_through_all_inputs(module: ModuleType) -> None:
    """One after the other, on from where the last slice ended; each answer is looked at."""
    session, seen, checked = module.Session.__new__(module.Session), [], []
    session.feeds = [f"input {k}" for k in range(module.INPUTS)]
    session.turn, session.preempted = 0, lambda: 5
    session.session = SimpleNamespace(run=lambda names, feed: seen.append(feed) or [feed])
    session.check = lambda outputs, k: checked.append((outputs, k))
    slices = [session.run(n) for n in (module.INPUTS + 1, module.INPUTS)]
    expected = [k % module.INPUTS for k in range(2 * module.INPUTS + 1)]
    assert seen == [f"input {k}" for k in expected]
    assert checked == [([f"input {k}"], k) for k in expected]
    assert [len(s["wall_s"]) for s in slices] == [module.INPUTS + 1, module.INPUTS]
    assert set(slices[0]["switches"]) == {0}
    assert module.INPUTS > 1
