"""Arrays of any kind that calibrate: what NumPy and torch hold differently, and what is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.errors import EdgepruneError
from edgeprune.records import Inputs, Port
from edgeprune.ways.examples import Arrays, arrays, made_inputs, typed_as

CODE = """
import torch
def half(): return torch.ones(6, 4).bfloat16()
def sparse(): return torch.ones(6, 4).to_sparse()
def none(): return torch.zeros(0, 4)
def words(): return {"x": "hello"}
def one(): return torch.tensor(3.0)
def quits(): raise SystemExit(3)
def shapes(): yield torch.ones(2, 4); yield torch.ones(2, 5)
def kinds(): yield torch.ones(2, 4); yield {"x": torch.ones(2, 4)}
def order():
    yield {"a": torch.zeros(2, 4), "b": torch.ones(2, 4)}
    yield {"b": torch.ones(2, 4), "a": torch.zeros(2, 4)}
def itself(): return (d := {}, d.update(x=d))[0]
def nothing_then(): yield torch.ones(2, 4); yield None
"""


def read(name: str | Path) -> Arrays:
    return arrays(str(name), nn.Linear(4, 2), 64, lambda note: None)


@pytest.mark.parametrize(
    "dtype", [">f4", ">i4", "<u2", "<u4", "<u8", "f2", "u1", "bool", "longdouble"]
)
def test_numbers_of_any_type_and_order(dtype: str, tmp_path: Path) -> None:
    given: Any = np.ones((6, 4), dtype)
    np.save(tmp_path / "a.npy", given)
    example = read(tmp_path / "a.npy").view(np.arange(2), 0)
    assert torch.equal(example.double(), torch.ones(2, 4).double())


@pytest.mark.parametrize("word", ["half", "sparse"])
def test_tensors_that_numpy_does_not_hold(word: str, tmp_path: Path) -> None:
    (tmp_path / "e.py").write_text(CODE)
    assert torch.equal(read(f"{tmp_path}/e.py:{word}").view(np.arange(2), 0), torch.ones(2, 4))


@pytest.mark.parametrize("word", ["none", "words", "nothing_then"])
def test_a_function_without_numbers_is_refused(word: str, tmp_path: Path) -> None:
    (tmp_path / "e.py").write_text(CODE)
    with pytest.raises(EdgepruneError, match=f"e.py:{word}: gives no tensor"):
        read(f"{tmp_path}/e.py:{word}")


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("none", "no tensor"),
        ("words", "no tensor"),
        ("one", "no tensor"),
        ("quits", "SystemExit"),
        ("itself", "RecursionError"),
    ],
)
def test_a_function_after_shape_that_makes_no_batch_is_refused(
    word: str, why: str, tmp_path: Path
) -> None:
    (tmp_path / "e.py").write_text(CODE)
    with pytest.raises(EdgepruneError, match=f"--shape .*e.py:{word}: .*{why}"):
        made_inputs(f"{tmp_path}/e.py:{word}", nn.Linear(4, 2))
    assert made_inputs(f"{tmp_path}/e.py:half", nn.Linear(4, 2)).said == "[N, 4]"


def test_files_without_numbers_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    np.save(tmp_path / "empty.npy", np.zeros((6, 0)))
    np.save(tmp_path / "large.npy", np.full((6, 4), 1e300))
    for name, why in (
        ("a.npz", "readme.txt is no array"),
        ("empty.npy", r"\[6, 0\], not numbers"),
        ("large.npy", "NaN or infinite values in"),
    ):
        with pytest.raises(EdgepruneError, match=why):
            read(tmp_path / name)


@pytest.mark.parametrize("batch", [None, 1])
def test_inputs_of_a_received_run_that_follow_another_axis(
    batch: int | None, tmp_path: Path
) -> None:
    np.save(tmp_path / "a.npy", np.ones((6, 4)))
    given = read(tmp_path / "a.npy")
    assert len(typed_as(given, Inputs((Port("x", (4,)),)), "--images a.npy")) == 6
    with pytest.raises(EdgepruneError, match="the network takes"):
        typed_as(given, Inputs((Port("x", (4,), batch=batch),)), "--images a.npy")


@pytest.mark.parametrize("word", ["shapes", "kinds"])
def test_batches_that_are_not_alike_are_refused(word: str, tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(CODE)
    with pytest.raises(EdgepruneError, match=r"its batches differ: \[2, 4\], then") as refused:
        read(f"{tmp_path}/f.py:{word}")
    assert refused.value.next


def test_keywords_in_another_order_are_the_same_inputs(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(CODE)
    a, b = read(f"{tmp_path}/f.py:order").arrays
    assert not a.any()
    assert b.all()


def test_a_function_of_batches_serves_after_shape_too(tmp_path: Path) -> None:
    (tmp_path / "f.py").write_text(CODE)
    name = f"{tmp_path}/f.py:order"
    assert made_inputs(name, nn.Identity()) == read(name).inputs
